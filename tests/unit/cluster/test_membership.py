"""What joining again leaves to be done when a bug interrupts it, without a store."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from realtime_node.cluster.on_redis import membership as membership_module
from realtime_node.cluster.on_redis.keys import Keys
from realtime_node.cluster.on_redis.membership import Membership
from realtime_node.cluster.on_redis.options import RedisOptions
from tests.support.conditions import NEVER_S
from tests.support.failure_counts import counted_failures


class Shard:
    """One that cannot be reached."""

    name = "Redis"
    partitions = (0,)
    writes = SimpleNamespace(is_connected=False, outage="away")

    def bar(self, why: str) -> None:
        """Take no commands."""

    def admit(self) -> None:
        """Take them again."""


class Registered:
    """Fails once, in the middle of joining."""

    def __init__(self) -> None:
        self.left = 0

    async def reestablish(self, partitions: object) -> None:
        """Register nothing."""

    async def enter(self, shard: object, *, lost: bool) -> None:
        """Read nothing."""

    async def leave(self, shard: object) -> None:
        """Fail the first time."""
        del shard
        self.left += 1
        if self.left == 1:
            raise ValueError("a bug")


async def test_who_waits_for_an_identity_is_released_although_a_bug_came_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The job goes on where it stopped: behind the registration, which is done."""
    shard, registered, nothing = Shard(), Registered(), cast("Any", None)
    membership = Membership(
        RedisOptions(address="redis://nowhere"),
        Keys("test", 1),
        [cast("Any", shard)],
        cast("Any", SimpleNamespace(fenced=lambda: None)),
        traces=cast("Any", SimpleNamespace(begin=lambda _: None)),
        continuity=nothing,
        registered=cast("Any", registered),
    )

    async def register(_node: str) -> list[Any]:
        return [shard]

    monkeypatch.setattr(membership, "_register", register)
    monkeypatch.setattr(membership_module, "_ENLIST_EVERY_S", NEVER_S)
    membership._joined = True
    fenced = membership.node_id
    with counted_failures() as counts:
        await asyncio.wait_for(membership.rejoin(fenced), NEVER_S)
    assert counts.restarts == {"redis-rejoin": 1}
    assert registered.left == 2
    assert membership.node_id != fenced
    await membership.close()
