"""Publishes whose answer was lost: not doubled, not lost, an error only when nobody can know."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import msgspec
import pytest

from realtime_node.cluster.backplane import WITHOUT_HISTORY, EntryKind, StreamOptions
from realtime_node.cluster.on_redis.replies import as_is
from realtime_node.cluster.on_redis.script import ANNOUNCE, PUBLISH
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.protocol.messages import ClientInfo
from tests.integration.backplane.helpers import Counting, client, cut_connections, keys_of, parts_of
from tests.support.backplanes import HISTORY, Node, RedisCluster
from tests.support.conditions import NEVER_S, eventually
from tests.support.reply_cutter import ReplyCutter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.redis_server import RedisServer


@pytest.fixture
async def cutter(own_server: RedisServer) -> AsyncIterator[ReplyCutter]:
    """What stands between node `a` and its Redis."""
    async with ReplyCutter(own_server.socket) as cutter:
        yield cutter


async def _pair(
    own_cluster: RedisCluster, cutter: ReplyCutter, counting: Counting
) -> tuple[Node, Node]:
    """Node `a` behind the cutter, and `b`, which is interested in all that is published."""
    behind = msgspec.structs.replace(own_cluster.options, address=cutter.url)
    a = await own_cluster.node("a", options=behind, instruments=counting)
    b = await own_cluster.node("b")
    await b.backplane.subscribe("news", HISTORY)
    return a, b


@pytest.mark.parametrize("options", [HISTORY, WITHOUT_HISTORY], ids=["history", "no history"])
async def test_a_reply_cut_after_execution_is_found_in_the_mark(
    own_cluster: RedisCluster, cutter: ReplyCutter, options: StreamOptions
) -> None:
    """The publish succeeds with the result of its only execution, within its deadline."""
    counting = Counting()
    a, b = await _pair(own_cluster, cutter, counting)
    await a.backplane.subscribe("news", options)
    first = await a.publish("news", "first", options)
    for number in range(5):
        cutter.arm(PUBLISH.sha)
        published = await a.publish("news", str(number), options)
        assert published.offset == (first.offset + number + 1 if options.has_history else 0)
        assert published.epoch == first.epoch
        assert first.sequence is not None
        assert published.sequence == (0, first.sequence[1] + number + 1)
    assert cutter.cuts == 5
    assert counting.outcomes == {"done": 5}
    assert await b.receiver.has("news", 6) == ["first", *"01234"]
    assert b.receiver.losses == a.receiver.losses == []


@pytest.mark.parametrize(("forward", "joins"), [(True, 1), (False, 0)], ids=["done", "not done"])
async def test_a_join_whose_answer_was_lost_is_not_sent_again(
    own_cluster: RedisCluster, cutter: ReplyCutter, forward: bool, joins: int
) -> None:
    """Joins and leaves are at most once: nobody looks them up, and nobody repeats them."""
    a, b = await _pair(own_cluster, cutter, Counting())
    info = ClientInfo(user="u", client="c")
    await a.backplane.announce("news", EntryKind.LEAVE, info)
    cutter.arm(ANNOUNCE.sha, forward=forward)
    with pytest.raises(BackplaneUnavailableError):
        await a.backplane.announce("news", EntryKind.JOIN, info)
    await a.publish("news", "after")
    await b.receiver.has("news", 1)
    kinds = [entry.kind for entry in b.receiver.of("news")]
    assert kinds == [EntryKind.LEAVE, *([EntryKind.JOIN] * joins), EntryKind.PUBLICATION]


async def test_a_request_that_never_arrived_is_sent_once_more(
    own_cluster: RedisCluster, cutter: ReplyCutter
) -> None:
    """A publish that is known not to have been executed still succeeds."""
    counting = Counting()
    a, b = await _pair(own_cluster, cutter, counting)
    await a.publish("news", "first")
    cutter.arm(PUBLISH.sha, forward=False)
    published = await a.publish("news", "second")
    assert published.offset == 2
    assert counting.outcomes == {"not_done": 1}
    assert await b.receiver.has("news", 2) == ["first", "second"]


@pytest.mark.parametrize("forward", [True, False], ids=["done", "not done"])
async def test_a_whole_pipeline_is_resolved(
    own_cluster: RedisCluster, cutter: ReplyCutter, forward: bool
) -> None:
    """However many publishes were out, and wait behind them, each is there once, in its order."""
    counting = Counting()
    a, b = await _pair(own_cluster, cutter, counting)
    await a.publish("news", "first")
    cutter.arm(PUBLISH.sha, times=3, forward=forward)
    results = await asyncio.gather(*(a.publish("news", str(number)) for number in range(900)))
    assert cutter.cuts == 3
    assert [result.offset for result in results] == list(range(2, 902))
    received = await b.receiver.has("news", 901)
    assert received == ["first", *map(str, range(900))]
    assert counting.outcomes.get("unknown", 0) == 0


async def test_an_idempotent_publish_is_resolved_like_any_other(
    own_cluster: RedisCluster, cutter: ReplyCutter
) -> None:
    """With a key the first result is returned too, whichever answer was lost."""
    a, b = await _pair(own_cluster, cutter, Counting())
    cutter.arm(PUBLISH.sha)
    first = await a.publish("news", "x", key="k")
    cutter.arm(PUBLISH.sha)
    assert await a.publish("news", "x", key="k") == msgspec.structs.replace(first, sequence=None)
    assert await b.receiver.has("news", 1) == ["x"]


async def test_a_late_publish_is_refused(
    own_cluster: RedisCluster, own_server: RedisServer
) -> None:
    """A command that arrives after it was given up changes nothing: its sequence is over."""
    a = await own_cluster.node("a")
    await a.publish("news", "first")
    keys = keys_of(own_cluster)
    own, names = keys.node(0, a.backplane.node_id), keys.channel("news")
    late = PUBLISH.pack(
        (*(names.generation, own.node, own.mark, names.interest), names.meta, names.history, b"d"),
        (1, 0, "news", b"\x01", 100, 60_000, 60_000, 0, 1000, 10**6, 0),
    )
    assert await parts_of(a).writes[0].execute(late, read=as_is) == [b"LATE"]
    async with client(own_server.url) as redis:
        assert await redis.xlen(names.history) == 1


async def test_a_redis_that_hangs_past_the_deadline_leaves_it_unknown(
    own_cluster: RedisCluster, own_server: RedisServer
) -> None:
    """With no time left to ask, the caller is told that it may have been done; nothing hangs."""
    counting = Counting()
    options = msgspec.structs.replace(own_cluster.options, command_timeout_s=0.4)
    a = await own_cluster.node("a", options=options, instruments=counting)
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(NEVER_S):
            with pytest.raises(BackplaneUnavailableError, match="may have been done"):
                await a.publish("news", "x")
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    assert counting.outcomes == {"unknown": 1}


async def test_another_process_cannot_say_that_nothing_was_done(
    own_cluster: RedisCluster, own_server: RedisServer, cutter: ReplyCutter
) -> None:
    """A result that a restarted Redis does not know may be one that it lost."""
    counting = Counting()
    a, _ = await _pair(own_cluster, cutter, counting)
    await a.publish("news", "first")
    cutter.arm(PUBLISH.sha, forward=False)
    cutter.is_open = False
    publishing = asyncio.create_task(a.publish("news", "second"))
    await eventually(lambda: cutter.cuts)
    await asyncio.to_thread(own_server.restart)
    cutter.is_open = True
    with pytest.raises(BackplaneUnavailableError, match="may have been done"):
        await publishing
    assert counting.outcomes == {"unknown": 1}
    assert (await a.publish("news", "third")).offset == 2


async def test_a_full_redis_refuses_and_writes_nothing(
    own_cluster: RedisCluster, own_server: RedisServer
) -> None:
    """At maxmemory publishes fail as temporary, with nothing done; then all goes on."""
    a, b = await own_cluster.node("a"), await own_cluster.node("b")
    await b.backplane.subscribe("news", HISTORY)
    await a.publish("news", "before")
    async with client(own_server.url) as redis:
        await redis.config_set("maxmemory", "1mb")
        try:
            with pytest.raises(BackplaneUnavailableError, match="maxmemory"):
                await a.publish("news", "refused")
        finally:
            await redis.config_set("maxmemory", "0")
    await a.publish("news", "after")
    assert await b.receiver.has("news", 2) == ["before", "after"]
    assert b.receiver.losses == []


async def test_a_full_redis_lets_clients_and_nodes_come_and_go(
    own_cluster: RedisCluster, own_server: RedisServer
) -> None:
    """Only what fills it is refused: subscribers, presence and nodes are bounded by the clients."""
    a = await own_cluster.node("a")
    await a.publish("news", "before")
    async with client(own_server.url) as redis:
        await redis.config_set("maxmemory", "1mb")
        try:
            await cut_connections(redis)
            await eventually(a.backplane.is_available, what="a is connected again")
            b = await own_cluster.node("b")
            subscribed = await b.backplane.subscribe("news", HISTORY)
            assert subscribed.top.offset == 1
            await b.presence.add("news", ClientInfo(user="u", client="c"))
            assert list(await a.presence.get("news")) == ["c"]
            await b.presence.remove("news", "c")
            with pytest.raises(BackplaneUnavailableError, match="maxmemory"):
                await a.publish("news", "refused")
        finally:
            await redis.config_set("maxmemory", "0")
    await a.publish("news", "after")
    assert await b.receiver.has("news", 1) == ["after"]


async def test_a_busy_redis_is_asked_again(
    own_cluster: RedisCluster, own_server: RedisServer
) -> None:
    """While a replica's role refuses writes, a publish waits within its deadline and succeeds."""
    a = await own_cluster.node("a")
    async with client(own_server.url) as redis:
        await redis.replicaof("127.0.0.1", "1")
        publishing = asyncio.create_task(a.publish("news", "x"))
        await asyncio.sleep(0.2)
        assert not publishing.done()
        await redis.replicaof("NO", "ONE")
    assert (await publishing).offset == 1
