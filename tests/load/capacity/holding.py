"""How many clients a node holds: more and more of them, idle, subscribed, and pinged.

They come in parts and stay, so that each part shows what it adds: memory, and the CPU of pings. The
limit is mostly this machine's and not the node's, since a process may have so many file descriptors
and no more; the report says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import resource
from dataclasses import dataclass, field
from typing import Final

from tests.load import generators, servers
from tests.load.capacity.advice import fit_memory
from tests.load.capacity.knee import Step, is_to_be_tried_again, knee_of_growth
from tests.load.capacity.measuring import Lab, node_with
from tests.load.capacity.results import Connections, limit_of
from tests.load.capacity.watch import LoopWatch, watching
from tests.load.servers import Server

PARTS: Final = 3
PING_INTERVAL_S: Final = 10
"""Two and a half times as often as by default."""

_SPARE_FILES: Final = 200
"""Of the node, beside clients."""
_CONNECTS_PER_S: Final = 1_500
_SETTLE_S: Final = 1.0
_HELD_S: Final = 300.0
"""Longer than all of them are held."""


@dataclass
class _Holding:
    """Clients that stay until the stack ends."""

    lab: Lab
    server: Server
    watch: LoopWatch
    stack: contextlib.AsyncExitStack
    part: int
    clients: int = 0
    memories: list[tuple[int, float]] = field(default_factory=list)
    """Clients, and resident KiB with so many."""

    async def add_part(self) -> None:
        """Let more clients come."""
        load = generators.clients(
            self.lab.tools,
            [self.server.port],
            self.part,
            seconds=_HELD_S,
            connects_per_s=_CONNECTS_PER_S,
        )
        await self.stack.enter_async_context(load)
        self.clients += self.part
        await asyncio.sleep(_SETTLE_S)

    async def look(self) -> Step:
        """Look at the node for as long as it takes to ping all."""
        self.watch.begin()
        await asyncio.sleep(PING_INTERVAL_S * (0.3 if self.lab.quick else 1))
        seen = self.watch.seen()
        self.note_memory()
        held = int((await self.server.status())["num_clients"])
        return Step(
            load=self.clients,
            achieved=held,
            lag_p99_ms=seen.lag_p99_ms,
            busy_percent=seen.busy_percent,
            waiting_percent=seen.waiting_percent,
            lost=self.clients - held,
        )

    def note_memory(self) -> None:
        """Keep what the node takes now."""
        self.memories.append((self.clients, float(self.server.memory().resident)))


async def connections(lab: Lab) -> Connections:
    """Hold as many clients as the machine has file descriptors for, or the node breaks."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    part = (files - _SPARE_FILES) // (10 if lab.quick else 1) // PARTS
    client = {"insecure": True, "ping_interval": f"{PING_INTERVAL_S}s", "pong_timeout": "5s"}
    steps: list[Step] = []
    async with (
        servers.running(node_with(client=client), lab.directory) as server,
        watching(server) as watch,
        contextlib.AsyncExitStack() as stack,
    ):
        holding = _Holding(lab, server, watch, stack, part)
        holding.note_memory()
        for _ in range(PARTS):
            await holding.add_part()
            looks = [await holding.look()]
            while is_to_be_tried_again(looks, lab.bounds):
                looks.append(await holding.look())
            steps += looks
            verdict = lab.bounds.broken_by(looks[-1])
            lab.tell(f"connections: {holding.clients:,}: {verdict or 'held'}")
            if verdict:
                break
    enough = f"{files:,} file descriptors per process here; the node may hold more"
    if lab.quick:
        enough = "a quick run tries no more"
    limit = limit_of(knee_of_growth(steps, lab.bounds, enough), steps)
    memory = fit_memory(holding.memories)
    return Connections(
        **{each.name: getattr(limit, each.name) for each in dataclasses.fields(limit)},
        memory=memory,
        kib_per_client=memory.kib_per_client,
        idle_mib=memory.idle_mib,
    )
