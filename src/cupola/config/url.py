"""URLs that Cupola asks by itself: what is wrong with one can mostly be said before it is asked. Asking is `net.outgoing`'s."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from cupola.config.base import Address
from cupola.core.reach import why_refused

_HINT = {"hint": "such as http://192.168.1.20/status"}


class Url(Address):
    """An address of which only the host is shown: in all the rest a secret may stand, also in the path."""

    def _display(self) -> str:
        parts = urlsplit(self.get_secret_value())
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/***"


def parts_of(value: Address, *schemes: str) -> SplitResult | None:
    """An address with a host and one of `schemes`; None for what is none."""
    text = value.get_secret_value()
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    return parts if parts.scheme in schemes and host and text.isascii() and text.isprintable() and " " not in text and len(text) <= 2000 else None


def _url(value: Url) -> Url:
    if (parts := parts_of(value, "http", "https")) is None:
        raise PydanticCustomError("url", "is no URL with http:// or https://", _HINT)
    host = str(parts.hostname)
    try:
        refused = why_refused(host, loopback=True)
    except ValueError:
        return value  # a name
    if refused:
        raise PydanticCustomError("url", "is refused: {host} {why}", {"host": host, "why": refused, **_HINT})
    return value


OutgoingUrl = Annotated[Url, AfterValidator(_url)]
