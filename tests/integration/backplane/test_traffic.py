"""What a cluster says to Redis while nothing is published depends on its nodes alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tests.integration.backplane.helpers import client
from tests.support.backplanes import HISTORY, RedisCluster
from tests.support.redis_monitor import monitored
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from tests.support.backplanes import Node

_HEARTBEATS = 20
_OUR_OWN = {"INFO", "HELLO", "CLIENT"}
_ENDED_BY_TIME = {"XREAD"}


class _Traffic(NamedTuple):
    """What a server is asked while nodes send some heartbeats."""

    per_heartbeat: dict[str, float]
    bytes_per_heartbeat: float


async def _idle_traffic(server: RedisServer) -> _Traffic:
    async with client(server.url) as redis, monitored(server.url) as monitor:

        async def heartbeats(count: int) -> None:
            await monitor.saw(lambda seen: seen["heartbeat"] >= count)

        # What follows joining and subscribing is over by then.
        await heartbeats(4)
        before = await redis.info("stats")
        monitor.clear()
        await heartbeats(_HEARTBEATS)
        counted = monitor.commands.copy()
        after = await redis.info("stats")
    asked = {
        name: count / counted["heartbeat"]
        for name, count in counted.items()
        if name not in _OUR_OWN | _ENDED_BY_TIME
    }
    received = after["total_net_input_bytes"] - before["total_net_input_bytes"]
    return _Traffic(asked, received / counted["heartbeat"])


async def _subscribe(nodes: tuple[Node, ...], first: int, count: int) -> None:
    await asyncio.gather(
        *(
            nodes[number % len(nodes)].backplane.subscribe(f"channel-{number}", HISTORY)
            for number in range(first, first + count)
        )
    )


async def test_an_idle_cluster_says_no_more_for_more_channels(
    own_server: RedisServer, own_cluster: RedisCluster
) -> None:
    """With forty times the channels the commands are the same, and so is their size."""
    # The sweep looks at channels on purpose, at a bounded rate.
    quiet = msgspec.structs.replace(own_cluster.options, sweep_interval_s=3600.0)
    nodes = (await own_cluster.node("a", options=quiet), await own_cluster.node("b", options=quiet))
    await _subscribe(nodes, 0, 50)
    few = await _idle_traffic(own_server)
    await _subscribe(nodes, 50, 1_950)
    many = await _idle_traffic(own_server)
    assert few.per_heartbeat == many.per_heartbeat == {"heartbeat": 1.0}
    assert many.bytes_per_heartbeat < 1.2 * few.bytes_per_heartbeat


async def test_the_nodes_traffic_is_counted_in_one_partition_only() -> None:
    """A heartbeat costs the others nothing that grows with the number of nodes."""
    with RedisServer() as server:
        cluster = RedisCluster(server.url, partitions=4)
        for name in "abc":
            await cluster.node(name)
        async with client(server.url) as redis:
            await redis.config_resetstat()
            beats = looks = 0
            while beats < 60:
                await asyncio.sleep(0.05)
                stats = await redis.info("commandstats")
                beats = stats.get("cmdstat_zadd", {}).get("calls", 0)
                looks = stats.get("cmdstat_hget", {}).get("calls", 0)
        # Three nodes are looked up with each heartbeat of one partition out of four.
        assert looks <= 3 * (beats / 4 + 3)
        await cluster.close()
