"""What is measured: a function per scenario, which starts a server, loads it and returns figures.

Every scenario takes the kind of server as an argument and treats all kinds alike. CPU time is the
server's own, from the first publication (or connection) to the last delivery, and so includes the
HTTP requests that published.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.load import generators, rounds, servers
from tests.load.generators import Credits, LoadSummary, PublisherSummary, Second, SendLoopSummary
from tests.load.machine import Clock
from tests.load.results import Cluster, Connections, Delivery, HttpPublishing, Sending
from tests.load.servers import Kind, Server
from tests.load.tools import Tools

CLIENTS = 1_000
UNBATCHED_PER_S = 50  # publications: far apart, so that no two can share a frame
STEADY_PER_S = 200
BATCH = 16  # publications per request at the ceiling: Centrifugo puts no more into a frame
REQUESTS_AHEAD = 3  # published, not yet delivered: enough that the server is never idle
MANY_CLIENTS = 8_000
CONNECTS_PER_S = 1_000
HTTP_CONNECTIONS = 16
FRAME_BYTES = 248  # what a publication of 200 bytes is on the wire, for the bare send loops

SETTLE_S = 2.0  # for memory that a server gives back after a burst
DRAIN_S = 15.0  # after the last publication: what is not delivered by then is lost
_TRAFFIC_PER_S = 5
_TRAFFIC_S = 2.0
_BATCH_ROUNDS = 500  # of a bare send loop: two or three seconds


@dataclass(frozen=True)
class Lab(rounds.Lab):
    """What every scenario needs."""

    tools: Tools


async def unbatched(lab: Lab, kind: Kind) -> Delivery:
    """Deliver publications so far apart that each is a frame of its own: the cost of a frame."""
    async with servers.running(kind, lab.directory) as server:
        return await deliver_paced(lab, [server], UNBATCHED_PER_S, lab.seconds(8))


async def steady(lab: Lab, kind: Kind) -> Delivery:
    """Deliver 200 publications per second to 1,000 clients: does one core keep up?"""
    async with servers.running(kind, lab.directory) as server:
        return await deliver_paced(lab, [server], STEADY_PER_S, lab.seconds(12))


async def ceiling(lab: Lab, kind: Kind) -> Delivery:
    """Deliver as much as one core can, whole: what was delivered lets more be published."""
    async with servers.running(kind, lab.directory) as server:
        return await _at_ceiling(lab, [server], lab.seconds(6))


async def connections(lab: Lab, kind: Kind) -> Connections:
    """Connect and subscribe many clients: CPU and memory for each.

    They come in two halves. What the second adds is told apart, because the first may find memory
    that the server had taken before, while it started.
    """
    half = MANY_CLIENTS // (8 if lab.quick else 2)
    async with servers.running(kind, lab.directory) as server, contextlib.AsyncExitStack() as stack:
        memories, spent, loads = [server.memory()], Clock(0, 0), []
        for _ in range(2):
            begun = server.clock()
            loads.append(await stack.enter_async_context(_many_clients(lab, server, half)))
            spent += server.clock() - begun
            await asyncio.sleep(SETTLE_S)
            memories.append(server.memory())
        published = await generators.publish(
            lab.tools, [server.port], rate=_TRAFFIC_PER_S, seconds=_TRAFFIC_S
        )
        await asyncio.gather(*(load.expect(published.accepted) for load in loads))
        used = server.memory()
    idle, half_held, held = memories
    return Connections(
        clients=2 * half,
        us_per_client=spent.cpu / (2 * half) * 1e6,
        kib_per_client=(held.resident - idle.resident) / (2 * half),
        kib_per_client_of_second_half=(held.resident - half_held.resident) / half,
        proportional_kib_per_client=(held.proportional - idle.proportional) / (2 * half),
        kib_per_client_after_traffic=(used.resident - idle.resident) / (2 * half),
        idle_mib=idle.resident / 1024,
        setup_s=sum(load.setup_s for load in loads),
    )


async def http_publish(lab: Lab, kind: Kind) -> HttpPublishing:
    """Publish one by one, as fast as 16 connections are answered, to a channel with one client."""
    seconds = lab.seconds(5)
    async with (
        servers.running(kind, lab.directory) as server,
        generators.clients(lab.tools, [server.port], 1, seconds=seconds + DRAIN_S) as load,
    ):
        begun = server.clock()
        published = await generators.publish(
            lab.tools, [server.port], seconds=seconds, connections=HTTP_CONNECTIONS
        )
        await load.expect(published.accepted)
        spent = server.clock() - begun
    return HttpPublishing(
        publishes_per_s=published.publications_per_s,
        us_per_publish=spent.cpu / max(published.accepted, 1) * 1e6,
        p50_ms=published.p50_ms,
        p99_ms=published.p99_ms,
        rejected=published.rejected,
    )


async def cluster(lab: Lab, kind: Kind, nodes: int) -> Cluster:
    """Spread the clients over nodes that share a Redis, and publish to all of them."""
    async with servers.redis(lab.directory) as redis_port, contextlib.AsyncExitStack() as stack:
        running = [
            await stack.enter_async_context(
                servers.running(kind, lab.directory, index=index, redis_port=redis_port)
            )
            for index in range(nodes)
        ]
        paced = await deliver_paced(lab, running, UNBATCHED_PER_S, lab.seconds(4))
        top = await _at_ceiling(lab, running, lab.seconds(5))
    return Cluster(
        deliveries_per_s=top.deliveries_per_s,
        us_per_delivery=top.us_per_delivery,
        publications_per_frame=top.publications_per_frame,
        p99_ceiling_ms=top.p99_ms,
        p50_paced_ms=paced.p50_ms,
        p99_paced_ms=paced.p99_ms,
        whole_percent=min(paced.whole_percent, top.whole_percent),
    )


async def c_send_loop(lab: Lab) -> Sending:
    """Send what `unbatched` delivers, at its pace, from a loop in C."""
    return await _sending_single(lab, generators.send_loop)


async def uvloop_send_loop(lab: Lab) -> Sending:
    """Send the same from a loop in Python over uvloop."""
    return await _sending_single(lab, generators.uvloop_send_loop)


async def c_send_loop_of_batches(lab: Lab) -> Sending:
    """Send the full frames of `ceiling`, without pause, from a loop in C."""
    return await _sending_batches(lab, generators.send_loop)


async def uvloop_send_loop_of_batches(lab: Lab) -> Sending:
    """Send the same from a loop in Python over uvloop."""
    return await _sending_batches(lab, generators.uvloop_send_loop)


async def _sending_single(lab: Lab, loop: Callable[..., Awaitable[SendLoopSummary]]) -> Sending:
    summary = await loop(
        lab.tools,
        connections=CLIENTS,
        frame_bytes=FRAME_BYTES,
        rounds=round(UNBATCHED_PER_S * lab.seconds(4)),
        rate=UNBATCHED_PER_S,
    )
    return Sending(summary.us_per_send, summary.us_per_send)


async def _sending_batches(lab: Lab, loop: Callable[..., Awaitable[SendLoopSummary]]) -> Sending:
    summary = await loop(
        lab.tools,
        connections=CLIENTS,
        frame_bytes=BATCH * FRAME_BYTES,
        rounds=_BATCH_ROUNDS,
        rate=0,
    )
    return Sending(summary.us_per_send / BATCH, summary.us_per_send)


async def deliver_paced(lab: Lab, running: Sequence[Server], rate: int, seconds: float) -> Delivery:
    """Deliver so many publications per second, whatever it costs."""
    ports = [server.port for server in running]
    async with generators.clients(
        lab.tools,
        ports,
        CLIENTS,
        seconds=seconds + DRAIN_S,
        timeline=True,
        protocol=running[0].protocol,
    ) as load:
        begun = _clock(running)
        # Some in flight, so that one slow answer does not delay what is due meanwhile.
        published = await generators.publish(
            lab.tools, ports, rate=rate, seconds=seconds, connections=4, pipeline=4
        )
        received = await load.expect(published.accepted)
        spent = _clock(running) - begun
    return _delivery(received, published, spent)


async def _at_ceiling(lab: Lab, running: Sequence[Server], seconds: float) -> Delivery:
    ports = [server.port for server in running]
    with Credits(every=BATCH * CLIENTS, ahead=REQUESTS_AHEAD) as credit:
        async with generators.clients(
            lab.tools,
            ports,
            CLIENTS,
            seconds=seconds + DRAIN_S,
            timeline=True,
            credit=credit,
            protocol=running[0].protocol,
        ) as load:
            begun = _clock(running)
            published = await generators.publish(
                lab.tools,
                ports,
                seconds=seconds,
                batch=BATCH,
                connections=max(REQUESTS_AHEAD, len(ports)),
                credit=credit,
            )
            received = await load.expect(published.accepted)
            spent = _clock(running) - begun
    return _delivery(received, published, spent)


def _many_clients(
    lab: Lab, server: Server, count: int
) -> contextlib.AbstractAsyncContextManager[generators.Load]:
    # The first half is held while the second connects.
    seconds = MANY_CLIENTS / CONNECTS_PER_S + 2 * SETTLE_S + _TRAFFIC_S + DRAIN_S
    return generators.clients(
        lab.tools,
        [server.port],
        count,
        seconds=seconds,
        connects_per_s=CONNECTS_PER_S,
        protocol=server.protocol,
    )


def _clock(running: Sequence[Server]) -> Clock:
    return sum((server.clock() for server in running), start=Clock(0, 0))


def _delivery(received: LoadSummary, published: PublisherSummary, spent: Clock) -> Delivery:
    active_s = max(received.active_s, 1e-9)
    return Delivery(
        us_per_delivery=spent.cpu / max(received.publications, 1) * 1e6,
        us_per_frame=spent.cpu / max(received.frames, 1) * 1e6,
        deliveries_per_s=received.deliveries_per_s,
        publications_per_frame=received.publications_per_frame,
        most_per_frame=received.most_per_frame,
        p50_ms=received.p50_ms,
        p99_ms=received.p99_ms,
        p99_growth=growth_of_p99(received.timeline),
        whole_percent=100 * (received.complete or 0) / CLIENTS,
        lost_clients=received.lost,
        rejected=published.rejected,
        server_busy_percent=100 * spent.cpu / active_s,
        server_waiting_percent=100 * spent.waiting / active_s,
        generators_busy_percent=100 * (received.cpu_s + published.cpu_s) / active_s,
    )


def growth_of_p99(timeline: Sequence[Second]) -> float:
    """Return the p99 latency of the last third of the time over that of the first.

    Each third is represented by the median of its seconds: a hiccup is no growth. Seconds in which
    publishing had only begun or was already over do not count.
    """
    usual = statistics.median(second.publications for second in timeline) if timeline else 0
    p99s = [second.p99_ms for second in timeline if second.publications > usual / 2]
    third = len(p99s) // 3
    if third == 0:
        return 1.0
    return statistics.median(p99s[-third:]) / max(statistics.median(p99s[:third]), 1e-3)
