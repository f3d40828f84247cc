"""A node is gone at once: killed, or ended without a drain. Its clients come to the others.

all here ─▶ calm ─▶ mark ─▶ fault ─▶ the balancer learns ─▶ all back ─▶ afterwards ─▶ judged
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.load.storm import rates, scene
from tests.load.storm.backend import Backend, running
from tests.load.storm.crowd import Crowd, Plan, gathered
from tests.load.storm.messages import CALM, UNAFFECTED, Story
from tests.load.storm.observer import Observer, observing
from tests.load.storm.results import Admitted, Proxied, Resumed, Storm, delivered
from tests.load.storm.scene import Lab, Scene
from tests.load.storm.timeline import Timeline

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

AT_ONCE: Final[dict[str, Any]] = {"shutdown": {"timeout": "2s"}}
SESSIONS: Final[dict[str, Any]] = {
    "client": {"session": {"enabled": True, "resume_window": "2m"}},
    **scene.namespace_with(join_leave=True, presence_grace="90s"),
}

_CALM_S: Final = 6.0
_AFTERWARDS_S: Final = 4.0
_OUTAGE_S: Final = 5.0

Fault = Callable[[Scene], Coroutine[None, None, None]]


@dataclass(frozen=True)
class Play:
    """What is to happen, to whom."""

    fault: Fault
    admitted_per_s: int = 0
    """By each node; 0: arrivals are not metered."""
    proxied: bool = False
    """The team's backend is asked who a client is."""
    sessions: bool = False
    outage_s: float = 0.0
    """For so long Redis is away."""

    def settings(self, backend: Backend | None) -> dict[str, Any]:
        """Return what the nodes need for it."""
        rate = self.admitted_per_s
        admission = {"admission": {"connects_per_second": rate, "burst": math.ceil(rate / 10)}}
        return scene.merged(
            admission if rate else {},
            _asking(backend) if backend else {},
            SESSIONS if self.sessions else {},
        )


@dataclass(frozen=True)
class Outcome:
    """What happened, and when."""

    crowd: Crowd
    survivors: Sequence[int]
    marked_at: float
    back_at: float
    affected: int
    asked: int
    """Questions to the backend since the fault."""
    flaps: int
    resumed: int
    begun_anew: int
    renamed: int
    result: Storm


async def killed(lab: Lab) -> Storm:
    """SIGKILL one of three nodes."""
    return (await _suffer(lab, Play(_kill_first))).result


async def plain(lab: Lab) -> Storm:
    """End one of three nodes with SIGTERM, with no time for a drain."""
    return (await _suffer(lab, Play(_terminate_first), **AT_ONCE)).result


async def storm(lab: Lab) -> Proxied:
    """SIGKILL one of three nodes, each of which lets clients in at a rate and asks a backend."""
    return await _proxied(lab, Play(_kill_first, _rate(lab), proxied=True))


async def storm_of_sessions(lab: Lab) -> Resumed:
    """The same with clients that come back as who they were, before the eyes of somebody."""
    return await _resumed(lab, Play(_kill_first, _rate(lab), proxied=True, sessions=True))


async def storm_without_redis(lab: Lab) -> Admitted:
    """SIGKILL one of the nodes, and Redis is away for a while in the midst of it."""

    async def fault(stage: Scene) -> None:
        await _kill_first(stage)
        await asyncio.sleep(3)
        await restart_redis(stage, away_s=_OUTAGE_S)

    play = Play(fault, _rate(lab), outage_s=_OUTAGE_S)
    return Admitted(**_admitted(play, await _suffer(lab, play)))


async def resume_without_redis(lab: Lab) -> Resumed:
    """SIGKILL one of the nodes, and Redis is away just when sessions are to be resumed."""

    async def fault(stage: Scene) -> None:
        await _kill_first(stage)
        await restart_redis(stage, away_s=_OUTAGE_S)

    play = Play(fault, _rate(lab), proxied=True, sessions=True, outage_s=_OUTAGE_S)
    return await _resumed(lab, play)


async def restart_redis(stage: Scene, *, away_s: float) -> None:
    """SIGKILL the Redis and bring it back with what its file holds."""
    await asyncio.to_thread(stage.redis.kill)
    await asyncio.sleep(away_s)
    await asyncio.to_thread(stage.redis.start)


async def _kill_first(stage: Scene) -> None:
    stage.nodes[0].kill()


async def _terminate_first(stage: Scene) -> None:
    scene.terminate(stage.nodes[0])


def _rate(lab: Lab) -> int:
    return lab.rate_of(ADMITTED_PER_S, CLIENTS)


def _asking(backend: Backend) -> dict[str, Any]:
    connect = {
        "enabled": True,
        "endpoint": backend.endpoint,
        "http_headers": ["Cookie"],
        "cache_ttl": "60s",
    }
    return {"client": {"proxy": {"connect": connect}}}


async def _suffer(lab: Lab, play: Play, **settings: Any) -> Outcome:
    async with contextlib.AsyncExitStack() as stack:
        backend = await stack.enter_async_context(running()) if play.proxied else None
        every = scene.merged(play.settings(backend), settings)
        stage = await stack.enter_async_context(
            scene.set_up(lab, NODES, publishing=NODES - 1, aof=play.outage_s > 0, **every)
        )
        observer = None
        if play.sessions:
            watching = observing(stage.nodes[-1], scene.CHANNEL_NAMES)
            observer = await stack.enter_async_context(watching)
        return await _watched(lab, play, stage, backend, observer)


