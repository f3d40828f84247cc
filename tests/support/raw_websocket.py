"""A blocking WebSocket client that keeps no rule of the protocol unless it is told to.

Its caller decides every bit of every frame it sends. What comes back is read strictly: a server
that breaks a rule itself fails the test.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections import deque
from typing import Any, NamedTuple, Self

from tests.support.conditions import NEVER_S

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA

HANDSHAKE = (
    b"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)

_NO_CODE = 1005
_MASK = b"\x01\x02\x03\x04"
_ANSWER_WITHIN_S = NEVER_S
_RECEIVE_BYTES = 65_536


def frame(  # noqa: PLR0913 - a frame is made of so much
    payload: bytes,
    opcode: int = TEXT,
    *,
    fin: bool = True,
    reserved: int = 0,
    masked: bool = True,
    claimed_length: int | None = None,
) -> bytes:
    """Return a frame; `claimed_length` is written in place of the payload's own."""
    length = len(payload) if claimed_length is None else claimed_length
    head = bytes([fin << 7 | reserved << 4 | opcode])
    mask_bit = masked << 7
    if length < 126:
        head += bytes([mask_bit | length])
    elif length < 1 << 16:
        head += bytes([mask_bit | 126]) + struct.pack("!H", length)
    else:
        head += bytes([mask_bit | 127]) + struct.pack("!Q", length)
    if not masked:
        return head + payload
    repeated = _MASK * (len(payload) // 4 + 1)
    xored = int.from_bytes(payload, "big") ^ int.from_bytes(repeated[: len(payload)], "big")
    return head + _MASK + xored.to_bytes(len(payload), "big")


class Outcome(NamedTuple):
    """All that came back on a connection until it ended, or until the asked number of replies."""

    messages: list[dict[str, Any]]
    close_code: int | None
    """None: the connection goes on, or it ended without a close frame."""
    ended: bool


class RawWebSocket:
    """One connection; a context manager that closes it."""

    def __init__(self, port: int, *, handshake: bool = True, receive_buffer_bytes: int = 0) -> None:
        """Connect to a port of this machine, and upgrade unless `handshake` is False.

        `receive_buffer_bytes` bounds what the kernel takes while nothing is read (0: it decides).
        """
        self._socket = socket.socket()
        self._socket.settimeout(_ANSWER_WITHIN_S)
        if receive_buffer_bytes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._socket.connect(("127.0.0.1", port))
        self._received = b""
        self._messages: deque[dict[str, Any]] = deque()
        if handshake:
            self.send(HANDSHAKE)
            head = self.head()
            assert head.startswith(b"HTTP/1.1 101 "), head

    def send(self, data: bytes) -> None:
        """Send bytes; that the server has ended the connection already shows in the outcome."""
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def send_text(self, *lines: bytes) -> None:
        """Send a good frame with these lines."""
        self.send(frame(b"\n".join(lines)))

    def finish(self) -> None:
        """Say that no more bytes will come."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def outcome(self, *, until_id: int | None = None, until_push: str = "") -> Outcome:
        """Read until the reply with this id or a push of this channel, or the connection's end.

        Raises:
            TimeoutError: none came: the server hangs.
            AssertionError: what came is against the protocol.
        """
        messages: list[dict[str, Any]] = []
        while (message := self._next()) is not None:
            if "close" in message:
                return Outcome(messages, message["close"], ended=True)
            messages.append(message)
            if (until_id is not None and message.get("id") == until_id) or (
                until_push and message.get("push", {}).get("channel") == until_push
            ):
                return Outcome(messages, None, ended=False)
        return Outcome(messages, None, ended=True)

    def response(self) -> bytes:
        """Read all that comes until the end of the connection, as it is."""
        with contextlib.suppress(ConnectionError):
            while received := self._socket.recv(_RECEIVE_BYTES):
                self._received += received
        return self._received

    def head(self) -> bytes:
        """Read the head of an HTTP response."""
        return self._read_until(b"\r\n\r\n")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self) -> dict[str, Any] | None:
        """Return the next message, `{"close": code}` for a close frame, None at the end."""
        while not self._messages:
            opcode, payload = self._frame()
            if opcode == CLOSE:
                return {"close": struct.unpack("!H", payload[:2])[0] if payload else _NO_CODE}
            if opcode == TEXT:
                self._messages.extend(map(json.loads, payload.decode().split("\n")))
            elif opcode is None:
                return None
            else:
                assert opcode in {PING, PONG}, f"a frame with opcode {opcode}"
        return self._messages.popleft()

    def _frame(self) -> tuple[int | None, bytes]:
        head = self._read(2)
        if len(head) < 2:
            return None, b""
        assert head[0] & 0x70 == 0, f"reserved bits in {head!r}"
        assert head[0] & 0x80, "a fragment, which no SDK asked for"
        assert head[1] & 0x80 == 0, "a masked frame from a server"
        length = head[1]
        if length == 126:
            length = struct.unpack("!H", self._read(2))[0]
        elif length == 127:
            length = struct.unpack("!Q", self._read(8))[0]
        payload = self._read(length)
        assert len(payload) == length, "the connection ended within a frame"
        return head[0] & 0x0F, payload

    def _read(self, count: int) -> bytes:
        while len(self._received) < count:
            try:
                received = self._socket.recv(_RECEIVE_BYTES)
            except ConnectionError:
                received = b""
            if not received:
                break
            self._received += received
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def _read_until(self, end: bytes) -> bytes:
        while end not in self._received:
            received = self._socket.recv(_RECEIVE_BYTES)
            assert received, f"the connection ended after {self._received!r}"
            self._received += received
        head, _, self._received = self._received.partition(end)
        return head
