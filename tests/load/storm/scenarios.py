"""A node is gone at once: killed, or ended without a drain. Its clients come to the others.

all here ─▶ calm ─▶ mark ─▶ fault ─▶ the balancer learns ─▶ all back ─▶ afterwards ─▶ judged
"""

from __future__ import annotations

import asyncio
import dataclasses
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.load.storm import rates, scene
from tests.load.storm.crowd import Crowd, Plan, gathered
from tests.load.storm.messages import CALM, UNAFFECTED, Story
from tests.load.storm.results import Admitted, Storm, delivered
from tests.load.storm.scene import Lab, Scene

CLIENTS: Final = 10_000
NODES: Final = 3
CONNECTS_PER_S: Final = 300
"""At which a crowd comes where nothing meters it."""
ADMITTED_PER_S: Final = 150
"""Of each node, where admission is metered."""
BALANCER_LAG_S: Final = 2.0
"""After which the endpoints of a Service no longer hold a node that is gone."""
BACK_WITHIN_S: Final = 90.0
GRACE_S: Final = 20.0
"""Beyond what the rate allows, for those whose back-off had just begun."""

ADMISSION: Final[dict[str, Any]] = {
    "admission": {"connects_per_second": ADMITTED_PER_S, "burst": ADMITTED_PER_S // 10}
}
AT_ONCE: Final[dict[str, Any]] = {"shutdown": {"timeout": "2s"}}

_CALM_S: Final = 6.0
_AFTERWARDS_S: Final = 4.0

Fault = Callable[[Scene], Awaitable[object]]


@dataclass(frozen=True)
class Act:
    """What happened, and when."""

    crowd: Crowd
    stage: Scene
    marked_at: float
    back_at: float
    affected: int
    back_s: tuple[float, ...]
    result: Storm


async def killed(lab: Lab) -> Storm:
    """SIGKILL one of three nodes."""
    return (await _suffer(lab, _kill_first)).result


async def plain(lab: Lab) -> Storm:
    """End one of three nodes with SIGTERM, with no time for a drain."""
    return (await _suffer(lab, _terminate_first, **AT_ONCE)).result


async def storm(lab: Lab) -> Admitted:
    """SIGKILL one of three nodes, each of which lets clients in at a rate."""
    return _admitted(await _suffer(lab, _kill_first, **ADMISSION))


async def storm_without_redis(lab: Lab) -> Admitted:
    """The same, and Redis is away for a while in the midst of it."""

    async def fault(stage: Scene) -> None:
        await _kill_first(stage)
        await asyncio.sleep(3)
        await restart_redis(stage, away_s=5)

    return _admitted(await _suffer(lab, fault, aof=True, **ADMISSION))


async def restart_redis(stage: Scene, *, away_s: float) -> None:
    """SIGKILL the Redis and bring it back with what its file holds."""
    await asyncio.to_thread(stage.redis.kill)
    await asyncio.sleep(away_s)
    await asyncio.to_thread(stage.redis.start)


async def _kill_first(stage: Scene) -> None:
    stage.nodes[0].kill()


async def _terminate_first(stage: Scene) -> None:
    scene.terminate(stage.nodes[0])


async def _suffer(lab: Lab, fault: Fault, *, aof: bool = False, **settings: Any) -> Act:
    clients = lab.crowd_of(CLIENTS)
    # Below what admission lets in, so that the crowd is not refused before anything has happened.
    per_s = 0.8 * NODES * ADMITTED_PER_S if "admission" in settings else CONNECTS_PER_S
    async with scene.set_up(lab, NODES, publishing=NODES - 1, aof=aof, **settings) as stage:
        plan = Plan(clients, stage.ports, scene.CHANNEL_NAMES, per_s)
        async with gathered(plan) as crowd:
            await crowd.all_here(within_s=clients / per_s + BACK_WITHIN_S)
            crowd.mark(CALM)
            await asyncio.sleep(lab.seconds(_CALM_S))
            spent_before = crowd.cpu_s
            marked_at = crowd.mark(UNAFFECTED)
            before = crowd.here
            await fault(stage)
            gone = stage.nodes[0].port
            await asyncio.sleep(BALANCER_LAG_S)
            crowd.choose([port for port in stage.ports if port != gone])
            await crowd.all_here(within_s=BACK_WITHIN_S)
            back_at = time.monotonic()
            await asyncio.sleep(lab.seconds(_AFTERWARDS_S))
            verdict, stories = await stage.judged(crowd)
            spent = (crowd.cpu_s - spent_before) / (time.monotonic() - marked_at)

    timeline = crowd.timeline
    back_s = tuple(seconds for story in stories for seconds in story.back_s)
    affected = len([at for at in timeline.closed(gone) if at >= marked_at])
    attempts = sum(at >= marked_at for times in timeline.attempts.values() for at in times)
    refused = sum(at >= marked_at for port in stage.ports for at in timeline.refused(port))
    connects = [at for times in timeline.upgrades.values() for at in times if at >= marked_at]
    assert affected > before / NODES / 2, f"{affected} of {before} clients lost their node"
    result = Storm(
        **fields_of(delivered(verdict, stories, timeline, stage.load)),
        returned=affected,
        peak_connects_per_s=rates.peak_per_s(connects),
        back_p50_s=statistics.median(back_s),
        all_back_s=max(back_s),
        refused=refused,
        attempts_per_return=attempts / affected,
        crowd_cpu_percent=100 * spent,
        timeline=timeline.moments(marked_at - _CALM_S, back_at + 1, stage.names),
    )
    return Act(crowd, stage, marked_at, back_at, affected, back_s, result)


def _admitted(act: Act) -> Admitted:
    survivors = act.stage.ports[1:]
    judged = [
        rates.admission(act.crowd.timeline.demand(port), ADMITTED_PER_S, act.marked_at, act.back_at)
        for port in survivors
    ]
    allowed_s = act.affected / (ADMITTED_PER_S * len(survivors)) + GRACE_S
    return Admitted(
        **fields_of(act.result),
        rate_per_s=ADMITTED_PER_S,
        judged_s=min(each.judged_s for each in judged),
        slowest_ratio=min(each.per_s for each in judged) / ADMITTED_PER_S,
        fastest_ratio=max(each.per_s for each in judged) / ADMITTED_PER_S,
        peak_ratio=max(each.peak_per_s for each in judged) / ADMITTED_PER_S,
        back_ratio=act.result.all_back_s / allowed_s,
    )


def fields_of(result: Any) -> dict[str, Any]:
    """Return the fields of a result, for one that has more."""
    return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}


def reconnects_of(stories: list[Story]) -> int:
    """Return how often clients came back, over all of them."""
    return sum(count for story in stories for count in story.reconnects)
