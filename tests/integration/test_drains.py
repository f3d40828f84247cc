"""Real nodes send hundreds of real clients elsewhere: how fast, to where, and how they end."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.support.conditions import NEVER_S, eventually
from tests.support.draining import Admin, Crowd, admin_settings, busiest_second, mean_rate
from tests.support.node_process import NodeProcess
from tests.support.redis_server import RedisServer
from tests.support.wire_client import Refused, WireClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PER_NODE = 50
SETTINGS: dict[str, Any] = {
    "client": {"insecure": True},
    "reconnect_budget": {"connections_per_second_per_node": PER_NODE},
    "drain": {"propagation": "1s"},
    "log": {"level": "info"},
}


class Place:
    """A node, and the operator's way to it."""

    def __init__(self, process: NodeProcess, admin: Admin) -> None:
        self.process = process
        self.admin = admin

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self.process.websocket_url

    async def phase(self) -> str:
        """The phase of its drain."""
        phase: str = (await self.admin.status())["drain"]["phase"]
        return phase

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send its process a signal."""
        self.process.send(number)


class World:
    """A Redis, nodes on it, and a crowd."""

    def __init__(self, stack: AsyncExitStack, directory: Path) -> None:
        self._stack = stack
        self._directory = directory
        self.redis = stack.enter_context(RedisServer())
        self.crowd = Crowd()
        self.nodes: list[Place] = []

    async def node(self, **changes: Any) -> Place:
        """One more node."""
        engine = {"type": "redis", "redis": {"address": self.redis.url}}
        own = admin_settings()
        process = NodeProcess(
            {**SETTINGS, **own, "engine": engine, **changes},
            self._directory,
            name=f"node-{len(self.nodes)}",
        )
        await self._stack.enter_async_context(process)
        admin = Admin(own["http_server"]["internal_port"])
        place = Place(process, await self._stack.enter_async_context(admin))
        self.nodes.append(place)
        return place

    async def settle(self) -> None:
        """Wait until every node counts all of them, and no arrivals are held against a drain."""
        for node in self.nodes:
            async with asyncio.timeout(NEVER_S):
                while not self._is_calm((await node.admin.status())["budget"]):
                    await asyncio.sleep(0.05)

    def _is_calm(self, budget: dict[str, Any]) -> bool:
        return (budget["accepting_nodes"], budget["arrivals_per_s"]) == (len(self.nodes), 0)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A cluster to be drained."""
    async with AsyncExitStack() as stack:
        world = World(stack, tmp_path)
        await stack.enter_async_context(world.crowd)
        yield world


def _tell(what: str, times: list[float]) -> None:
    sys.stdout.write(
        f"{what}: {len(times)} closes at {mean_rate(times):.1f} per second,"
        f" {busiest_second(times)} in the busiest second\n"
    )


async def _until_phase(node: Place, phase: str) -> None:
    async with asyncio.timeout(NEVER_S):
        while await node.phase() != phase:
            await asyncio.sleep(0.05)


async def _ended(node: Place) -> int:
    await eventually(lambda: not node.process.is_running, what="it has ended")
    return node.process.exit_status


@pytest.mark.thorough
@pytest.mark.measures_time
async def test_a_drain_follows_the_rate_and_nobody_lands_on_it(world: World) -> None:
    """200 clients leave at the asked rate, with 3001; the door is shut; a signal then ends it."""
    node, other = await world.node(), await world.node()
    await world.crowd.join(node.url, 200)
    await world.crowd.join(other.url, 20)
    await world.settle()
    asked = {"phase": "drain", "rate_per_s": 40, "reason": "rollout"}
    first = await node.admin.post("/drain", **asked)
    began = time.monotonic()
    again = await node.admin.post("/drain", **asked)
    assert first["drain"]["id"] == again["drain"]["id"]
    with pytest.raises(Refused) as refused:
        await WireClient.open(node.url)
    assert refused.value.status == 503
    await _until_phase(node, "draining")
    drain = (await node.admin.status())["drain"]
    assert drain["reason"] == "rollout"
    await _until_phase(node, "drained")
    times = world.crowd.times(node.url)
    assert len(times) == len(world.crowd.goodbyes) == 200
    assert world.crowd.codes() == {3001}
    assert times[0] - began >= 0.95
    _tell("a drain at 40", times)
    assert mean_rate(times) == pytest.approx(40, rel=0.1)
    assert busiest_second(times) <= 1.3 * 40
    status = await node.admin.status()
    assert (status["accepting"], status["ready"], status["num_clients"]) == (False, True, 0)
    assert status["drain"]["closed_total"] == 200
    assert 'realtime_drain_closes_total{cause="drain"} 200.0' in await node.admin.metrics()
    node.signal()
    assert await _ended(node) == 0


