"""Slow clients, intervals and stagger: what each costs, and the others of its channel.

`bench_flow` runs these on our node with some rules for its channels, `stalling` on all servers.
What slow clients cost the others is told by the same run without slow clients.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from tests.load import generators, machine, scenarios, servers
from tests.load.flow_results import Spreading, Stalled
from tests.load.results import Delivery
from tests.load.scenarios import Lab
from tests.load.servers import OUR_NODE, Kind, Server

STALLED_OF: Final = 2_000
FRAMES_PER_S: Final = 20
FRAME_BYTES: Final = 4_096
BATCHED_PER_S: Final = 500
SPREAD_CLIENTS: Final = 10_000
SPREAD_PROCESSES: Final = 2
SPREAD_PER_S: Final = 2
SPREAD_OVER: Final = "200ms"

_SAMPLE_EVERY_S: Final = 1.0
_DRAIN_S: Final = 15.0
_WRITE_TIMEOUT: Final = "60s"  # stalled clients stay, so that what they cost is seen all the time
_PLAIN: Final = {"allow_subscribe_for_client": True}


def node(name: str, **channel: Any) -> Kind:
    """Return our node with rules of its channels."""
    options = {"without_namespace": {**_PLAIN, **channel}}
    client = {"insecure": True, "write_timeout": _WRITE_TIMEOUT}
    return replace(OUR_NODE, name=name, extra_settings=(("channel", options), ("client", client)))


async def stalled(lab: Lab, kind: Kind, count: int) -> Stalled:
    """Deliver 20 publications of 4 KB per second to 2,000 clients; `count` read nothing."""
    clients = STALLED_OF // (5 if lab.quick else 1)
    seconds = lab.seconds(15)
    async with (
        servers.running(kind, lab.directory) as server,
        generators.clients(
            lab.tools,
            [server.port],
            clients,
            seconds=seconds + _DRAIN_S,
            stalled=count,
            protocol=server.protocol,
        ) as load,
    ):
        before = await _held(server)
        begun = server.clock()
        watching = asyncio.create_task(_most_held(server))
        published = await generators.publish(
            lab.tools,
            [server.port],
            rate=FRAMES_PER_S,
            seconds=seconds,
            data_bytes=FRAME_BYTES,
            connections=2,
        )
        received = await load.expect(published.accepted)
        spent = server.clock() - begun
        watching.cancel()
        most = await watching
        after = await _held(server)
    lost_others = received.lost - received.lost_stalled
    user_kib, kernel_kib = most.user_kib - before.user_kib, most.kernel_kib
    # Of one client among 2,000 it could not be told from what the others do.
    return Stalled(
        user_kib=user_kib,
        kernel_kib=kernel_kib,
        p50_ms=received.p50_ms,
        p99_ms=received.p99_ms,
        cpu_s=spent.cpu,
        whole_percent=100 * (received.complete or 0) / (clients - count),
        lost_others=lost_others,
        user_kib_per_stalled=user_kib / count if count > 1 else 0,
        kernel_kib_per_stalled=kernel_kib / count if count > 1 else 0,
        ended=before.connections - after.connections - lost_others,
        waiting_percent=100 * spent.waiting / max(received.active_s, 1e-9),
    )


async def batched(lab: Lab, kind: Kind) -> Delivery:
    """Deliver 500 publications per second to 1,000 clients."""
    async with servers.running(kind, lab.directory) as server:
        return await scenarios.deliver_paced(lab, [server], BATCHED_PER_S, lab.seconds(10))


async def spread(lab: Lab, kind: Kind) -> Spreading:
    """Deliver a publication every half second to 10,000 clients of one channel."""
    clients = SPREAD_CLIENTS // SPREAD_PROCESSES // (5 if lab.quick else 1)
    seconds = lab.seconds(12)
    setup_s = SPREAD_PROCESSES * clients / 1_000
    async with servers.running(kind, lab.directory) as server, contextlib.AsyncExitStack() as stack:
        loads = [
            await stack.enter_async_context(
                generators.clients(
                    lab.tools, [server.port], clients, seconds=setup_s + seconds + _DRAIN_S
                )
            )
            for _ in range(SPREAD_PROCESSES)
        ]
        begun = server.clock()
        published = await generators.publish(
            lab.tools, [server.port], rate=SPREAD_PER_S, seconds=seconds
        )
        received = await asyncio.gather(*(load.expect(published.accepted) for load in loads))
        spent = server.clock() - begun

    deciles = merged_deciles([each.deciles_ms for each in received])
    publications = sum(each.publications for each in received)
    complete = sum(each.complete or 0 for each in received)
    return Spreading(
        p10_ms=deciles[0],
        p30_ms=deciles[2],
        p50_ms=deciles[4],
        p70_ms=deciles[6],
        p90_ms=deciles[8],
        p99_ms=max(each.p99_ms for each in received),
        whole_percent=100 * complete / (SPREAD_PROCESSES * clients),
        us_per_delivery=spent.cpu / max(publications, 1) * 1e6,
        waiting_percent=100 * spent.waiting / max(received[0].active_s, 1e-9),
    )


def merged_deciles(deciles: Sequence[Sequence[float]]) -> list[float]:
    """Return the deciles of several samples of one size, from the deciles of each.

    Each process holds clients that subscribed one after the other, so that their parts of the
    window differ, and a mean would hide it.
    """
    points = sorted(point for each in deciles for point in each)
    return [points[tenth * len(points) // 10] for tenth in range(1, 10)]


class _Held(NamedTuple):
    """What a server holds."""

    user_kib: float
    kernel_kib: float
    connections: int


async def _most_held(server: Server) -> _Held:
    """Return the most that was held at any time until this is cancelled."""
    most = _Held(0, 0, 0)
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            held = await _held(server)
            most = _Held(
                max(most.user_kib, held.user_kib),
                max(most.kernel_kib, held.kernel_kib),
                max(most.connections, held.connections),
            )
            await asyncio.sleep(_SAMPLE_EVERY_S)
    return most


async def _held(server: Server) -> _Held:
    sockets = await machine.sockets(server.port)
    return _Held(server.memory().resident, sockets.queued_kib, sockets.established)
