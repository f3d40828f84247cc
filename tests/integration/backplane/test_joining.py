"""Reconnect storms: thousands recover one channel, Redis is asked a few times."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from realtime_node.cluster.backplane import Subscribed
from realtime_node.cluster.on_redis.script import SUBSCRIBE
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.protocol.messages import StreamPosition
from tests.integration.backplane.helpers import client, keys_of, parts_of
from tests.support.backplanes import HISTORY, Node, RedisCluster, text
from tests.support.conditions import NEVER_S, eventually
from tests.support.reply_cutter import ReplyCutter

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer

_CLIENTS = 5000


async def _history_reads(server: RedisServer) -> int:
    async with client(server.url) as redis:
        stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_xrange", {}).get("calls", 0))


async def _recover(node: Node, offset: int, epoch: str, limit: int = 1000) -> Subscribed:
    since = StreamPosition(offset=offset, epoch=epoch)
    return await node.backplane.subscribe("news", HISTORY, since=since, limit=limit)


def _continues(found: Subscribed, offset: int) -> bool:
    offsets = [publication.offset for publication in found.publications]
    return offsets == list(range(offset + 1, found.top.offset + 1))


async def _recover_at_once(
    cluster: RedisCluster, server: RedisServer, *, limit: int
) -> tuple[str, list[Subscribed]]:
    """Let 5,000 clients recover a channel of 500; its epoch, and what the n-th got from n % 500."""
    a, b = await cluster.node("a"), await cluster.node("b")
    await asyncio.gather(*(a.publish("news", str(number)) for number in range(500)))
    epoch = (await a.backplane.history("news", HISTORY, limit=0)).top.epoch
    before = await _history_reads(server)
    found = await asyncio.gather(
        *(_recover(b, number % 500, epoch, limit=limit) for number in range(_CLIENTS))
    )
    assert await _history_reads(server) - before <= 10
    return epoch, found


async def test_thousands_that_recover_at_once_are_read_for_a_few_times(
    own_cluster: RedisCluster, own_server: RedisServer
) -> None:
    """5,000 clients that recover one channel at once cause at most ten history reads."""
    epoch, found = await _recover_at_once(own_cluster, own_server, limit=1000)
    for number, subscribed in enumerate(found):
        assert subscribed.top == StreamPosition(offset=500, epoch=epoch)
        assert _continues(subscribed, number % 500)


async def test_thousands_that_missed_too_much_are_read_for_a_few_times_as_well(
    own_cluster: RedisCluster, own_server: RedisServer
) -> None:
    """Whoever cannot be given all goes with the others; whoever can is given all."""
    _, found = await _recover_at_once(own_cluster, own_server, limit=100)
    for number, subscribed in enumerate(found):
        assert _continues(subscribed, number % 500) == (number % 500 >= 400)


async def test_a_storm_that_lasts_is_answered_from_the_tail(
    own_cluster: RedisCluster, own_server: RedisServer
) -> None:
    """Clients that come one after the other while others publish are each answered right."""
    a, b = await own_cluster.node("a"), await own_cluster.node("b")
    epoch = (await a.publish("news", "first")).epoch
    await b.backplane.subscribe("news", HISTORY)
    # The tail is answered from under a lease only.
    await eventually(parts_of(b).shards[0].liveness.is_leased)
    before = await _history_reads(own_server)
    positions: list[int] = []
    for number in range(400):
        if number % 4 == 0:
            positions.append((await a.publish("news", str(number))).offset)
        offset = positions[-1] - number % 3 if positions[-1] > 3 else 1
        found = await _recover(b, min(offset, len(b.receiver.of("news")) or 1), epoch)
        assert _continues(found, min(offset, found.top.offset - len(found.publications)))
    assert await _history_reads(own_server) - before <= 10


async def test_a_position_ahead_of_the_tail_is_redis_to_answer(
    own_cluster: RedisCluster,
) -> None:
    """A client that another node served further is not taken for one from another stream."""
    a, b = await own_cluster.node("a"), await own_cluster.node("b")
    epoch = (await a.publish("news", "1")).epoch
    await b.backplane.subscribe("news", HISTORY)
    await eventually(parts_of(b).shards[0].liveness.is_leased)
    await _recover(b, 0, epoch)
    b.receiver.room.clear()
    inbox = parts_of(b).inboxes[0]
    await inbox.close()
    await a.publish("news", "2")
    found = await _recover(b, 2, epoch)
    assert found.top.offset == 2


async def test_without_a_lease_nothing_is_answered_from_the_tail(
    own_cluster: RedisCluster, own_server: RedisServer
) -> None:
    """A node that may have been declared dead asks Redis, and so learns of it."""
    a, b = await own_cluster.node("a"), await own_cluster.node("b")
    epoch = (await a.publish("news", "1")).epoch
    await b.backplane.subscribe("news", HISTORY)
    await eventually(parts_of(b).shards[0].liveness.is_leased)
    await _recover(b, 0, epoch)
    await parts_of(b).heartbeats[0].close()
    await eventually(lambda: not parts_of(b).shards[0].liveness.is_leased())
    before = await _history_reads(own_server)
    await _recover(b, 0, epoch)
    assert await _history_reads(own_server) > before


async def test_a_subscribe_whose_answer_was_cut_is_asked_for_again(
    own_cluster: RedisCluster, own_server: RedisServer
) -> None:
    """Subscribing twice is subscribing once: a client that recovers meanwhile is not refused."""
    async with ReplyCutter(own_server.socket) as cutter:
        behind = msgspec.structs.replace(own_cluster.options, address=cutter.url)
        a, b = await own_cluster.node("a"), await own_cluster.node("b", options=behind)
        epoch = (await a.publish("news", "1")).epoch
        cutter.arm(SUBSCRIBE.sha, times=2)
        found = await _recover(b, 0, epoch)
        assert cutter.cuts == 2
        assert [text(publication) for publication in found.publications] == ["1"]
        await a.publish("news", "2")
        assert await b.receiver.has("news", 1) == ["2"]
        await b.backplane.close()


async def test_removed_history_is_not_answered_from_the_tail(own_cluster: RedisCluster) -> None:
    """What this node's API removed is gone at once."""
    a = await own_cluster.node("a")
    epoch = (await a.publish("news", "1")).epoch
    await _recover(a, 0, epoch)
    await a.backplane.remove_history("news")
    assert (await _recover(a, 0, epoch)).publications == []