@pytest.mark.thorough
@pytest.mark.measures_time
async def test_a_signal_alone_drains_at_the_clusters_budget(world: World) -> None:
    """SIGTERM: the propagation, then closes as the budget of the nodes that accept allows."""
    node, _ = await world.node(), await world.node()
    await world.crowd.join(node.url, 150)
    await world.settle()
    began = time.monotonic()
    node.signal()
    assert await _ended(node) == 0
    times = world.crowd.times()
    assert len(times) == 150
    assert world.crowd.codes() == {3001}
    assert times[0] - began >= 0.95
    _tell(f"SIGTERM at {PER_NODE}", times)
    # Its own part of the budget went with its door.
    assert mean_rate(times) == pytest.approx(PER_NODE, rel=0.15)
    assert busiest_second(times) <= 1.3 * PER_NODE


@pytest.mark.thorough
@pytest.mark.measures_time
async def test_two_drains_share_the_budget(world: World) -> None:
    """Together they stay within what the third node can take."""
    # Long enough for each to hear of the other's cordon, with a heartbeat.
    one, two, _ = [await world.node(drain={"propagation": "4s"}) for _ in range(3)]
    for node in (one, two):
        await world.crowd.join(node.url, 100)
    await world.settle()
    for node in (one, two):
        await node.admin.post("/drain", phase="drain")
    await asyncio.gather(*(_until_phase(node, "drained") for node in (one, two)))
    times = world.crowd.times()
    assert len(times) == 200
    _tell(f"two drains at {PER_NODE}", times)
    assert mean_rate(times) == pytest.approx(PER_NODE, rel=0.15)
    assert busiest_second(times) <= 1.3 * PER_NODE
    for node in (one, two):
        assert len(world.crowd.times(node.url)) == 100
        assert mean_rate(world.crowd.times(node.url)) == pytest.approx(PER_NODE / 2, rel=0.3)


@pytest.mark.thorough
@pytest.mark.measures_time
async def test_a_drain_without_redis_ends_on_its_share(world: World) -> None:
    """It goes on with its part of the last known budget, says so, and is done."""
    node, _ = await world.node(), await world.node()
    await world.crowd.join(node.url, 150)
    await world.settle()
    await node.admin.post("/drain", phase="drain")
    await _until_phase(node, "draining")
    await asyncio.sleep(0.5)
    world.redis.kill()
    killed_at = time.monotonic()
    await _until_phase(node, "drained")
    times = [at for at in world.crowd.times(node.url) if at > killed_at + 1]
    assert len(world.crowd.times(node.url)) == 150
    _tell(f"without Redis at {PER_NODE / 2}, its share", times)
    assert busiest_second(times) <= 1.3 * PER_NODE
    assert (await node.admin.status())["budget"]["is_local"]
    metrics = await node.admin.metrics()
    assert "realtime_reconnect_local_leases_total 0.0" not in metrics
    assert "uses its share" in node.process.log()
    world.redis.start()


async def test_a_cordon_can_be_taken_back(world: World) -> None:
    """The clients stayed, and new ones are let in again."""
    node = await world.node()
    await world.crowd.join(node.url, 5)
    await node.admin.post("/drain", phase="cordon")
    with pytest.raises(Refused):
        await WireClient.open(node.url)
    await node.admin.post("/drain", phase="abort")
    async with await WireClient.open(node.url):
        assert (await node.admin.status())["accepting"]
    assert not world.crowd.goodbyes


