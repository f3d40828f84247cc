"""A port in front of Redis that spoils its answers while a test wants it to.

Requests go through and are executed; what comes back is nonsense: bytes that are none of the
protocol, or well-formed replies that answer nothing that was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_CHUNK_BYTES: Final = 65_536
_NESTED: Final = b"*%>~"
_SIZED: Final = b"$=!"

OTHER_SHAPES: Final = (
    b"*0\r\n",
    b":-1\r\n",
    b"+OK\r\n",
    b"$2\r\n\xff\xfe\r\n",
    b"*1\r\n$2\r\nOK\r\n",
    b"*2\r\n$2\r\nOK\r\n*0\r\n",
    b"*3\r\n$2\r\nOK\r\n:-7\r\n$1\r\n\xff\r\n",
    b"*1\r\n*1\r\n:5\r\n",
    b"*2\r\n-ERR nested\r\n:1\r\n",
    b"$0\r\n\r\n",
    b"*-1\r\n",
    b"-MOVED nonsense\r\n",
)
"""Replies that are well-formed, and wrong for whatever was asked."""


def inverted(reply: bytes) -> bytes:
    """Flip every bit."""
    return bytes(byte ^ 0xFF for byte in reply)


def retyped(reply: bytes) -> bytes:
    """Flip one bit of the first byte, so that it says another type than it is."""
    return bytes((reply[0] ^ 0x01,)) + reply[1:]


def reshaped() -> Callable[[bytes], bytes]:
    """Put a well-formed reply of another shape in the place of each, in turn."""
    shapes = itertools.cycle(OTHER_SHAPES)
    return lambda _reply: next(shapes)


class Garbler:
    """Forwards connections to a Redis' Unix socket."""

    def __init__(self, socket: Path) -> None:
        """Forward to this socket."""
        self._socket = socket
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self.spoil: Callable[[bytes], bytes] | None = None
        """Makes another of each reply; None: they pass as they are."""
        self.spoiled = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None, "it was not started"
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and abort what is left."""
        assert self._server is not None
        self._server.close()
        for link in list(self._links):
            link.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._links.add(writer)
        back_reader, back_writer = await asyncio.open_unix_connection(self._socket)
        replies = asyncio.create_task(self._replies(back_reader, writer))
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(_CHUNK_BYTES):
                    back_writer.write(data)
                    await back_writer.drain()
        finally:
            replies.cancel()
            await asyncio.gather(replies, return_exceptions=True)
            self._links.discard(writer)
            writer.transport.abort()
            back_writer.close()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer = b""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK_BYTES):
                buffer += data
                start = 0
                for end in _ends(buffer):
                    reply, start = buffer[start:end], end
                    if self.spoil is not None:
                        self.spoiled += 1
                        reply = self.spoil(reply)
                    writer.write(reply)
                buffer = buffer[start:]
                await writer.drain()


def _ends(buffer: bytes) -> Iterator[int]:
    """Where each whole reply in a buffer ends."""
    at = 0
    while (end := _end(buffer, at)) is not None:
        yield end
        at = end


def _end(buffer: bytes, at: int) -> int | None:
    """Where the reply that begins at `at` ends; None: not in this buffer."""
    line_end = buffer.find(b"\r\n", at)
    if line_end < 0:
        return None
    kind, rest, after = buffer[at], buffer[at + 1 : line_end], line_end + 2
    if kind in _SIZED:
        after += max(0, int(rest) + 2) if int(rest) >= 0 else 0
        return after if after <= len(buffer) else None
    if kind in _NESTED:
        inner: int | None = after
        for _ in range(max(0, int(rest))):
            if inner is None:
                return None
            inner = _end(buffer, inner)
        return inner
    return after
