"""Origins of web pages, as browsers send them and settings name them."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from realtime_node.config.section import Form

ORIGINS_FORM: Final = 'a list of origins such as "https://example.com"'

_WHAT_IT_IS: Final = (
    "an origin is what a browser sends: scheme://host, with :port only if it is not the scheme's"
    " own, as in https://example.com or http://localhost:3000; * stands for any part"
)
_HOST: Final = r"(?:[a-z0-9_.*-]+|\[[0-9a-f:.*]+\])"
_ORIGIN: Final = re.compile(
    rf"(?P<scheme>[a-z*][a-z0-9+.*-]*)://(?P<host>{_HOST})(?::(?P<port>[0-9*]+))?", re.ASCII
)
_ANY_SCHEME: Final = re.compile(rf"\*{_HOST}?(?::[0-9*]+)?", re.ASCII)
"""Where the first wildcard stands for the scheme, too: `*`, `*.example.com`."""
ORIGIN_PATTERN: Final = (
    r"^(null|\*[A-Za-z0-9_.*-]*(:[0-9*]+)?"
    r"|[A-Za-z*][A-Za-z0-9+.*-]*://([A-Za-z0-9_.*-]+|\[[0-9A-Fa-f:.*]+\])(:[0-9*]+)?)$"
)
"""The same for those who check settings by a schema: all that is meant, and little else."""
_OPAQUE: Final = "null"
"""The origin of sandboxed frames and local files."""
_OWN_PORTS: Final = {"http": "80", "ws": "80", "https": "443", "wss": "443"}


def check_origin(text: str) -> str:
    """Return the origin, or the pattern of some; raises `ValueError` for what matches none."""
    lowered = text.lower()
    if lowered == _OPAQUE or _ANY_SCHEME.fullmatch(lowered):
        return text
    parts = _ORIGIN.fullmatch(lowered)
    if parts is None:
        raise ValueError(f"{text!a} matches no page{_why_not(lowered)}: {_WHAT_IT_IS}")
    if parts["port"] and parts["port"] == _OWN_PORTS.get(parts["scheme"]):
        raise ValueError(
            f"{text!a} matches no page, since browsers leave :{parts['port']} out: {_WHAT_IT_IS}"
        )
    return text


def _why_not(text: str) -> str:
    """Return what is wrong with an origin, as the end of a sentence; empty: anything."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return ", without a scheme"
    if "@" in rest:
        return ", with a user in it"
    if set(rest) & set("/?#"):
        return f", with a path: write {scheme}://{re.split('[/?#]', rest)[0]}"
    if not text.isascii():
        host = _ascii_host(rest)
        return f": browsers send {scheme}://{host}" if host else ", with letters beyond ASCII"
    return ""


def _ascii_host(host: str) -> str:
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return ""


def _origins(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(check_origin, texts))


Origins = Annotated[
    tuple[str, ...],
    Field(
        strict=False,
        json_schema_extra={"items": {"type": "string", "pattern": ORIGIN_PATTERN}},
    ),
    AfterValidator(_origins),
    Form(ORIGINS_FORM),
]
