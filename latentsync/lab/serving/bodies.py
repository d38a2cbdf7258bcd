"""The bodies of requests that write: small, and JSON."""

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

LONGEST = 4000  # bytes
KIND = "application/json"


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object that a request sends.

    Raises:
        HTTPException: it sends something else; the message says what.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != KIND:
        raise HTTPException(415, f"A request that writes has a body of type {KIND}.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST:
            raise HTTPException(413, f"The body of a request has at most {LONGEST} bytes.")
    try:
        content = json.loads(body)
    except ValueError:
        raise HTTPException(400, "The body of the request is no JSON.") from None
    if not isinstance(content, dict):
        raise HTTPException(400, "The body of the request is no JSON object.")
    return content
