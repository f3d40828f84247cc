"""A bug in any loop or job of the Redis backplane costs one turn of it, never the node.

One row for each of them: what a test makes raise, once, and what lets that be called. After it the
node still hears what others publish, and beats.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import pytest

import realtime_node.cluster
from realtime_node.cluster.backplane import WITHOUT_HISTORY
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.failures import Failures, recording
from tests.integration.backplane.helpers import client, fence, parts_of
from tests.support.backplanes import HISTORY, Node, RedisCluster
from tests.support.conditions import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from realtime_node.cluster.on_redis.parts import Parts
    from tests.support.stores import Stores


class _Counts:
    """Counts restarts, to be sure that the loop in question did raise."""

    def __init__(self) -> None:
        self.restarts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def restarted(self, loop: str) -> None:
        self.restarts[loop] += 1

    def callback_failed(self, where: str) -> None:
        self.errors[where] += 1


class _Pair(NamedTuple):
    cluster: RedisCluster
    a: Node
    b: Node
    counts: _Counts
    """Of b."""

    @property
    def parts(self) -> Parts:
        """What b is made of."""
        return parts_of(self.b)


class _Row(NamedTuple):
    target: Callable[[Parts], tuple[Any, str]]
    """The object and its method that raises."""
    trigger: Callable[[_Pair], Awaitable[object]]


async def _nothing(_pair: _Pair) -> None:
    """It is called by itself."""


async def _publish_from_b(pair: _Pair) -> None:
    await pair.b.publish("other", "from b")


async def _read(pair: _Pair) -> None:
    await pair.b.backplane.history("news", HISTORY, limit=1)


async def _publish(pair: _Pair) -> None:
    await pair.a.publish("news", "before")


async def _doubt(pair: _Pair) -> None:
    pair.parts.inboxes[0].doubt(0)


async def _fence(pair: _Pair) -> None:
    async with client(pair.cluster.options.address) as redis:
        await fence(pair.cluster, redis, pair.b.backplane.node_id)


async def _restore(pair: _Pair) -> None:
    pair.parts.membership.restore([0])


async def _enlist(pair: _Pair) -> None:
    membership = pair.parts.membership
    membership._absent = list(pair.parts.shards)
    await membership._bar_absent()
    await membership._enter_present(lost=False)
    await eventually(lambda: not membership.absent)


async def _subscribe(pair: _Pair) -> None:
    with contextlib.suppress(BackplaneUnavailableError):  # who asked is told of the bug so
        await pair.b.backplane.subscribe("other", HISTORY)
    await pair.b.backplane.subscribe("other", HISTORY)


async def _lease(pair: _Pair) -> None:
    await pair.b.reconnects.lease(1)


async def _notice(pair: _Pair) -> None:
    pair.parts.janitor.notice(0, ["nobody"])


async def _release(pair: _Pair) -> None:
    await pair.b.backplane.subscribe("other", WITHOUT_HISTORY)
    pair.b.backplane.release("other")


async def _depart(pair: _Pair) -> None:
    pair.parts.departed.notice(0)


ROWS: Final = {
    "redis-writes": _Row(lambda parts: (parts.shards[0].writes, "_send_next"), _publish_from_b),
    "redis-reads": _Row(lambda parts: (parts.shards[0].reads, "_send_next"), _read),
    "redis-inbox": _Row(lambda parts: (parts.inboxes[0], "_trims"), _publish),
    "redis-repair": _Row(lambda parts: (parts.inboxes[0], "compare"), _doubt),
    "redis-rejoin": _Row(lambda parts: (parts.membership, "_register"), _fence),
    "redis-restore": _Row(lambda parts: (parts, "reestablish"), _restore),
    "redis-enlist": _Row(lambda parts: (parts.membership, "_register_in"), _enlist),
    "redis-subscribe": _Row(lambda parts: (parts.joining, "_ask"), _subscribe),
    "redis-lease": _Row(lambda parts: (parts.reconnects._asking, "_lease"), _lease),
    "redis-heartbeat": _Row(lambda parts: (parts.heartbeats[0], "_beat"), _nothing),
    "redis-janitor": _Row(lambda parts: (parts.janitor, "_declare_dead"), _notice),
    "redis-interest": _Row(lambda parts: (parts.interest, "_take_due"), _release),
    "redis-sweep": _Row(lambda parts: (parts.sweep, "_next"), _nothing),
    "redis-departed": _Row(lambda parts: (parts.departed, "_let_go"), _depart),
}
ELSEWHERE: Final = {
    "redis-cluster": "a call that is shared gives what it raises to those who asked",
    "redis-presence": "likewise: tests/unit/cluster/test_shared_call.py",
    "in-memory-inbox": "tests/unit/cluster/test_in_memory.py",
}


@pytest.fixture
async def pair(stores: Stores) -> AsyncIterator[_Pair]:
    """Two nodes, of which b listens, and is to have a bug."""
    cluster = stores.get("redis").nodes()
    counts = _Counts()
    options = msgspec.structs.replace(cluster.options, sweep_interval_s=0.1)
    a = await cluster.node("a")
    with recording(Failures(counts)):
        b = await cluster.node("b", options=options)
        b.receiver.told["news"] = (await b.backplane.subscribe("news", HISTORY)).top
        yield _Pair(cluster, a, b, counts)
    await cluster.close()


def _raise_once(target: Any, name: str, error: BaseException) -> None:
    original = getattr(target, name)

    def call(*_args: Any) -> Any:
        setattr(target, name, original)
        raise error

    setattr(target, name, call)


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
@pytest.mark.parametrize("loop", ROWS)
async def test_a_loop_goes_on_after_a_bug(
    loop: str, error: type[BaseException], pair: _Pair
) -> None:
    """It raised once, was counted, and everything goes on."""
    row = ROWS[loop]
    _raise_once(*row.target(pair.parts), error("a bug"))
    with contextlib.suppress(BackplaneUnavailableError):  # it was out on a connection that ended
        await row.trigger(pair)
    await eventually(lambda: pair.counts.restarts[loop] == 1, what=f"{loop} has raised")
    await pair.a.publish("news", "after")
    await eventually(lambda: pair.b.receiver.texts("news")[-1:] == ["after"])
    leased_at = pair.parts.shards[0].liveness._leased_until
    await eventually(lambda: pair.parts.shards[0].liveness._leased_until > leased_at)
    await row.trigger(pair)
    assert pair.counts.restarts == {loop: 1}


def test_every_loop_has_a_row() -> None:
    """A new loop is put into this table, or says where it is tested."""
    directory = Path(realtime_node.cluster.__file__).parent
    names = {
        name
        for path in directory.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in {"supervise", "SharedCall"}
        for name in _names(call)
    }
    assert names == {*ROWS, *ELSEWHERE}


def _names(call: ast.Call) -> list[str]:
    (value,) = (each.value for each in call.keywords if each.arg == "name")
    if isinstance(value, ast.Constant):
        return [str(value.value)]
    if ast.unparse(value) == "self._name":
        return []  # handed on by `SharedCall`, whose makers name it
    assert ast.unparse(value) == "f'redis-{self._kind}'", "a name is a constant"
    return ["redis-writes", "redis-reads"]
