"""How far a node's loop lags, and how busy its core is, while it is loaded.

A node that measures its loop tells in `/status` (`loop_lag_s`), and is believed. One that does not
is probed from outside: a request for `/livez`, which costs next to nothing, waits as long as
whatever else is due in the loop. The probe is one connection, so a lag longer than its interval is
seen once, not many times; its samples are weighed by how long they took.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tests.load import machine
from tests.load.servers import Server

_PROBE_EVERY_S: Final = 0.01
_STATUS_EVERY_S: Final = 0.1
_ANSWER_MAX_BYTES: Final = 64 * 1024


def weighed_quantile(samples: Sequence[float], every: float, share: float) -> float:
    """Return a quantile over time, of samples of which each stood for itself or for `every`.

    A probe that takes a second has missed a hundred that would have taken long too: it counts for
    all of them.
    """
    weights = [(sample, max(sample, every)) for sample in sorted(samples)]
    left = share * sum(weight for _, weight in weights)
    for sample, weight in weights:
        left -= weight
        if left <= 0:
            return sample
    return 0.0


class Seen(NamedTuple):
    """A node during a step."""

    lag_p99_ms: float
    busy_percent: float
    """Of its core, with itself."""
    waiting_percent: float
    """Of the time, for its core, which other programs had."""


@dataclass
class LoopWatch:
    """What was seen so far; made by `watching`."""

    source: str
    every_s: float
    _server: Server
    _lags_s: list[float] = field(default_factory=list)
    _begun_at: float = 0.0
    _begun: machine.Clock = field(default_factory=lambda: machine.Clock(0, 0))

    def begin(self) -> None:
        """Forget what was seen: the step begins."""
        self._lags_s.clear()
        self._begun_at, self._begun = time.monotonic(), self._server.clock()

    def saw(self, lag_s: float) -> None:
        """Keep a sample."""
        self._lags_s.append(lag_s)

    def seen(self) -> Seen:
        """Return what was seen since `begin`."""
        elapsed_s = max(time.monotonic() - self._begun_at, 1e-3)
        spent = self._server.clock() - self._begun
        return Seen(
            lag_p99_ms=weighed_quantile(self._lags_s, self.every_s, 0.99) * 1e3,
            busy_percent=100 * spent.cpu / elapsed_s,
            waiting_percent=100 * spent.waiting / elapsed_s,
        )


@contextlib.asynccontextmanager
async def watching(server: Server) -> AsyncIterator[LoopWatch]:
    """Watch a node's loop."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    tells = "loop_lag_s" in json.loads(await _get(reader, writer, "/status"))
    if tells:
        watch = LoopWatch("loop_lag_s of /status", _STATUS_EVERY_S, server)
    else:
        watch = LoopWatch("latency of /livez", _PROBE_EVERY_S, server)
    watch.begin()

    async def look() -> None:
        while True:
            began = time.monotonic()
            body = await _get(reader, writer, "/status" if tells else "/livez")
            took_s = time.monotonic() - began
            watch.saw(_told(json.loads(body)) if tells else took_s)
            await asyncio.sleep(max(watch.every_s - took_s, 0))

    looking = asyncio.create_task(look())
    try:
        yield watch
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        writer.close()


def _told(status: dict[str, Any]) -> float:
    return float(status["loop_lag_s"])


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> bytes:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: node\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    assert length <= _ANSWER_MAX_BYTES
    return await reader.readexactly(length)
