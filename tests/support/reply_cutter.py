"""A port in front of Redis that takes a request through, lets it be executed, and cuts the reply.

The client cannot tell that from a request that never arrived: the one fault that a database's own
commands cannot play.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK_BYTES = 65_536


class ReplyCutter:
    """Forwards connections to a Redis' Unix socket, until a request holds what was armed."""

    def __init__(self, socket: Path) -> None:
        """Forward to this socket."""
        self._socket = socket
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self._marker = b""
        self._forward = True
        self._times = 0
        self.cuts = 0
        self.is_open = True
        """Whether new connections are let in."""

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None, "it was not started"
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def arm(self, marker: bytes, *, times: int = 1, forward: bool = True) -> None:
        """Cut the connection of the next request that holds `marker`, `times` in turn.

        With `forward` it is executed and its reply is lost; without, it never arrives.
        """
        self._marker, self._times, self._forward = marker, times, forward

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
        if not self.is_open:
            writer.transport.abort()
            return
        self._links.add(writer)
        back_reader, back_writer = await asyncio.open_unix_connection(self._socket)
        is_cutting = asyncio.Event()
        replies = asyncio.create_task(self._replies(back_reader, writer, is_cutting))
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(_CHUNK_BYTES):
                    if self._times and self._marker in data:
                        self._times -= 1
                        self.cuts += 1
                        is_cutting.set()
                        if self._forward:
                            back_writer.write(data)
                            await asyncio.wait((replies,))
                        break
                    back_writer.write(data)
                    await back_writer.drain()
        finally:
            replies.cancel()
            await asyncio.gather(replies, return_exceptions=True)
            self._links.discard(writer)
            writer.transport.abort()
            back_writer.close()

    async def _replies(
        self,
        back_reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        is_cutting: asyncio.Event,
    ) -> None:
        """Forward replies; end with the first that comes while cutting, undelivered."""
        with contextlib.suppress(ConnectionError):
            while data := await back_reader.read(_CHUNK_BYTES):
                if is_cutting.is_set():
                    return
                writer.write(data)
                await writer.drain()