async def test_a_shed_sends_some_away_and_the_node_serves_on(world: World) -> None:
    """With 3011; who comes back may come back to the same node."""
    node = await world.node()
    await world.crowd.join(node.url, 60)
    await node.admin.post("/shed", count=20, rate_per_s=40)
    await eventually(lambda: len(world.crowd.goodbyes) >= 20)
    assert world.crowd.codes() == {3011}
    async with asyncio.timeout(NEVER_S):
        while (await node.admin.status())["shed"] is not None:
            await asyncio.sleep(0.02)
    assert len(world.crowd.goodbyes) == 20
    assert (await node.admin.status())["accepting"]


@pytest.mark.thorough
@pytest.mark.measures_time
async def test_a_grace_that_is_too_short_is_kept_all_the_same(world: World) -> None:
    """Who cannot leave within the budget is closed in order, spread, before the grace ends."""
    node = await world.node(shutdown={"timeout": "4s"})
    await world.crowd.join(node.url, 300)
    began = time.monotonic()
    node.signal()
    assert await _ended(node) == 0
    assert time.monotonic() - began <= 4.5
    assert len(world.crowd.goodbyes) == 300
    assert world.crowd.codes() == {3001}
    assert busiest_second(world.crowd.times(), span_s=0.2) <= 200


@pytest.mark.measures_time
async def test_a_second_signal_hurries(world: World) -> None:
    """All clients are closed within two seconds, with 3001."""
    node = await world.node(drain={"propagation": "30s"}, shutdown={"timeout": "60s"})
    await world.crowd.join(node.url, 100)
    node.signal()
    await _until_phase(node, "cordoned")
    began = time.monotonic()
    node.signal()
    assert await _ended(node) == 0
    assert time.monotonic() - began <= 20  # of thirty, and of sixty
    assert world.crowd.codes() == {3001}
    assert busiest_second(world.crowd.times(), span_s=0.2) <= 60


async def test_a_node_without_clients_ends_at_once(world: World) -> None:
    """It waits for no balancer."""
    node = await world.node(drain={"propagation": "1h"}, shutdown={"timeout": "2h"})
    node.signal()
    assert await _ended(node) == 0


async def test_the_budget_is_changed_for_all_nodes(world: World) -> None:
    """One node is told, the others know with their next heartbeat, and one that starts later."""
    one, two = await world.node(), await world.node()
    answer = await one.admin.post("/budget", connections_per_second_per_node=7)
    assert (answer["connections_per_second_per_node"], answer["version"]) == (7, 1)
    late = await world.node()
    for node in (one, two, late):
        async with asyncio.timeout(NEVER_S):
            while (await node.admin.status())["budget"]["connections_per_second_per_node"] != 7:
                await asyncio.sleep(0.05)


async def test_the_public_port_has_no_admin_api(world: World) -> None:
    """Whoever reaches the clients' port cannot drain."""
    node = await world.node()
    public = f"http://127.0.0.1:{node.process.port}"
    async with aiohttp.ClientSession() as session:
        for path in ("/drain", "/shed", "/budget", "/status"):
            async with session.post(public + path, json={}) as answer:
                assert answer.status == 404


@pytest.mark.thorough
@pytest.mark.measures_time
async def test_arrivals_of_all_nodes_share_one_rate_if_that_is_asked(world: World) -> None:
    """`admission.cluster_connects_per_second`: two nodes let in no more than the cluster may."""
    metered = {"cluster_connects_per_second": 20, "wait": "20s"}
    nodes = [await world.node(admission=metered) for _ in range(2)]
    began = time.monotonic()
    await asyncio.gather(*(world.crowd.join(node.url, 30) for node in nodes))
    took_s = time.monotonic() - began
    assert (60 - 20) / 20 <= took_s <= 2 * 60 / 20
