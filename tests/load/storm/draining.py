"""Nodes send their clients away slowly, one cluster-wide reconnect budget paying for each.

    all here ─▶ calm ─▶ mark ─▶ order ─▶ the balancer learns, late ─▶ drained ─▶ all back ─▶ judged

Most clients are on the nodes that leave. The budget is so many per accepting node and second; the
closes of all draining nodes together are held against it.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.load.storm import rates, scene
from tests.load.storm.crowd import Crowd, Plan, gathered
from tests.load.storm.messages import CALM, UNAFFECTED, Story
from tests.load.storm.results import Drained, delivered
from tests.load.storm.scenarios import (
    BACK_WITHIN_S,
    BALANCER_LAG_S,
    CONNECTS_PER_S,
    fields_of,
    restart_redis,
)
from tests.load.storm.scene import Lab, Scene
from tests.load.storm.timeline import Timeline

LEAVING_CLIENTS: Final = 5_000
"""On the nodes that are drained, together."""
STAYING_CLIENTS: Final = 1_000
"""On each of the others."""
BUDGET_PER_S: Final = 100
"""Of each accepting node."""
DEADLINE_S: Final = 180.0
ENDED_BY_DRAIN: Final = 3001

NEEDED: Final[dict[str, Any]] = {
    "admin": {"key": scene.ADMIN_KEY},
    "reconnect_budget": {"connections_per_second_per_node": BUDGET_PER_S},
}
"""What a node has to know to be told to drain, and how fast."""
SETTINGS: Final[dict[str, Any]] = {**NEEDED, "shutdown": {"timeout": f"{DEADLINE_S:.0f}s"}}

_CALM_S: Final = 6.0
_IN_FLIGHT_S: Final = 1.0
"""In which upgrades that a node had begun before the cordon are finished."""
_KILLED_AFTER_S: Final = 10.0
_LEASES_EXPIRE_S: Final = 2.0

Order = Callable[[Scene, Sequence[int]], Awaitable[None]]
"""Sends the nodes of these indices away."""
Meanwhile = Callable[["Play"], Coroutine[None, None, None]]


@dataclass
class Play:
    """A drain under way."""

    stage: Scene
    crowd: Crowd
    leaving: Sequence[int]
    ordered_at: float = 0.0
    killed_at: float | None = None


async def drain(lab: Lab) -> Drained:
    """Drain a node by the operator's order."""
    return await _drain(lab, nodes=3, leaving=1)


async def drain_by_signal(lab: Lab) -> Drained:
    """Drain a node by SIGTERM alone."""
    return await _drain(lab, nodes=3, leaving=1, order=_by_signal)


async def drain_two(lab: Lab) -> Drained:
    """Drain two of four nodes at once, on one budget."""
    return await _drain(lab, nodes=4, leaving=2)


async def drain_while_one_dies(lab: Lab) -> Drained:
    """Drain one of four nodes, and SIGKILL another meanwhile."""
    return await _drain(lab, nodes=4, leaving=1, meanwhile=_kill_another)


async def drain_without_redis(lab: Lab) -> Drained:
    """Drain a node, and Redis is away for a while in the midst of it."""

    async def take_redis(play: Play) -> None:
        await asyncio.sleep(_KILLED_AFTER_S / 2)
        await restart_redis(play.stage, away_s=5)

    return await _drain(lab, nodes=3, leaving=1, meanwhile=take_redis, aof=True)


async def _by_order(stage: Scene, leaving: Sequence[int]) -> None:
    for index in leaving:
        await stage.order_drain(stage.nodes[index], "drain", deadline_s=DEADLINE_S)


async def _by_signal(stage: Scene, leaving: Sequence[int]) -> None:
    for index in leaving:
        scene.terminate(stage.nodes[index])


async def _kill_another(play: Play) -> None:
    await asyncio.sleep(_KILLED_AFTER_S)
    victim = play.leaving[-1] + 1
    play.stage.nodes[victim].kill()
    play.killed_at = time.monotonic()
    await asyncio.sleep(BALANCER_LAG_S)
    play.crowd.choose(play.stage.ports[victim + 1 :])


async def _nothing(_: Play) -> None:
    return


