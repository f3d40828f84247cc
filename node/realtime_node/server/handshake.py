"""The opening handshake of RFC 6455, decided without I/O.

`negotiate` looks at a request's headers and returns the 101 response or why there is none.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from websockets.exceptions import InvalidHeader

from realtime_node.protocol.deflate import UNCOMPRESSED, Wire, agree

PROTOBUF: Final = "centrifuge-protobuf"
"""The subprotocol of SDKs that speak Protobuf, which is not implemented."""

_PROTOBUF_REFUSAL: Final = (
    "this node speaks JSON, and the client asked for Protobuf: use an SDK that speaks JSON"
    " (JavaScript, Python or Go), as docs/clients.md says"
)
_PROTOBUF_QUERY: Final = re.compile(r"(?:^|&)(?:format|cf_protocol)=protobuf(?:&|$)")
"""How clients that name no subprotocol ask for it in the URL's query. That is not parsed: a long
one would cost more than the rest of the handshake."""
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES: Final = 16
_SHOWN_ORIGIN: Final = 200
"""Characters of a refused origin in its refusal and the log."""


class Accepted(NamedTuple):
    """The upgrade is granted."""

    response: bytes
    """Everything the server sends before the first frame."""
    subprotocol: str
    wire: Wire
    """How the client reads messages; if not `UNCOMPRESSED`, it may send compressed ones too."""


class Refused(NamedTuple):
    """There is no upgrade."""

    status: HTTPStatus
    reason: str
    kind: Literal["malformed", "origin", "protobuf"] = "malformed"
    """For the metric."""


def negotiate(
    headers: Mapping[str, str],
    *,
    subprotocols: Sequence[str],
    allowed_origins: Sequence[str],
    extension_offers: str = "",
    query: str = "",
) -> Accepted | Refused:
    """Decide an upgrade; `headers` has to ignore case, as HTTP's names do.

    `subprotocols` are those we speak, the preferred one first; a client that names none gets that
    one, unconfirmed, as the protocol allows. A client that asks for Protobuf and nothing else is
    refused: after an upgrade it would understand no message. `query` is that of the URL, as sent.
    `extension_offers` are all lines of `Sec-WebSocket-Extensions`, joined by commas; none, and
    there is no extension.
    """
    refusal = _fault(headers) or _foreign_origin(headers, allowed_origins)
    if refusal is not None:
        return refusal
    try:
        agreement = agree(extension_offers)
    except InvalidHeader:
        # RFC 6455, 9.1: what does not follow its grammar must fail the connection.
        return Refused(HTTPStatus.BAD_REQUEST, "Sec-WebSocket-Extensions is malformed")
    offered = [name.strip() for name in headers.get("Sec-WebSocket-Protocol", "").split(",")]
    chosen = next((name for name in subprotocols if name in offered), "")
    if not chosen and (PROTOBUF in offered or _PROTOBUF_QUERY.search(query)):
        return Refused(HTTPStatus.BAD_REQUEST, _PROTOBUF_REFUSAL, "protobuf")
    key = headers["Sec-WebSocket-Key"]
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest())
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accept,
    ]
    if chosen:
        lines.append(b"Sec-WebSocket-Protocol: " + chosen.encode())
    if agreement is not None:
        lines.append(b"Sec-WebSocket-Extensions: " + agreement.answer.encode())
    return Accepted(
        b"\r\n".join(lines) + b"\r\n\r\n",
        subprotocol=chosen or subprotocols[0],
        wire=UNCOMPRESSED if agreement is None else agreement.wire,
    )


def _fault(headers: Mapping[str, str]) -> Refused | None:
    """Return the refusal of what is no opening handshake of WebSocket 13."""
    if not (
        _has_token(headers, "Upgrade", "websocket") and _has_token(headers, "Connection", "upgrade")
    ):
        return Refused(HTTPStatus.BAD_REQUEST, "this is a WebSocket endpoint")
    if headers.get("Sec-WebSocket-Version") != "13":
        return Refused(HTTPStatus.UPGRADE_REQUIRED, "Sec-WebSocket-Version has to be 13")
    key = headers.get("Sec-WebSocket-Key", "")
    if not _is_key(key):
        return Refused(HTTPStatus.BAD_REQUEST, "Sec-WebSocket-Key is not 16 bytes in base64")
    return None


def _foreign_origin(headers: Mapping[str, str], allowed_origins: Sequence[str]) -> Refused | None:
    """Return the refusal of a page that may not connect."""
    origin = headers.get("Origin")
    if origin is not None and not is_allowed_origin(
        origin, headers.get("Host", ""), allowed_origins
    ):
        return Refused(
            HTTPStatus.FORBIDDEN,
            f"origin {origin[:_SHOWN_ORIGIN]!a} is not among client.allowed_origins",
            "origin",
        )
    return None


def is_allowed_origin(origin: str, host: str, allowed: Sequence[str]) -> bool:
    """Whether a page of `origin` may connect: one of `allowed`, or a page of this very host."""
    if host and _host_of(origin) == host.lower():
        return True
    return any(_matches(origin.lower(), pattern.lower()) for pattern in allowed)


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # not a URL, so not a page of ours
        return ""


def _matches(origin: str, pattern: str) -> bool:
    """Whether a pattern means an origin; `*` stands for any part of it and nothing else does.

    Each part between two `*` is looked for once, from the left: a regular expression would try all
    ways to divide a long origin, for minutes.
    """
    first, *middle = pattern.split("*")
    if not middle:
        return origin == pattern
    last = middle.pop()
    end = len(origin) - len(last)
    position = len(first)
    if not (position <= end and origin.startswith(first) and origin.endswith(last)):
        return False
    for part in middle:
        found = origin.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


def _has_token(headers: Mapping[str, str], name: str, token: str) -> bool:
    return token in (each.strip().lower() for each in headers.get(name, "").split(","))


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except ValueError:
        return False
