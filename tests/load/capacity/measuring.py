"""Loads one node step by step: a function per limit, each of which drives a ramp to its knee.

The node has a core of its own and its engine in memory; generators, publisher and this harness
share the first core. A full core of the generators is told as what stopped a ramp.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.load import generators, rounds, servers
from tests.load.capacity.knee import Bounds, Knee, Ramp, Step, decide
from tests.load.capacity.results import Limit, limit_of
from tests.load.capacity.watch import LoopWatch, watching
from tests.load.servers import OUR_NODE, Kind, Server
from tests.load.tools import Tools

RECEIVERS: Final = 1_000
FULL_BATCH: Final = 16
OTHERS_PER_S: Final = 20
"""Publications to the 1,000 that are delivered to while others connect."""

_LATE_S: Final = 5.0
"""After the last publication of a step; what is not delivered by then is lost."""
_FULL_CORE_PERCENT: Final = 95
_RAMP_S: Final = 70.0
"""In which a ramp has to find its knee."""

PutLoad = Callable[[float], Awaitable[Step]]
"""Puts a load on the node and returns how it did."""


@dataclass(frozen=True)
class Lab(rounds.Lab):
    """What every ramp needs."""

    tools: Tools
    step_s: float
    """How long each load lasts."""
    bounds: Bounds
    tell: Callable[[str], None]
    """Shows that the run goes on."""


def node_with(**settings: Any) -> Kind:
    """Return our node with settings over those of the benchmarks."""
    return replace(OUR_NODE, extra_settings=tuple(settings.items()))


async def ramp_up(lab: Lab, name: str, ramp: Ramp, put: PutLoad) -> tuple[Knee, list[Step]]:
    """Try one load after the other until the knee is known, or the time is over."""
    steps: list[Step] = []
    over_at = time.monotonic() + _RAMP_S
    while True:
        is_time_over = time.monotonic() > over_at
        decision = decide(steps, ramp, lab.bounds, is_time_over=is_time_over)
        if isinstance(decision, Knee):
            return decision, steps
        step = await put(decision.load)
        steps.append(step)
        verdict = lab.bounds.broken_by(step) or "held"
        lab.tell(f"{name}: {step.load:,.0f} ({decision.reason}): {verdict}")


async def deliveries(lab: Lab, per_frame: int) -> Limit:
    """Deliver more and more publications to 1,000 clients, so many in each frame."""
    channel = {"allow_subscribe_for_client": True, "batch": {"max_messages": per_frame}}
    kind = node_with(channel={"without_namespace": channel})
    async with servers.running(kind, lab.directory) as server, watching(server) as watch:

        async def put(load: float) -> Step:
            return await _deliver(lab, server, watch, load, per_frame)

        first = 40_000.0 if per_frame == 1 else 150_000.0
        name = f"deliveries at {per_frame} per frame"
        knee, steps = await ramp_up(lab, name, Ramp(first), put)
    return limit_of(knee, steps)


async def _deliver(lab: Lab, server: Server, watch: LoopWatch, load: float, per_frame: int) -> Step:
    async with generators.clients(
        lab.tools, [server.port], RECEIVERS, seconds=lab.step_s + _LATE_S
    ) as receivers:
        watch.begin()
        published = await generators.publish(
            lab.tools,
            [server.port],
            rate=load / RECEIVERS / per_frame,
            batch=per_frame if per_frame > 1 else 0,
            seconds=lab.step_s,
            connections=4,
            pipeline=4,
        )
        seen = watch.seen()
        received = await receivers.expect(published.accepted)
    full = 100 * (received.cpu_s + published.cpu_s) / max(received.active_s, lab.step_s)
    return Step(
        load=load,
        achieved=min(load, received.deliveries_per_s),
        lag_p99_ms=seen.lag_p99_ms,
        p99_ms=received.p99_ms,
        busy_percent=seen.busy_percent,
        waiting_percent=seen.waiting_percent,
        lost=RECEIVERS - (received.complete or 0),
        obstacle="" if full < _FULL_CORE_PERCENT else "the generators' core was full",
    )


async def connects(lab: Lab) -> Limit:
    """Let more and more clients connect per second while 1,000 others are delivered to."""
    async with servers.running(OUR_NODE, lab.directory) as server, watching(server) as watch:

        async def put(load: float) -> Step:
            return await _connect(lab, server, watch, load)

        most = 15_000 / lab.step_s
        ramp = Ramp(200, most=most, most_because="file descriptors of this machine")
        knee, steps = await ramp_up(lab, "connects/s", ramp, put)
    return limit_of(knee, steps)


async def _connect(lab: Lab, server: Server, watch: LoopWatch, load: float) -> Step:
    arriving = round(load * lab.step_s)
    async with generators.clients(
        lab.tools, [server.port], RECEIVERS, seconds=4 * lab.step_s + _LATE_S
    ) as others:
        publishing = asyncio.create_task(
            generators.publish(
                lab.tools, [server.port], rate=OTHERS_PER_S, seconds=lab.step_s, connections=2
            )
        )
        watch.begin()
        arrivals = generators.clients(
            lab.tools,
            [server.port],
            arriving,
            seconds=_LATE_S,
            connects_per_s=load,
            channel="elsewhere",
        )
        async with arrivals as newcomers:
            seen = watch.seen()
            published = await publishing
            received = await others.expect(published.accepted)
    return Step(
        load=load,
        achieved=min(load, arriving / newcomers.setup_s),
        lag_p99_ms=seen.lag_p99_ms,
        p99_ms=received.p99_ms,
        busy_percent=seen.busy_percent,
        waiting_percent=seen.waiting_percent,
        lost=RECEIVERS - (received.complete or 0),
    )


async def lag_source(lab: Lab) -> str:
    """Return where the loop's lag is read from."""
    async with servers.running(OUR_NODE, lab.directory) as server, watching(server) as watch:
        return watch.source
