"""A Redis Cluster in motion: slots that move, a primary that dies, is replaced, or is emptied."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from realtime_node.cluster.on_redis.replies import as_is
from realtime_node.cluster.on_redis.script import pack
from realtime_node.errors import BackplaneUnavailableError
from tests.integration.backplane.helpers import Counting, keys_of, parts_of
from tests.support.backplanes import HISTORY, Node, RedisCluster
from tests.support.conditions import NEVER_S, eventually
from tests.support.redis_cluster import SlotCluster
from tests.support.redis_server import Program
from tests.support.stores import on

pytestmark = pytest.mark.store("redis cluster")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_CHANNELS: Final = ("c0", "c1", "c2", "c4", "c5", "c6")
"""One in each of six partitions."""
_PAUSE_S: Final = 0.03
_TOLD_WITHIN_S: Final = NEVER_S


@pytest.fixture(params=[on("redis", Program.REDIS), on("valkey", Program.EMBEDDED)])
def servers(request: pytest.FixtureRequest) -> Iterator[SlotCluster]:
    """Three primaries of the test's own, the first with a replica."""
    with SlotCluster(program=request.param, replicas_of=(0,)) as servers:
        yield servers


@pytest.fixture
async def cluster(servers: SlotCluster) -> AsyncIterator[RedisCluster]:
    """A cluster of nodes on them, with partitions on each primary."""
    cluster = RedisCluster("redis://", partitions=len(_CHANNELS))
    cluster.options = msgspec.structs.replace(
        cluster.options, cluster_nodes=servers.seeds, command_timeout_s=2.0
    )
    homes = {servers.primary_of(_slot(cluster, channel)) for channel in _CHANNELS}
    assert homes == {0, 1, 2}
    yield cluster
    await cluster.close()


@pytest.fixture
def countings() -> list[Counting]:
    """What each node counts."""
    return [Counting() for _ in "abc"]


@pytest.fixture
async def nodes(cluster: RedisCluster, countings: list[Counting]) -> list[Node]:
    """Three nodes, all interested in all channels."""
    nodes = [
        await cluster.node(name, instruments=counting)
        for name, counting in zip("abc", countings, strict=True)
    ]
    for node in nodes:
        for channel in _CHANNELS:
            node.receiver.told[channel] = (await node.backplane.subscribe(channel, HISTORY)).top
    return nodes


def _slot(cluster: RedisCluster, channel: str) -> int:
    keys = keys_of(cluster)
    return keys.slot_of(keys.partition_of(channel))


def _channels_on(servers: SlotCluster, cluster: RedisCluster, server: int) -> set[str]:
    return {each for each in _CHANNELS if servers.primary_of(_slot(cluster, each)) == server}


async def _publish_until_acknowledged(node: Node, channel: str, data: str) -> int:
    async with asyncio.timeout(NEVER_S):
        while True:
            try:
                return (await node.publish(channel, data)).offset
            except BackplaneUnavailableError:
                await asyncio.sleep(_PAUSE_S)