async def test_a_subscribe_that_nobody_waits_for_leaves_no_interest(
    own_cluster: RedisCluster, own_server: RedisServer
) -> None:
    """Clients that are gone before the answer do not keep their channel delivered."""
    a = await own_cluster.node("a")
    tasks = [asyncio.create_task(a.backplane.subscribe("news", HISTORY)) for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await eventually(lambda: not parts_of(a).joining._rides)
    async with client(own_server.url) as redis, asyncio.timeout(NEVER_S):
        while await redis.exists(keys_of(own_cluster).channel("news").interest):
            await asyncio.sleep(0.01)


async def test_those_who_wait_are_refused_when_the_node_closes(own_cluster: RedisCluster) -> None:
    """Nobody is left waiting by a node that leaves."""
    a = await own_cluster.node("a")
    waiting = [asyncio.create_task(a.backplane.subscribe("news", HISTORY)) for _ in range(3)]
    await asyncio.sleep(0)
    await a.backplane.close()
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, (BackplaneUnavailableError, Subscribed))


async def test_the_tail_goes_on_with_the_inbox(own_cluster: RedisCluster) -> None:
    """What came through the inbox since is part of the answer."""
    a, b = await own_cluster.node("a"), await own_cluster.node("b")
    epoch = (await a.publish("news", "1")).epoch
    await b.backplane.subscribe("news", HISTORY)
    await eventually(parts_of(b).shards[0].liveness.is_leased)
    await _recover(b, 0, epoch)
    await a.publish("news", "2")
    await b.receiver.has("news", 1)
    found = await _recover(b, 0, epoch)
    assert [text(publication) for publication in found.publications] == ["1", "2"]
