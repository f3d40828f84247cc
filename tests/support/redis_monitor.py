"""What clients ask of a Redis, as MONITOR tells it: commands by name, scripts by theirs."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from redis.asyncio import Redis

from realtime_node.cluster.on_redis.script import ALL_SCRIPTS
from tests.support.conditions import NEVER_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_LINE: Final = re.compile(
    r'\+[\d.]+ \[\d+ (?P<client>.+?)\] "(?P<name>[^"]*)"(?: "(?P<first>[^"]*))?'
)
_SCRIPTS: Final = {script.sha.decode(): script.name for script in ALL_SCRIPTS}
_LINE_LIMIT: Final = 4 * 1024 * 1024
_CONNECT_WITHIN_S: Final = NEVER_S


class Monitor:
    """Counts the commands of all clients; what scripts call inside counts as nothing of its own."""

    def __init__(self) -> None:
        self.commands: Counter[str] = Counter()
        """How often each was called: `XREAD`, or the name of a script."""
        self.received_bytes = 0
        """What Redis sent to tell this, which is in its own counters too."""
        self._counted = asyncio.Event()

    async def saw(
        self, condition: Callable[[Counter[str]], bool], *, within_s: float = NEVER_S
    ) -> None:
        """Wait until what was counted fulfils a condition; raises `TimeoutError`."""
        async with asyncio.timeout(within_s):
            while not condition(self.commands):
                self._counted.clear()
                await self._counted.wait()

    def clear(self) -> None:
        """Count anew."""
        self.commands.clear()
        self.received_bytes = 0

    def take(self, line: bytes) -> None:
        """Count a line of MONITOR's."""
        self.received_bytes += len(line)
        match = _LINE.match(line.decode(errors="replace"))
        if match is None or match["client"] == "lua":
            return
        name = match["name"].upper()
        self.commands[_SCRIPTS.get(match["first"] or "", name)] += 1
        self._counted.set()


@asynccontextmanager
async def monitored(url: str) -> AsyncIterator[Monitor]:
    """Count what is asked of the Redis at `url`, from the moment when this yields."""
    async with asyncio.timeout(_CONNECT_WITHIN_S):
        reader, writer = await _connect(url)
        writer.write(b"MONITOR\r\n")
        answer = await reader.readline()
        assert answer == b"+OK\r\n", answer
    monitor = Monitor()

    async def read() -> None:
        async for line in reader:
            monitor.take(line)

    reading = asyncio.create_task(read(), name="redis-monitor")
    try:
        yield monitor
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        writer.close()


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    # redis-py knows what a URL means.
    where = Redis.from_url(url).connection_pool.connection_kwargs
    if "path" in where:
        return await asyncio.open_unix_connection(where["path"], limit=_LINE_LIMIT)
    return await asyncio.open_connection(where["host"], where["port"], limit=_LINE_LIMIT)
