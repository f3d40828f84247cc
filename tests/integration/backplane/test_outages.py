"""What the backplane survives: restarts, cut connections, hanging and emptied Redis, lost ends."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from realtime_node.cluster.backplane import WITHOUT_HISTORY
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.protocol.messages import ClientInfo
from tests.integration.backplane.helpers import beside, client, cut_connections, keys_of, parts_of
from tests.support.backplanes import HISTORY, Node, RedisCluster
from tests.support.conditions import NEVER_S, eventually
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from realtime_node.cluster.on_redis.inbox import _Position


async def _publish_all(node: Node, channel: str, texts: list[str]) -> list[str]:
    """Publish one after the other; the texts that were acknowledged."""
    acknowledged = []
    for data in texts:
        try:
            await node.publish(channel, data)
        except BackplaneUnavailableError:
            continue
        acknowledged.append(data)
    return acknowledged


def _position(node: Node) -> _Position:
    """How far a node has read its only inbox."""
    reader = parts_of(node).inboxes[0]
    return next(iter(reader._positions.values()))


def _offsets(node: Node, channel: str) -> list[int]:
    """The offsets of what a node received of a channel."""
    return [
        entry.publication.offset
        for entry in node.receiver.of(channel)
        if entry.publication is not None
    ]


async def _write_anew(redis: Redis, inbox: bytes, kept: int, added: int) -> None:
    """Give an inbox another past: `kept` of its entries stay, then `added` others follow."""
    entries: list[tuple[bytes, dict[Any, Any]]] = await redis.xrange(inbox)  # type: ignore[assignment]
    async with redis.pipeline() as pipe:
        pipe.delete(inbox)
        for _, fields in entries[:kept]:
            pipe.xadd(inbox, fields, id="1-*")
        for _ in range(added):
            pipe.xadd(inbox, {b"p9 e x": b"\x01\x91\xc4\x01x"}, id="1-*")
        await pipe.execute()


async def test_a_restarted_redis_loses_nothing_and_disturbs_nobody(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """Publishes fail while it is away; what was acknowledged arrives once, in order, untold."""
    options = msgspec.structs.replace(own_cluster.options, command_timeout_s=1.0)
    a, b = [await own_cluster.node(name, options=options) for name in "ab"]
    position = (await b.backplane.subscribe("news", HISTORY)).top
    await b.presence.add("news", ClientInfo(user="u", client="c"))
    acknowledged = await _publish_all(a, "news", [f"before {n}" for n in range(50)])
    await asyncio.to_thread(own_server.kill)
    async with asyncio.timeout(NEVER_S):
        with pytest.raises(BackplaneUnavailableError):
            await a.publish("news", "while away")
    await eventually(lambda: not a.backplane.is_available())
    await asyncio.to_thread(own_server.start)
    await eventually(lambda: a.backplane.is_available() and b.backplane.is_available())
    acknowledged += await _publish_all(a, "news", [f"after {n}" for n in range(50)])
    assert acknowledged[-1] == "after 49"
    assert await b.receiver.has("news", len(acknowledged)) == acknowledged
    assert b.receiver.losses == []
    after = await b.backplane.subscribe("news", HISTORY)
    assert after.top.epoch == position.epoch
    assert list(await a.presence.get("news")) == ["c"]


async def test_cut_connections_lose_nothing(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """However often all connections are cut, acknowledged publications arrive once, in order."""
    a, b = await own_cluster.node("a"), await own_cluster.node("b")
    await b.backplane.subscribe("news", HISTORY)
    publishing = asyncio.create_task(
        _publish_all(a, "news", [str(number) for number in range(3000)])
    )
    async with client(own_server.url) as redis:
        for seen in range(100, 1100, 100):
            await b.receiver.has("news", seen)
            await cut_connections(redis)
    acknowledged = await publishing
    assert len(acknowledged) > 2000
    last = await a.publish("news", "last")
    await eventually(lambda: b.receiver.texts("news")[-1] == "last")
    received = b.receiver.texts("news")
    offsets = [entry.publication and entry.publication.offset for entry in b.receiver.of("news")]
    assert offsets == list(range(1, last.offset + 1))
    # What was not acknowledged may have been done, once.
    assert len(set(received)) == len(received)
    assert set(acknowledged) <= set(received)
    assert b.receiver.losses == []


async def test_a_stopped_redis_is_answered_within_the_deadline(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """A Redis that hangs makes every waiting publish fail in time, and none afterwards."""
    options = msgspec.structs.replace(own_cluster.options, command_timeout_s=0.5)
    a = await own_cluster.node("a", options=options)
    await a.backplane.subscribe("news", HISTORY)
    os.kill(own_server.pid, signal.SIGSTOP)
    loop = asyncio.get_running_loop()
    try:
        for _ in range(2):
            began = loop.time()
            results = await asyncio.gather(
                *(a.publish("news", str(number)) for number in range(600)), return_exceptions=True
            )
            assert all(isinstance(result, BackplaneUnavailableError) for result in results)
            assert loop.time() - began < NEVER_S  # one deadline for all, not one after the other
        assert not a.backplane.is_available()
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    await eventually(a.backplane.is_available)
    assert (await a.publish("news", "after")).offset >= 1


async def test_an_emptied_redis_is_told_and_used_again(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """After FLUSHALL nodes join anew, tell their receivers, and epochs are others."""
    a, b = await own_cluster.node("a"), await own_cluster.node("b")
    before = await b.backplane.subscribe("news", HISTORY)
    await b.presence.add("news", ClientInfo(user="u", client="c"))
    identity = b.backplane.node_id
    async with client(own_server.url) as redis:
        await redis.flushall()
    await eventually(lambda: b.receiver.losses)
    assert b.backplane.node_id != identity
    assert b.receiver.lost_channels == {"news"}
    published = await a.publish("news", "flows again")
    assert published.epoch != before.top.epoch
    assert await b.receiver.has("news", 1) == ["flows again"]
    assert list(await a.presence.get("news")) == ["c"]
    assert {info.uid for info in await a.backplane.nodes()} == {"a", "b"}


async def test_an_inbox_that_lost_its_end_is_told(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """A Redis whose inbox ends before what was read has lost acknowledged writes."""
    a, b = await own_cluster.node("a"), await own_cluster.node("b")
    await b.backplane.subscribe("news", HISTORY)
    for number in range(5):
        await a.publish("news", str(number))
    await b.receiver.has("news", 5)
    inbox = keys_of(own_cluster).node(0, b.backplane.node_id).inbox
    async with client(own_server.url) as redis:
        await _write_anew(redis, inbox, kept=4, added=0)
        await cut_connections(redis)
        await eventually(lambda: b.receiver.losses)
    await eventually(b.backplane.is_available)
    await a.publish("news", "after")
    assert await b.receiver.has("news", 6) == [*"01234", "after"]
    assert b.receiver.lost_channels == {"news"}


async def test_an_inbox_that_was_written_anew_is_told(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """Other entries under the numbers that were read are another past, however many they are."""
    a, b = await own_cluster.node("a"), await own_cluster.node("b")
    await b.backplane.subscribe("news", HISTORY)
    for number in range(3):
        await a.publish("news", str(number))
    await b.receiver.has("news", 3)
    # The reader holds this one and asks for no more while the past is changed behind it.
    b.receiver.room.clear()
    await a.publish("news", "3")
    position = _position(b)
    await eventually(lambda: position.sequence == 4)
    inbox = keys_of(own_cluster).node(0, b.backplane.node_id).inbox
    async with client(own_server.url) as redis:
        await _write_anew(redis, inbox, kept=4, added=3)
        await cut_connections(redis)
        b.receiver.room.set()
        await eventually(lambda: b.receiver.losses)
    assert b.receiver.lost_channels == {"news"}
    assert b.receiver.texts("news") == list("0123")


async def test_a_hole_in_the_inbox_is_filled_from_history(cluster: RedisCluster) -> None:
    """A reader that lags past the inbox's bound gets from the history what was trimmed."""
    options = msgspec.structs.replace(cluster.options, inbox_limit=200, inbox_read_count=10)
    a = await cluster.node("a", options=options)
    b = await cluster.node("b", options=options)
    quiet, talk = (beside(cluster, "news", name) for name in ("quiet", "talk"))
    for channel in ("news", quiet):
        b.receiver.told[channel] = (await b.backplane.subscribe(channel, HISTORY)).top
    await b.backplane.subscribe(talk, WITHOUT_HISTORY)
    await a.publish("news", "first")
    await b.receiver.has("news", 1)
    b.receiver.room.clear()
    await asyncio.gather(*(a.publish("news", str(number)) for number in range(900)))
    b.receiver.room.set()
    await b.receiver.has("news", 901)
    await a.publish("news", "last")
    await b.receiver.has("news", 902)
    assert _offsets(b, "news") == list(range(1, 903))
    assert b.receiver.losses == [(keys_of(cluster).partition_of("news"), [talk])]


