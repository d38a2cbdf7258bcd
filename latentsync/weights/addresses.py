"""Addresses without secrets: those of mirrors and package indexes often contain a password or a token."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

_SCHEME_AND_REST = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)?(.*)", re.DOTALL)
TALKATIVE = ("httpx", "httpx2", "unearth.collector")  # loggers that write the addresses of their requests


def without_secrets(url: str) -> str:
    """An address as messages show it: without user, password, query (tokens, signatures) and fragment."""
    scheme, rest = _SCHEME_AND_REST.fullmatch(url).groups("")
    try:
        parts = urlsplit(f"//{rest}")
        _ = parts.port  # raises for "user:pass/word@host", where "/" ends the host inside the password
    except ValueError:
        return scheme + re.split("[?#]", rest.rpartition("@")[2])[0]
    return f"{scheme}{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextmanager
def without_secrets_in_logs() -> Iterator[None]:
    """Removes secrets from the addresses that HTTP libraries log, in this and in other threads."""
    own = _WithoutSecrets()  # one for each caller: another thread that ends must not remove this one
    for name in TALKATIVE:
        logging.getLogger(name).addFilter(own)
    try:
        yield
    finally:
        for name in TALKATIVE:
            logging.getLogger(name).removeFilter(own)


class _WithoutSecrets(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(without_secrets(text) if "://" in (text := str(one)) else one for one in record.args)
        return True
