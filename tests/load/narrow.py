"""What a publication costs where nothing is shared: ten thousand channels of one client each.

A frame is written to one client here, so every overhead per publication shows that a fan-out to a
thousand clients hides. One node takes the publishes over HTTP, another holds the clients, and
between them is Redis: the CPU time of the first is what a publish costs, that of the second what a
delivery costs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from tests.load import generators, servers
from tests.load.generators import LoadSummary, PublisherSummary
from tests.load.machine import Clock, Memory
from tests.load.results import Narrow
from tests.load.scenarios import DRAIN_S, SETTLE_S, Lab
from tests.load.servers import Kind

CHANNELS: Final = 10_000
CONNECTS_PER_S: Final = 1_000
PUBLISHES_PER_S: Final = 1_000
PUBLICATIONS: Final = 1
"""Into each channel."""

_QUICK_PART: Final = 10


@dataclass(frozen=True)
class Spent:
    """What the nodes used: while the clients came, and while publications went to them."""

    connecting: Clock
    memory_before: Memory
    memory_after: Memory
    publishing: Clock
    delivering: Clock


async def narrow(lab: Lab, kind: Kind) -> Narrow:
    """Publish into each of 10,000 channels in turn, one publication a millisecond."""
    channels = CHANNELS // _QUICK_PART if lab.quick else CHANNELS
    publishing_s = PUBLICATIONS * channels / PUBLISHES_PER_S
    async with (
        servers.redis(lab.directory) as redis_port,
        servers.running(kind, lab.directory, index=0, redis_port=redis_port) as publisher,
        servers.running(kind, lab.directory, index=1, redis_port=redis_port) as holder,
    ):
        memory_before, begun = holder.memory(), holder.clock()
        async with generators.clients(
            lab.tools,
            [holder.port],
            channels,
            seconds=publishing_s + SETTLE_S + DRAIN_S,
            connects_per_s=CONNECTS_PER_S,
            channels=channels,
            protocol=kind.protocol,
        ) as load:
            connecting = holder.clock() - begun
            await asyncio.sleep(SETTLE_S)
            memory_after = holder.memory()
            publishing, delivering = publisher.clock(), holder.clock()
            published = await generators.publish(
                lab.tools,
                [publisher.port],
                rate=PUBLISHES_PER_S,
                requests=PUBLICATIONS * channels,
                # Seldom needed: only when the node falls behind its rate.
                seconds=publishing_s + DRAIN_S,
                connections=4,
                pipeline=4,
                channels=channels,
            )
            received = await load.expect(PUBLICATIONS)
            spent = Spent(
                connecting,
                memory_before,
                memory_after,
                publisher.clock() - publishing,
                holder.clock() - delivering,
            )
    return summarize(received, published, spent)


def summarize(received: LoadSummary, published: PublisherSummary, spent: Spent) -> Narrow:
    """Return the figures of one measurement."""
    clients = received.clients
    active_s = max(received.active_s, 1e-9)
    resident_kib = spent.memory_after.resident - spent.memory_before.resident
    return Narrow(
        us_per_publish=spent.publishing.cpu / max(published.accepted, 1) * 1e6,
        us_per_delivery=spent.delivering.cpu / max(received.publications, 1) * 1e6,
        kib_per_client=resident_kib / clients,
        us_per_client=spent.connecting.cpu / clients * 1e6,
        clients=clients,
        deliveries_per_s=received.deliveries_per_s,
        p50_ms=received.p50_ms,
        p99_ms=received.p99_ms,
        whole_percent=100 * (received.complete or 0) / clients,
        lost_clients=received.lost,
        rejected=published.rejected,
        servers_busy_percent=100 * (spent.publishing + spent.delivering).cpu / active_s,
    )