async def test_a_hole_beyond_history_is_told(cluster: RedisCluster) -> None:
    """Where the history was trimmed as well, the channel's subscribers have to know."""
    options = msgspec.structs.replace(cluster.options, inbox_limit=200, inbox_read_count=10)
    short = msgspec.structs.replace(HISTORY, history_size=50)
    a = await cluster.node("a", options=options)
    b = await cluster.node("b", options=options)
    await b.backplane.subscribe("news", short)
    await a.publish("news", "first", short)
    await b.receiver.has("news", 1)
    b.receiver.room.clear()
    await asyncio.gather(*(a.publish("news", str(number), short) for number in range(1000)))
    b.receiver.room.set()
    await eventually(lambda: "999" in b.receiver.texts("news"))
    assert b.receiver.losses == [(keys_of(cluster).partition_of("news"), ["news"])]
    offsets = _offsets(b, "news")
    assert offsets == sorted(set(offsets))
    assert len(offsets) < 1000


async def test_a_redis_that_comes_back_empty_is_told_and_used_again() -> None:
    """Without a file a restart is a loss: nodes join anew, tell, and publications flow."""
    with RedisServer() as server:
        cluster = RedisCluster(server.url)
        a, b = await cluster.node("a"), await cluster.node("b")
        before = await b.backplane.subscribe("news", HISTORY)
        await asyncio.to_thread(server.restart)
        await eventually(lambda: b.receiver.losses)
        await eventually(a.backplane.is_available)
        published = await a.publish("news", "flows again")
        assert published.epoch != before.top.epoch
        assert await b.receiver.has("news", 1) == ["flows again"]
        await cluster.close()