async def _drain(  # noqa: PLR0913 - what differs between the scenarios
    lab: Lab,
    *,
    nodes: int,
    leaving: int,
    order: Order = _by_order,
    meanwhile: Meanwhile = _nothing,
    aof: bool = False,
) -> Drained:
    staying = nodes - leaving
    async with scene.set_up(lab, nodes, publishing=1, aof=aof, **SETTINGS) as stage:
        movers = Plan(
            lab.crowd_of(LEAVING_CLIENTS),
            stage.ports[:leaving],
            scene.CHANNEL_NAMES,
            CONNECTS_PER_S,
        )
        stayers = Plan(
            lab.crowd_of(LEAVING_CLIENTS) * STAYING_CLIENTS * staying // LEAVING_CLIENTS,
            stage.ports[leaving:],
            scene.CHANNEL_NAMES,
            CONNECTS_PER_S,
        )
        async with gathered(movers, stayers) as crowd:
            await crowd.all_here(within_s=movers.clients / CONNECTS_PER_S + BACK_WITHIN_S)
            crowd.mark(CALM)
            crowd.choose(stage.ports)
            await asyncio.sleep(lab.seconds(_CALM_S))
            play = Play(stage, crowd, range(leaving))
            play.ordered_at = crowd.mark(UNAFFECTED)
            statuses, ended_at = await _leave(play, order, meanwhile)
            await crowd.all_here(within_s=BACK_WITHIN_S)
            back_at = time.monotonic()
            verdict, stories = await stage.judged(crowd)
    common = fields_of(delivered(verdict, stories, crowd.timeline, stage.load))
    return Drained(
        **common,
        **_paced(play, staying * BUDGET_PER_S, ended_at),
        **_back(stories, crowd.timeline, play.ordered_at),
        exit_status=max(statuses),
        timeline=crowd.timeline.moments(play.ordered_at - _CALM_S, back_at + 1, stage.names),
    )


async def _leave(play: Play, order: Order, meanwhile: Meanwhile) -> tuple[list[int], float]:
    """Have the nodes drained; return how they exited, and when the last did."""
    stage = play.stage
    await order(stage, play.leaving)
    disturbing = asyncio.create_task(meanwhile(play))
    await asyncio.sleep(BALANCER_LAG_S)
    staying = [port for index, port in enumerate(stage.ports) if index not in play.leaving]
    play.crowd.choose(staying)
    statuses = [
        await scene.ended(stage.nodes[index], within_s=DEADLINE_S + 30) for index in play.leaving
    ]
    ended_at = time.monotonic()
    await disturbing
    return statuses, ended_at


def _paced(play: Play, budget_per_s: float, ended_at: float) -> dict[str, Any]:
    timeline = play.crowd.timeline
    ports = [play.stage.ports[index] for index in play.leaving]
    closes = sorted(at for port in ports for at in timeline.closed(port) if at >= play.ordered_at)
    drained_s = ended_at - play.ordered_at
    spread_s = closes[-1] - closes[0] if len(closes) > 1 else 0.0
    per_s = len(closes) / spread_s if spread_s else 0.0
    cordoned_at = play.ordered_at + _IN_FLIGHT_S
    return {
        "moved": len(closes),
        "budget_per_s": budget_per_s,
        "closes_per_s": per_s,
        "rate_ratio": per_s / budget_per_s,
        "peak_ratio": rates.peak_per_s(closes) / budget_per_s,
        "landed": sum(at > cordoned_at for port in ports for at in timeline.upgrades.get(port, [])),
        "drained_s": drained_s,
        "deadline_ratio": drained_s / DEADLINE_S,
        "after_kill_ratio": _after_kill(closes, play.killed_at),
    }


def _after_kill(closes: list[float], killed_at: float | None) -> float:
    """Return how the closes slowed down while the clients of a dead node arrived elsewhere."""
    if killed_at is None:
        return 1.0
    window_s = _KILLED_AFTER_S / 2
    before = rates.count_between(closes, killed_at - window_s, killed_at)
    since = killed_at + _LEASES_EXPIRE_S
    return rates.count_between(closes, since, since + window_s) / max(before, 1)


def _back(stories: list[Story], timeline: Timeline, since: float) -> dict[str, Any]:
    back_s = [seconds for story in stories for seconds in story.back_s]
    connects = [at for times in timeline.upgrades.values() for at in times if at >= since]
    return {
        "peak_connects_per_s": rates.peak_per_s(connects),
        "back_p50_s": statistics.median(back_s),
        "all_back_s": max(back_s),
    }
