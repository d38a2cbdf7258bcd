"""Addresses as they may be shown: mirrors and package indexes often carry a password or a token in theirs."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

_SCHEME_AND_REST = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)?(.*)", re.DOTALL)
TALKATIVE = ("httpx", "httpx2", "unearth.collector")  # loggers that write the addresses they ask


def shown(url: str) -> str:
    """An address for a message: without user, password, query (tokens, signatures) and fragment."""
    scheme, rest = _SCHEME_AND_REST.fullmatch(url).groups("")
    try:
        parts = urlsplit(f"//{rest}")
        _ = parts.port  # raises for "user:pass/word@host", where "/" ends the host amid the password
    except ValueError:
        return scheme + re.split("[?#]", rest.rpartition("@")[2])[0]
    return f"{scheme}{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextmanager
def shown_in_logs() -> Iterator[None]:
    """Has the HTTP libraries log addresses as they may be shown, here and in other threads."""
    own = _Shown()  # one for each caller: another thread's end must not take this one's away
    for name in TALKATIVE:
        logging.getLogger(name).addFilter(own)
    try:
        yield
    finally:
        for name in TALKATIVE:
            logging.getLogger(name).removeFilter(own)


class _Shown(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(shown(text) if "://" in (text := str(one)) else one for one in record.args)
        return True
