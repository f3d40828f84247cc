"""A small crowd churns for a long time, and nothing may grow or be left behind.

All the while clients drop out and come back. Every so often some of them read nothing for a while,
and, in turn, a node is killed and started anew; the first node is never killed, and its memory and
open files are what is judged. At the end the counts of nodes and of Redis have to agree, first with
everybody there, then with nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from tests.load.storm import scene
from tests.load.storm.crowd import Crowd, Plan, gathered
from tests.load.storm.messages import CALM, UNAFFECTED
from tests.load.storm.results import Soaked, delivered
from tests.load.storm.scenarios import BACK_WITHIN_S, CONNECTS_PER_S, fields_of, reconnects_of
from tests.load.storm.scene import Lab, Scene
from tests.support.conditions import eventually
from tests.support.node_process import NodeProcess

CLIENTS: Final = 3_000
NODES: Final = 3
MINUTES: Final = 15.0
CHURN_PER_S: Final = 50
STALLED: Final = 60
STALL_S: Final = 5.0
STALL_EVERY_S: Final = 60.0
KILL_EVERY_S: Final = 150.0
DOWN_S: Final = 5.0

_CALM_S: Final = 5.0
_SAMPLE_EVERY_S: Final = 2.0
_WARM_SHARE: Final = 0.2
"""Of the time, until memory is taken to have settled."""
_WINDOW_SHARE: Final = 0.1
"""Of the time, over which memory is taken at either end."""
_AGREED_WITHIN_S: Final = 60.0
"""The presence and interest of a killed node are swept up within its lease."""
_INTEREST: Final = "*:interest:load:*"
_PRESENCE: Final = "*:presence:load:*"


@dataclass(frozen=True)
class SoakLab(Lab):
    """A lab that says how long."""

    minutes: float = MINUTES


@dataclass
class _Watch:
    """Looks at the node that is never killed."""

    samples: list[tuple[float, float, int]] = field(default_factory=list)
    """Seconds, resident MiB, open files beside those of clients."""

    async def run(self, stage: Scene) -> None:
        node, begun = stage.nodes[0], time.monotonic()
        while True:
            clients = (await stage.status(node))["num_clients"]
            spare = _open_files(node) - clients
            resident_mib = node.resident_bytes() / (1 << 20)
            self.samples.append((time.monotonic() - begun, resident_mib, spare))
            await asyncio.sleep(_SAMPLE_EVERY_S)

    def between(self, first: float, last: float) -> list[tuple[float, float, int]]:
        """Return the samples of a part of the time; each bound is a share of it."""
        whole = self.samples[-1][0]
        return [sample for sample in self.samples if first * whole <= sample[0] <= last * whole]


async def soak(lab: SoakLab) -> Soaked:
    """Let a crowd churn for so many minutes."""
    seconds = 60.0 * lab.minutes
    clients = lab.crowd_of(CLIENTS)
    watch = _Watch()
    async with scene.set_up(lab, NODES, publishing=1) as stage:
        plan = Plan(clients, stage.ports, scene.CHANNEL_NAMES, CONNECTS_PER_S)
        async with gathered(plan) as crowd:
            await crowd.all_here(within_s=clients / CONNECTS_PER_S + BACK_WITHIN_S)
            crowd.mark(CALM)
            await asyncio.sleep(_CALM_S)
            crowd.mark(UNAFFECTED)
            await _disturbed(stage, crowd, watch, seconds)
            await crowd.all_here(within_s=BACK_WITHIN_S)
            missing = await _presence_missing(stage, clients)
            verdict, stories = await stage.judged(crowd)
        left = await _left(stage)

    warm = watch.between(_WARM_SHARE, _WARM_SHARE + _WINDOW_SHARE)
    end = watch.between(1 - _WINDOW_SHARE, 1)
    warm_mib, end_mib = (statistics.median(mib for _, mib, _ in part) for part in (warm, end))
    spare_warm, spare_end = (statistics.median(n for _, _, n in part) for part in (warm, end))
    return Soaked(
        **fields_of(delivered(verdict, stories, crowd.timeline, stage.load)),
        minutes=lab.minutes,
        reconnects=reconnects_of(stories),
        rss_warm_mib=warm_mib,
        rss_end_mib=end_mib,
        rss_ratio=end_mib / warm_mib,
        spare_files=round(spare_end - spare_warm),
        presence_missing=missing,
        **left,
        resident_mib=[(at_s, mib) for at_s, mib, _ in watch.samples],
    )


async def _disturbed(stage: Scene, crowd: Crowd, watch: _Watch, seconds: float) -> None:
    """Churn, stall and kill for so long, with everything watched."""
    crowd.churn(CHURN_PER_S)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            tasks.create_task(watch.run(stage))
            tasks.create_task(_stall(crowd))
            tasks.create_task(_kill_in_turn(stage, min(KILL_EVERY_S, seconds / 5)))
    crowd.churn(0)
    for node in stage.nodes:
        if not node.is_running:
            await node.start()


async def _stall(crowd: Crowd) -> None:
    while True:
        await asyncio.sleep(STALL_EVERY_S)
        crowd.stall(STALLED, STALL_S)


async def _kill_in_turn(stage: Scene, every_s: float) -> None:
    """Kill every node but the first, which is watched, and the last, which publishes."""
    while True:
        for node in stage.nodes[1:-1]:
            await asyncio.sleep(every_s)
            node.kill()
            await asyncio.sleep(DOWN_S)
            await node.start()


async def _presence_missing(stage: Scene, clients: int) -> int:
    """Return how far presence is from the clients that are here, once it has settled."""
    deadline = time.monotonic() + _AGREED_WITHIN_S
    while True:
        missing = clients - await stage.presence(stage.nodes[-1])
        if not missing or time.monotonic() > deadline:
            return abs(missing)
        await asyncio.sleep(1)


async def _left(stage: Scene) -> dict[str, int]:
    """Return what nodes and Redis still count when nobody is there, once they have settled."""
    left: dict[str, int] = {}

    async def look() -> None:
        while True:
            statuses = [await stage.status(node) for node in stage.nodes]
            async with Redis.from_url(stage.redis.url) as redis:
                left.update(
                    left_clients=sum(s["num_clients"] + s["num_subs"] for s in statuses),
                    left_departures=sum(s["pending_departures"] for s in statuses),
                    left_interest=await _members(redis, _INTEREST),
                    left_presence=await _members(redis, _PRESENCE),
                )
            await asyncio.sleep(1)

    looking = asyncio.create_task(look())
    try:
        with contextlib.suppress(AssertionError):  # what is left is told
            await eventually(
                lambda: looking.done() or (left and not any(left.values())),
                within_s=_AGREED_WITHIN_S,
            )
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
    return left


async def _members(redis: Redis, pattern: str) -> int:
    """Return how many members the sets, hashes and sorted sets of these names have."""
    total = 0
    async for key in redis.scan_iter(match=pattern, count=1000):
        sizes: dict[Any, Any] = {
            b"set": redis.scard,
            b"hash": redis.hlen,
            b"zset": redis.zcard,
        }
        total += await sizes[await redis.type(key)](key)
    return total


def _open_files(node: NodeProcess) -> int:
    return len(list(Path(f"/proc/{node.pid}/fd").iterdir()))
