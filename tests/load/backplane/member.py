"""One node's backplane without a server around it; run by the benchmark as a process of its own.

Takes its RedisOptions from the first line of its input, then one of `requests` from each line, and
answers each with a line. Ends with its input.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, assert_never

import msgspec
import uvloop
from msgspec import Raw

from realtime_node.cluster.backplane import Entry, NodeInfo
from realtime_node.cluster.on_redis.backplane import RedisBackplane
from realtime_node.cluster.on_redis.options import RedisOptions
from realtime_node.protocol.messages import Publication, StreamPosition
from tests.load.backplane.requests import (
    Answer,
    AwaitEntries,
    Channels,
    Done,
    Published,
    PublishOnAndOn,
    PublishToEach,
    Request,
    Subscribe,
)

_DATA_BYTES: Final = 200
_AT_ONCE: Final = 256
_ENTRIES_WITHIN_S: Final = 30.0
GC_THRESHOLDS: Final = (50_000, 20, 50)  # those of `cli`, which takes long to import


class _Taker:
    """Takes what the inbox brings, and counts it."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Event()

    async def receive(self, entries: Sequence[Entry]) -> None:
        """Count."""
        self.count += len(entries)
        self._changed.set()

    def positions(self, channels: Iterable[str]) -> dict[str, StreamPosition]:
        """None: nobody here follows a stream."""
        del channels
        return {}

    def lost(self, partition: int, channels: Sequence[str] | None) -> None:
        """Give up: what is measured would not be what it seems."""
        raise AssertionError(f"entries of partition {partition} are lost: {channels}")

    async def has(self, count: int) -> None:
        """Wait until so many entries were taken."""
        async with asyncio.timeout(_ENTRIES_WITHIN_S):
            while self.count < count:
                self._changed.clear()
                await self._changed.wait()
        assert self.count == count, f"{self.count} entries where {count} were published"


class _Member:
    def __init__(self, options: RedisOptions) -> None:
        self._backplane = RedisBackplane(options)
        self._taker = _Taker()
        self._publication = Publication(data=Raw(b'"%s"' % (b"x" * _DATA_BYTES)))

    async def serve(self) -> None:
        """Answer requests until the input ends."""
        await self._backplane.start(self._taker, self._describe)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        _tell(Done())
        try:
            decode = msgspec.json.Decoder(Request).decode
            async for line in _lines():
                _tell(await self._answer(decode(line)))
        finally:
            await self._backplane.close()

    async def _answer(self, request: Request) -> Answer:
        match request:
            case Subscribe(channels):
                return await self._subscribe(channels)
            case PublishToEach(channels):
                return await self._publish(channels, iter(channels.names), _AT_ONCE)
            case PublishOnAndOn(channels, seconds, outstanding):
                names = _until(time.perf_counter() + seconds, channels.names)
                return await self._publish(channels, names, outstanding)
            case AwaitEntries(count):
                await self._taker.has(count)
                return Done()
            case _:
                assert_never(request)

    async def _subscribe(self, channels: Channels) -> Done:
        names = iter(channels.names)

        async def subscribe_on() -> None:
            for name in names:
                await self._backplane.subscribe(name, channels.options)

        await asyncio.gather(*(subscribe_on() for _ in range(_AT_ONCE)))
        return Done()

    async def _publish(
        self, channels: Channels, names: Iterable[str], outstanding: int
    ) -> Published:
        publish, options = self._backplane.publish, channels.options
        now = time.perf_counter
        latencies: list[float] = []

        async def publish_on() -> None:
            for name in names:
                asked = now()
                await publish(name, self._publication, options)
                latencies.append(now() - asked)

        begun = now()
        await asyncio.gather(*(publish_on() for _ in range(outstanding)))
        seconds = now() - begun
        percentiles = statistics.quantiles(latencies, n=100)
        return Published(len(latencies), seconds, percentiles[49] * 1000, percentiles[98] * 1000)

    def _describe(self) -> NodeInfo:
        return NodeInfo(uid=self._backplane.node_id, name="member", version="1")


def _until(deadline: float, names: Sequence[str]) -> Iterable[str]:
    return itertools.takewhile(lambda _: time.perf_counter() < deadline, itertools.cycle(names))


async def _lines() -> AsyncIterator[bytes]:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async for line in reader:
        yield line


def _tell(answer: Answer) -> None:
    print(msgspec.json.encode(answer).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(_Member(msgspec.json.decode(sys.stdin.buffer.readline(), type=RedisOptions)).serve())