class _Load:
    """Every node publishes to every channel, one after the other, and remembers what succeeded."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes
        self._is_over = False
        self.acknowledged: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._publishing = [
            asyncio.create_task(self._publish(node, channel))
            for node in nodes
            for channel in _CHANNELS
        ]

    async def _publish(self, node: Node, channel: str) -> None:
        number = 0
        while not self._is_over:
            number += 1
            data = f"{node.name} {number}"
            try:
                await node.publish(channel, data)
            except BackplaneUnavailableError:
                pass
            else:
                self.acknowledged[node.name, channel].append(data)
            await asyncio.sleep(_PAUSE_S)

    async def goes_on(self, channels: set[str]) -> None:
        """Wait until every node has published something more to each of these channels."""
        ours = [(node.name, channel) for node in self._nodes for channel in channels]
        before = {each: len(self.acknowledged[each]) for each in ours}
        await eventually(lambda: all(len(self.acknowledged[each]) > before[each] for each in ours))

    async def end(self) -> None:
        """Publish no more."""
        self._is_over = True
        await asyncio.gather(*self._publishing)

    async def check(self, node: Node) -> None:
        """Nothing of what succeeded is missing at a node, doubled or disordered."""
        for channel in _CHANNELS:
            last = (await node.backplane.history(channel, HISTORY, limit=0)).top.offset
            texts = await node.receiver.has(channel, last)
            offsets = [
                entry.publication.offset
                for entry in node.receiver.of(channel)
                if entry.publication is not None
            ]
            assert offsets == list(range(1, last + 1))
            assert len(set(texts)) == len(texts)
            for publisher in self._nodes:
                acknowledged = self.acknowledged[publisher.name, channel]
                wanted = set(acknowledged)
                assert [text for text in texts if text in wanted] == acknowledged
        assert node.receiver.losses == []


@pytest.fixture
async def load(nodes: list[Node]) -> AsyncIterator[_Load]:
    """What they publish until the test ends it."""
    load = _Load(nodes)
    yield load
    await load.end()


async def test_slots_that_move_under_load_disturb_nobody(
    servers: SlotCluster,
    cluster: RedisCluster,
    nodes: list[Node],
    countings: list[Counting],
    load: _Load,
) -> None:
    """Each publication that succeeded arrives once and in order, and the other slots go on."""
    identities = [node.backplane.node_id for node in nodes]
    for channel, to in (("c0", 1), ("c1", 2), ("c6", 0), ("c0", 0)):
        slot = _slot(cluster, channel)
        assert servers.primary_of(slot) != to
        for step in servers.move(slot, to):
            if step != "keys":
                await load.goes_on(set(_CHANNELS) - {channel})
            await asyncio.sleep(0)
        assert servers.primary_of(slot) == to
        await load.goes_on({channel})
    await load.end()
    for node in nodes:
        await load.check(node)
    assert [node.backplane.node_id for node in nodes] == identities
    assert [counting.rotations for counting in countings] == [0, 0, 0]


async def test_a_move_that_stands_still_halfway_kills_nobody(
    servers: SlotCluster, cluster: RedisCluster, nodes: list[Node], load: _Load
) -> None:
    """A slot that neither server serves whole for longer than the lease costs no subscriber.

    A node whose key has moved cannot beat there while one whose key has not moved can; it is given
    time to beat again, all the same.
    """
    identities = [node.backplane.node_id for node in nodes]
    steps = servers.move(_slot(cluster, "c0"), 1)
    for step in steps:
        if step == "keys":
            await asyncio.sleep(2 * cluster.lease_s)
            await load.goes_on(set(_CHANNELS) - {"c0"})
            break
    for _ in steps:
        await asyncio.sleep(0)
    await load.goes_on(set(_CHANNELS))
    await load.end()
    for node in nodes:
        await load.check(node)
    assert [node.backplane.node_id for node in nodes] == identities


async def test_a_replica_that_has_all_and_is_promoted_disturbs_nobody(
    servers: SlotCluster, cluster: RedisCluster, nodes: list[Node], countings: list[Counting]
) -> None:
    """When a primary dies its replica serves its slots, in the same epochs, and nobody is told."""
    a, b, _ = nodes
    before = [await a.publish("c0", str(number)) for number in range(20)]
    servers.wait_for_replica(0)
    await asyncio.to_thread(servers.kill, 0)
    assert await _publish_until_acknowledged(b, "c0", "after") == 21
    await eventually(lambda: servers.primary_of(_slot(cluster, "c0")) == 3)
    for node in nodes:
        assert await node.receiver.has("c0", 21) == [*map(str, range(20)), "after"]
        assert node.receiver.losses == []
    assert (await b.backplane.subscribe("c0", HISTORY)).top.epoch == before[0].epoch
    assert [counting.rotations for counting in countings] == [0, 0, 0]


async def test_an_emptied_primary_is_told_and_the_others_are_not_disturbed(
    servers: SlotCluster, cluster: RedisCluster, nodes: list[Node]
) -> None:
    """Within five seconds all know which channels lost their past, and these flow again."""
    lost = _channels_on(servers, cluster, 1)
    before = {channel: await nodes[0].publish(channel, "before") for channel in _CHANNELS}
    for node in nodes:
        for channel in _CHANNELS:
            await node.receiver.has(channel, 1)
    servers.empty(1)
    await eventually(
        lambda: all(node.receiver.lost_channels == lost for node in nodes),
        within_s=_TOLD_WITHIN_S,
        what=f"all are told of {lost}",
    )
    for channel in _CHANNELS:
        offset = await _publish_until_acknowledged(nodes[1], channel, "after")
        assert offset == (1 if channel in lost else 2)
        top = (await nodes[2].backplane.history(channel, HISTORY, limit=0)).top
        assert (top.epoch != before[channel].epoch) is (channel in lost)
    for node in nodes:
        for channel in _CHANNELS:
            assert await node.receiver.has(channel, 2) == ["before", "after"]
        assert node.receiver.lost_channels == lost


async def test_partitions_whose_primary_is_away_do_not_stop_the_others(
    servers: SlotCluster, cluster: RedisCluster, nodes: list[Node], load: _Load
) -> None:
    """Elsewhere publications flow and leases are kept; here they flow when it is back."""
    away = _channels_on(servers, cluster, 2)
    others = set(_CHANNELS) - away
    identities = [node.backplane.node_id for node in nodes]
    await load.goes_on(set(_CHANNELS))
    await asyncio.to_thread(servers.kill, 2)
    await asyncio.sleep(2 * cluster.lease_s)
    await load.goes_on(others)
    for node in nodes:
        assert node.backplane.is_available()
        assert node.receiver.losses == []
        parts = parts_of(node)
        leased = {shard.partitions[0] for shard in parts.shards if shard.liveness.is_leased()}
        assert leased >= {parts.keys.partition_of(channel) for channel in others}
    results = await asyncio.gather(
        *(node.publish(channel, "nobody serves it") for node in nodes for channel in away),
        return_exceptions=True,
    )
    assert all(isinstance(result, BackplaneUnavailableError) for result in results)
    assert [node.backplane.node_id for node in nodes] == identities
    # It keeps no file: what was in it is lost.
    await asyncio.to_thread(servers.restart, 2)
    await eventually(
        lambda: all(node.receiver.lost_channels == away for node in nodes),
        what=f"all are told of {away}",
    )
    await load.goes_on(set(_CHANNELS))
    await load.end()
    for node in nodes:
        assert node.receiver.lost_channels == away


async def test_a_node_starts_without_the_partitions_that_cannot_be_reached(
    servers: SlotCluster, cluster: RedisCluster
) -> None:
    """Their commands fail at once and as temporary; the node joins there when they are back."""
    away = _channels_on(servers, cluster, 2)
    others = set(_CHANNELS) - away
    await asyncio.to_thread(servers.kill, 2)
    counting = Counting()
    a, b = await cluster.node("a"), await cluster.node("b", instruments=counting)
    numbers = {keys_of(cluster).partition_of(channel) for channel in away}
    told = "\n".join(b.backplane.obstacles())
    assert all(f"partition {number} of the Redis Cluster" in told for number in numbers)
    for channel in others:
        await b.backplane.subscribe(channel, HISTORY)
        await a.publish(channel, "here")
        assert await b.receiver.has(channel, 1) == ["here"]
    for channel in away:
        for refused in (
            b.publish(channel, "nobody serves it"),
            b.backplane.subscribe(channel, HISTORY),
            b.backplane.history(channel, HISTORY, limit=1),
            b.presence.get(channel),
        ):
            with pytest.raises(BackplaneUnavailableError, match="nothing was sent"):
                await refused
    await asyncio.to_thread(servers.restart, 2)
    await eventually(lambda: not a.backplane.obstacles() and not b.backplane.obstacles())
    for channel in away:
        await b.backplane.subscribe(channel, HISTORY)
        await _publish_until_acknowledged(a, channel, "there")
        assert await b.receiver.has(channel, 1) == ["there"]
    assert b.receiver.losses == []
    assert counting.fences == 0


async def test_a_fenced_node_joins_again_without_what_cannot_be_reached(
    servers: SlotCluster, cluster: RedisCluster, nodes: list[Node]
) -> None:
    """What is away keeps it from nothing else; its channels are compared when it is back."""
    away = _channels_on(servers, cluster, 1)
    others = set(_CHANNELS) - away
    a, b, _ = nodes
    for channel in _CHANNELS:
        await a.publish(channel, "before")
        await b.receiver.has(channel, 1)
    await asyncio.to_thread(servers.kill, 1)
    fenced = b.backplane.node_id
    keys = keys_of(cluster)
    here = keys.partition_of(next(iter(others)))
    parts = parts_of(b)
    tombstone = pack(b"HSET", keys.node(here, fenced).node, b"tombstone", b"1")
    await parts.writes[here].execute(tombstone, read=as_is)
    await eventually(lambda: b.backplane.node_id != fenced)
    await eventually(lambda: not parts.membership.is_rejoining)
    for channel in others:
        await a.publish(channel, "meanwhile")
        assert await b.receiver.has(channel, 2) == ["before", "meanwhile"]
    await asyncio.to_thread(servers.restart, 1)
    await eventually(lambda: b.receiver.lost_channels >= away, what="it is told of what was lost")
    for channel in away:
        await _publish_until_acknowledged(a, channel, "after")
    await eventually(lambda: all(b.receiver.texts(channel)[-1:] == ["after"] for channel in away))
    assert b.receiver.lost_channels == away
