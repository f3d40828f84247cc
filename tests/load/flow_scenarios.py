"""Slow clients, intervals and stagger: what each costs, and the others of its channel.

`bench_flow` runs these on our node with some rules for its channels, `stalling` on all servers.
What slow clients cost the others is told by the same run without slow clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import aiohttp

from tests.load import generators, machine, servers
from tests.load.flow_results import Arrivals, Choking, Held, InOrder, Stalled, quantiles
from tests.load.generators import Load, LoadSummary, PublisherSummary
from tests.load.latencies import Latencies
from tests.load.machine import Clock
from tests.load.scenarios import Lab
from tests.load.servers import OUR_NODE, Kind, Server

STALLED_OF: Final = 2_000
FRAMES_PER_S: Final = 20
FRAME_BYTES: Final = 4_096
CHOKING: Final = 300
CHOKING_OTHERS: Final = 10
LARGE_FRAME_BYTES: Final = 2**20
LARGE_FRAMES_PER_S: Final = 4
BUDGET_MIB: Final = 16
BATCHED_CLIENTS: Final = 1_000
BATCHED_PER_S: Final = 500
CALM_PER_S: Final = 50
INTERVAL_MS: Final = 20
SPREAD_CLIENTS: Final = 10_000
SPREAD_PROCESSES: Final = 2
SPREAD_PER_S: Final = 2
SPREAD_OVER_MS: Final = 200

_SAMPLE_EVERY_S: Final = 1.0
_WATCH_EVERY_S: Final = 0.1
_CONNECTS_PER_S: Final = 1_000
_DRAIN_S: Final = 15.0
_WRITE_TIMEOUT: Final = "60s"  # stalled clients stay, so that what they cost is seen all the time
_PLAIN: Final = {"allow_subscribe_for_client": True}


def node(name: str, client: Mapping[str, Any] | None = None, **channel: Any) -> Kind:
    """Return our node with rules of its channels, and perhaps of its clients."""
    options = {"without_namespace": {**_PLAIN, **channel}}
    client = {"insecure": True, "write_timeout": _WRITE_TIMEOUT, **(client or {})}
    settings = (*OUR_NODE.extra_settings, ("channel", options), ("client", client))
    return replace(OUR_NODE, name=name, extra_settings=settings)


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
        before = await _memory(server)
        begun = server.clock()
        watching = asyncio.create_task(_most_memory(server))
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
        left = (await machine.sockets(server.port)).established
    grown = _Memory(most.user_kib - before.user_kib, most.kernel_kib)
    # Of one client among 2,000 it could not be told from what the others do.
    user_kib, kernel_kib = (kib / count if count > 1 else 0 for kib in grown)
    lost_others = received.lost - received.lost_stalled
    return Stalled(
        user_kib=grown.user_kib,
        kernel_kib=grown.kernel_kib,
        p50_ms=received.p50_ms,
        p99_ms=received.p99_ms,
        cpu_s=spent.cpu,
        whole_percent=100 * (received.complete or 0) / (clients - count),
        lost_others=lost_others,
        kib_per_stalled=user_kib + kernel_kib,
        user_kib_per_stalled=user_kib,
        kernel_kib_per_stalled=kernel_kib,
        ended=clients - left - lost_others,
        waiting_percent=100 * spent.waiting / max(received.active_s, 1e-9),
    )


async def choking(lab: Lab, kind: Kind) -> Choking:
    """Deliver frames of 1 MiB to 310 clients, of which 300 read nothing."""
    seconds = lab.seconds(10)
    async with (
        servers.running(kind, lab.directory) as server,
        generators.clients(
            lab.tools,
            [server.port],
            CHOKING + CHOKING_OTHERS,
            seconds=seconds + _DRAIN_S,
            stalled=CHOKING,
        ) as load,
    ):
        held: list[Held] = []
        watching = asyncio.create_task(_watch_held(server, server.memory().resident, held))
        begun = server.clock()
        published = await generators.publish(
            lab.tools,
            [server.port],
            rate=LARGE_FRAMES_PER_S,
            seconds=seconds,
            data_bytes=LARGE_FRAME_BYTES,
        )
        received = await load.expect(published.accepted)
        spent = server.clock() - begun
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        ended = await _metric(server.port, "slow_client_closes_total")
    growth_mib = max(each.growth_mib for each in held)
    return Choking(
        growth_mib=growth_mib,
        growth_percent=100 * growth_mib / BUDGET_MIB,
        waiting_mib=max(each.waiting_mib for each in held),
        ended=int(ended),
        lost_others=received.lost - received.lost_stalled,
        whole_percent=100 * (received.complete or 0) / CHOKING_OTHERS,
        p99_ms=received.p99_ms,
        waiting_percent=100 * spent.waiting / max(received.active_s, 1e-9),
        held=tuple(held),
    )


async def batched(lab: Lab, kind: Kind, rate: int) -> Arrivals:
    """Deliver so many publications per second to 1,000 clients."""
    seconds = lab.seconds(10)
    async with (
        servers.running(kind, lab.directory) as server,
        _clients(lab, server, BATCHED_CLIENTS, seconds) as loads,
    ):
        begun = server.clock()
        # Some in flight, so that one slow answer does not delay what is due meanwhile.
        published = await generators.publish(
            lab.tools, [server.port], rate=rate, seconds=seconds, connections=4, pipeline=4
        )
        received = await _all_received(loads, published)
        spent = server.clock() - begun
    return Arrivals(**_arrivals(received, published, spent, BATCHED_CLIENTS))


async def spread(lab: Lab, kind: Kind) -> InOrder:
    """Deliver a publication every half second to 10,000 clients of one channel."""
    clients = SPREAD_CLIENTS // (5 if lab.quick else 1)
    seconds = lab.seconds(12)
    async with (
        servers.running(kind, lab.directory) as server,
        _clients(lab, server, clients, seconds, processes=SPREAD_PROCESSES) as loads,
    ):
        begun = server.clock()
        published = await generators.publish(
            lab.tools, [server.port], rate=SPREAD_PER_S, seconds=seconds
        )
        received = await _all_received(loads, published)
        spent = server.clock() - begun
    return InOrder(
        **_arrivals(received, published, spent, clients),
        disordered=sum(each.disordered for each in received),
    )


@contextlib.asynccontextmanager
async def _clients(
    lab: Lab, server: Server, clients: int, seconds: float, processes: int = 1
) -> AsyncIterator[list[Load]]:
    """Hold clients in so many processes, for as long as publishing takes."""
    setup_s = clients / _CONNECTS_PER_S
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                generators.clients(
                    lab.tools,
                    [server.port],
                    clients // processes,
                    seconds=setup_s + seconds + _DRAIN_S,
                    connects_per_s=_CONNECTS_PER_S,
                )
            )
            for _ in range(processes)
        ]


async def _all_received(loads: Sequence[Load], published: PublisherSummary) -> list[LoadSummary]:
    return await asyncio.gather(*(load.expect(published.accepted) for load in loads))


def _arrivals(
    received: Sequence[LoadSummary], published: PublisherSummary, spent: Clock, clients: int
) -> dict[str, Any]:
    """Return the fields of `Arrivals`, of all processes of clients together."""
    publications = sum(each.publications for each in received)
    frames = sum(each.frames for each in received)
    active_s = max(*(each.active_s for each in received), 1e-9)
    latencies = Latencies.merged(each.latencies for each in received)
    return {
        **quantiles(latencies, max(each.max_ms for each in received)),
        "us_per_delivery": spent.cpu / max(publications, 1) * 1e6,
        "us_per_frame": spent.cpu / max(frames, 1) * 1e6,
        "deliveries_per_s": publications / active_s,
        "publications_per_frame": publications / max(frames, 1),
        "most_per_frame": max(each.most_per_frame for each in received),
        "whole_percent": 100 * sum(each.complete or 0 for each in received) / clients,
        "lost_clients": sum(each.lost for each in received),
        "rejected": published.rejected,
        "server_busy_percent": 100 * spent.cpu / active_s,
        "waiting_percent": 100 * spent.waiting / active_s,
        "latencies": latencies,
    }


async def _watch_held(server: Server, before_kib: int, held: list[Held]) -> None:
    """Add what the server holds for slow clients, again and again, until this is cancelled."""
    begun = time.monotonic()
    while True:
        waiting = await _metric(server.port, "slow_client_waiting_bytes")
        growth_mib = (server.memory().resident - before_kib) / 1024
        held.append(Held(time.monotonic() - begun, growth_mib, waiting / 2**20))
        await asyncio.sleep(_WATCH_EVERY_S)


class _Memory(NamedTuple):
    """Memory in KiB."""

    user_kib: float
    kernel_kib: float


async def _most_memory(server: Server) -> _Memory:
    """Return the most that was held at any time until this is cancelled."""
    most = _Memory(0, 0)
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            held = await _memory(server)
            most = _Memory(*map(max, most, held))
            await asyncio.sleep(_SAMPLE_EVERY_S)
    return most


async def _memory(server: Server) -> _Memory:
    return _Memory(server.memory().resident, (await machine.sockets(server.port)).queued_kib)


async def _metric(port: int, name: str) -> float:
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"http://127.0.0.1:{port}/metrics")
        lines = (await answer.text()).splitlines()
    return sum(
        float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"realtime_{name}")
    )