async def _watched(
    lab: Lab, play: Play, stage: Scene, backend: Backend | None, observer: Observer | None
) -> Outcome:
    clients = lab.crowd_of(CLIENTS)
    # Below what admission lets in, so that the crowd is not refused before anything has happened.
    per_s = 0.8 * NODES * play.admitted_per_s or CONNECTS_PER_S
    plan = Plan(
        clients,
        stage.ports,
        scene.CHANNEL_NAMES,
        per_s,
        brings_tokens=not play.proxied,
        sessions=play.sessions,
    )
    gone, *survivors = stage.ports
    async with gathered(plan) as crowd:
        await crowd.all_here(within_s=clients / per_s + BACK_WITHIN_S)
        crowd.mark(CALM)
        await asyncio.sleep(lab.seconds(_CALM_S))
        asked_before = await backend.asked() if backend else 0
        if observer:
            observer.forget()
        spent_before = crowd.cpu_s
        marked_at = crowd.mark(UNAFFECTED)
        before = crowd.here
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(play.fault(stage))
            await asyncio.sleep(BALANCER_LAG_S)
            crowd.choose(survivors)
        await crowd.all_here(within_s=BACK_WITHIN_S)
        back_at = time.monotonic()
        await asyncio.sleep(lab.seconds(_AFTERWARDS_S))
        asked = await backend.asked() - asked_before if backend else 0
        flaps = observer.flaps if observer else 0
        verdict, stories = await stage.judged(crowd)
        spent = (crowd.cpu_s - spent_before) / (time.monotonic() - marked_at)

    timeline = crowd.timeline
    affected = len([at for at in timeline.closed(gone) if at >= marked_at])
    assert affected > before / NODES / 2, f"{affected} of {before} clients lost their node"
    result = Storm(
        **fields_of(delivered(verdict, stories, timeline, stage.load)),
        **_return(timeline, stories, marked_at, affected),
        crowd_cpu_percent=100 * spent,
        timeline=timeline.moments(marked_at - _CALM_S, back_at + 1, stage.names),
    )
    return Outcome(
        crowd=crowd,
        survivors=survivors,
        marked_at=marked_at,
        back_at=back_at,
        affected=affected,
        asked=asked,
        flaps=flaps,
        resumed=sum(story.resumed for story in stories),
        begun_anew=sum(story.begun_anew for story in stories),
        renamed=sum(story.renamed for story in stories),
        result=result,
    )


def _return(
    timeline: Timeline, stories: list[Story], since: float, affected: int
) -> dict[str, Any]:
    back_s = [seconds for story in stories for seconds in story.back_s]
    attempts, connects = (
        [at for times in each.values() for at in times if at >= since]
        for each in (timeline.attempts, timeline.upgrades)
    )
    refused = [
        at for nodes in timeline.refusals.values() for times in nodes.values() for at in times
    ]
    return {
        "returned": affected,
        "peak_connects_per_s": rates.peak_per_s(connects),
        "back_p50_s": statistics.median(back_s),
        "all_back_s": max(back_s),
        "refused": sum(at >= since for at in refused),
        "attempts_per_return": len(attempts) / affected,
    }


def _admitted(play: Play, outcome: Outcome) -> dict[str, Any]:
    """Return the fields of an `Admitted`."""
    rate = play.admitted_per_s
    timeline, survivors = outcome.crowd.timeline, outcome.survivors
    judged = [
        rates.admission(timeline.demand(port), rate, outcome.marked_at, outcome.back_at)
        for port in survivors
    ]
    allowed_s = outcome.affected / (rate * len(survivors)) + GRACE_S + play.outage_s
    return {
        **fields_of(outcome.result),
        "rate_per_s": rate,
        "judged_s": min(each.judged_s for each in judged),
        "slowest_ratio": min(each.per_s for each in judged) / rate,
        "fastest_ratio": max(each.per_s for each in judged) / rate,
        "peak_ratio": max(each.peak_per_s for each in judged) / rate,
        "back_ratio": outcome.result.all_back_s / allowed_s,
        "survivors": [f"node-{number}" for number in range(1, NODES)],
    }


async def _proxied(lab: Lab, play: Play) -> Proxied:
    return Proxied(**_asked(play, await _suffer(lab, play)))


def _asked(play: Play, outcome: Outcome) -> dict[str, Any]:
    """Return the fields of a `Proxied`."""
    return {
        **_admitted(play, outcome),
        "asked": outcome.asked,
        "backend_ratio": outcome.asked / outcome.affected,
    }


async def _resumed(lab: Lab, play: Play) -> Resumed:
    outcome = await _suffer(lab, play)
    return Resumed(
        **_asked(play, outcome),
        resumed=outcome.resumed,
        resumed_ratio=outcome.resumed / outcome.affected,
        begun_anew=outcome.begun_anew,
        renamed=outcome.renamed,
        flaps=outcome.flaps,
    )


def fields_of(result: Any) -> dict[str, Any]:
    """Return the fields of a result, for one that has more."""
    return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}


def reconnects_of(stories: list[Story]) -> int:
    """Return how often clients came back, over all of them."""
    return sum(count for story in stories for count in story.reconnects)