async def test_a_vanished_inbox_makes_its_node_join_anew(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """A reader that finds no inbox after a reconnect gets a new one, and its receiver is told."""
    a, b = await own_cluster.node("a"), await own_cluster.node("b")
    await b.backplane.subscribe("news", HISTORY)
    identity = b.backplane.node_id
    async with client(own_server.url) as redis:
        await redis.delete(keys_of(own_cluster).node(0, identity).inbox)
        await cut_connections(redis)
    await eventually(lambda: b.receiver.losses == [(0, ["news"])])
    assert b.backplane.node_id != identity
    await eventually(a.backplane.is_available)
    await a.publish("news", "flows again")
    assert await b.receiver.has("news", 1) == ["flows again"]


async def test_a_release_during_an_outage_is_made_good(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """An interest that could not be ended is ended when Redis is back."""
    options = msgspec.structs.replace(own_cluster.options, command_timeout_s=0.3)
    a = await own_cluster.node("a", options=options)
    await a.backplane.subscribe("news", HISTORY)
    interest = keys_of(own_cluster).channel("news").interest
    async with client(own_server.url) as redis:
        assert await redis.exists(interest)
    await asyncio.to_thread(own_server.kill)
    a.backplane.release("news")
    # Meanwhile its removal has failed at least once.
    with pytest.raises(BackplaneUnavailableError):
        await a.publish("news", "x")
    await asyncio.to_thread(own_server.start)
    async with client(own_server.url) as redis, asyncio.timeout(NEVER_S):
        while await redis.exists(interest):
            await asyncio.sleep(0.01)


async def test_a_subscribe_whose_answer_was_lost_leaves_no_interest(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """A subscribe that failed for its caller and was done all the same is taken back."""
    options = msgspec.structs.replace(own_cluster.options, command_timeout_s=0.3)
    a = await own_cluster.node("a", options=options)
    interest = keys_of(own_cluster).channel("news").interest
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(BackplaneUnavailableError, match="may have been done"):
            await a.backplane.subscribe("news", HISTORY)
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    await eventually(a.backplane.is_available)
    async with client(own_server.url) as redis, asyncio.timeout(NEVER_S):
        while await redis.exists(interest):
            await asyncio.sleep(0.01)
    # Nothing keeps a later subscribe from being right.
    await a.backplane.subscribe("news", HISTORY)
    await a.publish("news", "heard")
    assert await a.receiver.has("news", 1) == ["heard"]
