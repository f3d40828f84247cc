"""The client's side of the wire, no dearer than it has to be: bytes in, messages out. Pure.

One process plays thousands of clients, so a frame is read by slicing, and a message is decoded into
structures that hold what the clients look at and nothing else.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import msgspec


class Opcode(IntEnum):
    """Kinds of frames that a server sends."""

    TEXT = 0x1
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class Frame(NamedTuple):
    """A frame within a buffer."""

    opcode: int
    start: int
    """Where its payload begins."""
    end: int
    """Where it ends, and the next frame begins."""


class Data(msgspec.Struct, gc=False):
    """What the lab publishes."""

    n: int
    """Number of the publication."""
    t: int
    """Monotonic time in ns when it was sent; the same clock in every process of a machine."""


class Publication(msgspec.Struct, gc=False):
    """A publication, live or recovered."""

    data: Data
    offset: int = 0


class Unsubscribe(msgspec.Struct, gc=False):
    """The node takes a subscription away."""

    code: int


class Push(msgspec.Struct, gc=False):
    """What comes unasked."""

    pub: Publication | None = None
    unsubscribe: Unsubscribe | None = None


class Subscribed(msgspec.Struct, gc=False):
    """The answer to a subscribe."""

    epoch: str = ""
    offset: int = 0
    recovered: bool = False
    publications: list[Publication] = []


class Connected(msgspec.Struct, gc=False):
    """The answer to a connect; nothing in it matters here."""


class Error(msgspec.Struct, gc=False):
    """Why a command failed."""

    code: int
    temporary: bool = False


class Message(msgspec.Struct, gc=False):
    """One line of a frame; a ping has no field at all."""

    id: int = 0
    push: Push | None = None
    connect: Connected | None = None
    subscribe: Subscribed | None = None
    error: Error | None = None


_decoder: Final = msgspec.json.Decoder(Message)

_LENGTH_IN_2_BYTES: Final = 126
_LENGTH_IN_8_BYTES: Final = 127
_NO_CODE: Final = 1005
ABNORMAL: Final = 1006
"""What a client calls the end of a connection without a close frame."""

PING: Final = b"{}"
# With a key of zeros a masked payload is the payload: legal, and costs nothing.
_NO_MASK: Final = bytes(4)
PONG: Final = b"\x81\x82" + _NO_MASK + PING


def upgrade_request(host: str) -> bytes:
    """Return a request for a WebSocket."""
    return (
        f"GET /connection/websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


class Upgrade(NamedTuple):
    """The answer to it."""

    status: int
    end: int
    """Where frames begin."""


def read_upgrade(buffer: bytes) -> Upgrade | None:
    """Return the answer, or None while it is incomplete."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    status = buffer[9:12]
    return Upgrade(int(status) if status.isdigit() else 0, end + 4)


def text_frame(payload: bytes) -> bytes:
    """Return a frame of a client."""
    length = len(payload)
    if length < _LENGTH_IN_2_BYTES:
        head = bytes((0x81, 0x80 | length))
    else:
        head = b"\x81\xfe" + length.to_bytes(2)
    return head + _NO_MASK + payload


def next_frame(buffer: bytes, at: int) -> Frame | None:
    """Return the frame that begins at a place, or None while it is incomplete."""
    available = len(buffer) - at
    if available < 2:
        return None
    length, start = buffer[at + 1], at + 2
    if length == _LENGTH_IN_2_BYTES:
        start += 2
        length = int.from_bytes(buffer[at + 2 : start]) if available >= 4 else 1 << 16
    elif length == _LENGTH_IN_8_BYTES:
        start += 8
        length = int.from_bytes(buffer[at + 2 : start]) if available >= 10 else 1 << 32
    end = start + length
    return Frame(buffer[at] & 0x0F, start, end) if end <= len(buffer) else None


def read_messages(payload: bytes) -> list[Message]:
    """Return the messages of a text frame."""
    return _decoder.decode_lines(payload)


def close_code(payload: bytes) -> int:
    """Return the code in the payload of a close frame."""
    return int.from_bytes(payload[:2]) if len(payload) >= 2 else _NO_CODE
