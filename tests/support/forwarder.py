"""A TCP port in front of several servers, as the load balancer of a cluster is.

A client that knows one address gets another server after each reconnect, and a test can cut the
connections, let nobody in, or make the way longer, without the servers' or the clients' help.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CHUNK_BYTES = 65_536
_CHUNKS_ON_THE_WAY = 1024
"""Per connection and direction: more than a long way holds at any rate that is tested."""


class Forwarder:
    """Forwards each connection to the next of `ports` that accepts it, on the loopback interface.

    Bounded by its clients: it opens one connection for each of theirs, and reads no faster than the
    other side takes.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        """Forward to these ports in turn."""
        self.ports = list(ports)
        self.is_open = True
        self.delay_s = 0.0
        """How long everything is on its way, in each direction; throughput stays what it is."""
        self.accepted = 0
        self._turns: Iterator[int] = itertools.count()
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens. Raises AssertionError outside of its context."""
        assert self._server is not None, "the forwarder was not started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Abort every connection, as a network that fails does."""
        for link in list(self._links):
            link.transport.abort()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and abort what is left."""
        assert self._server is not None
        self._server.close()
        self.is_open = False
        self.cut()
        if self._serving:
            await asyncio.wait(self._serving)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._links.add(writer)
        try:
            if self.is_open:
                self.accepted += 1
                await self._join(reader, writer)
        finally:
            self._links.discard(writer)
            await _abort(writer)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in self.ports:
            port = self.ports[next(self._turns) % len(self.ports)]
            with contextlib.suppress(OSError):
                back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
                break
        else:
            return
        self._links.add(back_writer)
        try:
            ways = (self._copy(reader, back_writer), self._copy(back_reader, writer))
            tasks = [asyncio.create_task(way) for way in ways]
            # When one side ends, so does the other.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        finally:
            self._links.discard(back_writer)
            await _abort(back_writer)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry chunks over, each as long after it came as the way takes."""
        way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_ON_THE_WAY)
        arriving = asyncio.create_task(_arrive(way, writer))
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(_CHUNK_BYTES):
                    await way.put((time.monotonic() + self.delay_s, data))
                await way.put((time.monotonic() + self.delay_s, b""))
                await arriving
        finally:
            arriving.cancel()
            await asyncio.gather(arriving, return_exceptions=True)


async def _arrive(way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    while True:
        due_at, data = await way.get()
        if not data:
            return
        if (wait_s := due_at - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)
        writer.write(data)
        await writer.drain()


async def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
