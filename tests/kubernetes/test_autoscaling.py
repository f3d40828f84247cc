"""The number of nodes follows the load, and clients follow the nodes.

Nodes of 200 clients and windows of seconds stand for what is a hundred times as much elsewhere.
Growth is not looked ahead for: a crowd that comes at once would be counted twice for a minute. The
threshold of rebalancing is 50 %, since below 64 clients a node chance alone explains more.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.installation import AVAILABLE_S, Installed, cluster_values
from tests.support.kubernetes.lab import Lab
from tests.support.kubernetes.realtime_cluster import RealtimeCluster, until
from tests.support.kubernetes.traffic import FEED
from tests.support.prerequisites import require

logger = logging.getLogger(__name__)

NAME: Final = "scaled"
NAMESPACE: Final = "realtime-scaling"
PER_S: Final = 20.0
"""Publications per second, where they are not what it is about."""
CROWD: Final = 300
"""Clients for which 4 nodes are needed: three at 70 %, and one to spare."""
FEW: Final = 60
"""Clients for which 2 nodes are."""
DECIDED_S: Final = 15.0
"""Time in which more nodes have to be decided on, from the load on."""
STABILIZATION_S: Final = 10
STALE_S: Final = 4
BUDGET_PER_S: Final = 3
"""Clients per second and accepting node that may be sent away; shedding comes up to it."""
THRESHOLD: Final = 50
SETTLED_S: Final = 90.0

AUTOSCALING: Final[dict[str, Any]] = {
    "minReplicas": 2,
    "maxReplicas": 6,
    "targetLoopBusyPercent": 100,  # how busy a shared machine is, is not what it is about
    "prediction": {"enabled": False},
    "scaleDown": {"stabilizationSeconds": STABILIZATION_S},
    "metrics": {"intervalSeconds": 2, "timeoutSeconds": 1, "staleAfterSeconds": STALE_S},
}
REBALANCE: Final[dict[str, Any]] = {
    "enabled": False,
    "thresholdPercent": THRESHOLD,
    "shedPercentPerMinute": 600,
    "minNodeAgeSeconds": 2,
}


@pytest.fixture(scope="module")
def installed_here(installed: Installed) -> Iterator[RealtimeCluster]:
    """A RealtimeCluster that the tests here have in turn."""
    cluster = installed.cluster
    require(cluster.are_services_reachable, "run these tests in the lab, which reaches Services")
    cluster.make_namespace(NAMESPACE)
    values = cluster_values(
        cluster,
        node={"channel": {"namespaces": [FEED]}},
        capacity={"maxConnections": 200},
        autoscaling={"mode": "Internal", **AUTOSCALING},
        rebalance=REBALANCE,
        reconnectBudget={"connectionsPerSecondPerNode": BUDGET_PER_S},
    )
    cluster.install(NAME, "realtime-cluster", NAMESPACE, values)
    cluster.wait(f"rtc/{NAME}", "condition=Available", NAMESPACE, within_s=AVAILABLE_S)
    yield RealtimeCluster(cluster, NAME, NAMESPACE)
    cluster.helm("uninstall", NAME, "--namespace", NAMESPACE, "--wait")
    cluster.kubectl("delete", "namespace", NAMESPACE, within_s=120)


@pytest.fixture
async def scaled(installed_here: RealtimeCluster) -> RealtimeCluster:
    """A RealtimeCluster of two nodes that finds their number by itself."""
    await asyncio.to_thread(
        installed_here.change,
        replicas=2,
        autoscaling={"mode": "Disabled", "targetDeliveriesPerSecond": None, **AUTOSCALING},
        rebalance=REBALANCE,
    )
    await until(lambda: installed_here.is_settled_at(2), within_s=SETTLED_S)
    await asyncio.to_thread(installed_here.change, autoscaling={"mode": "Internal"})
    await until(lambda: installed_here.scaling().get("mode") == "Internal", within_s=10)
    return installed_here


class Watch:
    """What was seen of a cluster while something else was waited for."""

    def __init__(self, scaled: RealtimeCluster) -> None:
        """Begin with nothing."""
        self._scaled = scaled
        self.numbers: list[int] = []
        """The numbers of nodes that were wanted, each once in a row."""
        self.most_at_once = 0
        """Nodes that were shut or drained at the same time."""

    def look(self) -> None:
        """Look once."""
        wanted = self._scaled.scaling()["desired"]
        if self.numbers[-1:] != [wanted]:
            self.numbers.append(wanted)
        going = self._scaled.leaving("Cordoned", "Draining", "Forcing")  # later it has no clients
        self.most_at_once = max(self.most_at_once, len(going))


def conditions(scaled: RealtimeCluster, *kinds: str) -> list[tuple[str, str]]:
    """Status and reason of some conditions."""
    found = map(scaled.condition, kinds)
    return [(each["status"], each["reason"]) for each in found]


def is_needed(scaled: RealtimeCluster) -> bool:
    """Whether the load itself asks for as many nodes as are wanted."""
    found = scaled.scaling()
    return bool(found["rawDesired"] == found["desired"] and not found["limitedBy"])


async def decided_after_s(scaled: RealtimeCluster, replicas: int, since: float) -> float:
    """Seconds from `since` on until so many nodes were wanted."""
    await until(lambda: scaled.scaling()["desired"] == replicas, within_s=SETTLED_S)
    passed_s = time.monotonic() - since
    logger.info("%d nodes were wanted after %.1f s", replicas, passed_s)
    return passed_s


# --- more nodes -----------------------------------------------------------------------------------


async def test_nodes_are_added_for_connections(scaled: RealtimeCluster) -> None:
    """A crowd connects: more nodes are decided on at once, and take the clients that come next."""
    few = await asyncio.to_thread(scaled.clients)
    came = time.monotonic()
    async with scaled.traffic(CROWD, PER_S) as traffic:
        assert await decided_after_s(scaled, 4, came) <= DECIDED_S
        await until(lambda: scaled.is_settled_at(4), within_s=60)
        logger.info("4 nodes accepted after %.1f s", time.monotonic() - came)
        await traffic.join(FEW)
        counts = await asyncio.to_thread(scaled.clients)
        await traffic.settle()
    new = counts.keys() - few.keys()
    assert len(new) == 2
    assert min(counts[name] for name in new) > 0
    assert set(traffic.reconnects()) == {0}
    assert traffic.worst() == (0, 0, 0)


async def test_nodes_are_added_for_deliveries(scaled: RealtimeCluster) -> None:
    """Few clients get a lot: their number asks for no node, what is written to them does."""
    # A loaded machine publishes fewer: even so more nodes are asked for than there may be.
    target = {"targetDeliveriesPerSecond": 80, "maxReplicas": 4}
    await asyncio.to_thread(scaled.change, autoscaling=target)
    async with scaled.traffic(FEW, per_s=1) as traffic:
        began = time.monotonic()
        traffic.per_s = 80  # and each has six subscribers
        assert await decided_after_s(scaled, 4, began) <= DECIDED_S
        assert "deliveries/s" in (await asyncio.to_thread(scaled.scaling))["reason"]
        await until(lambda: scaled.is_settled_at(4), within_s=60)
        await traffic.settle()
    assert set(traffic.reconnects()) == {0}
    assert traffic.worst() == (0, 0, 0)


async def test_clients_move_to_nodes_that_were_added(scaled: RealtimeCluster) -> None:
    """Nodes that were there shed within the budget until the spread is below the threshold."""

    def is_even() -> bool:
        counts = scaled.clients().values()
        most = sum(counts) / len(counts) * (1 + THRESHOLD / 100)
        is_active = scaled.resource()["status"]["rebalance"]["isActive"]
        return not is_active and max(counts) <= most and scaled.is_settled_at(4)

    await asyncio.to_thread(scaled.change, rebalance={"enabled": True})
    async with scaled.traffic(CROWD, PER_S) as traffic:
        await until(lambda: scaled.is_settled_at(4), within_s=60)
        before = await asyncio.to_thread(scaled.clients)
        began = time.monotonic()
        await until(is_even, within_s=120)
        after = await asyncio.to_thread(scaled.clients)
        logger.info("%s became %s in %.0f s", before, after, time.monotonic() - began)
        await traffic.settle()
    assert (await asyncio.to_thread(scaled.events))["RebalanceStarted"]
    assert sum(after.values()) == CROWD
    assert max(traffic.arrivals_per_s) <= BUDGET_PER_S * 4 * 1.5
    moved = CROWD - traffic.reconnects()[0]
    assert 0 < moved < CROWD * 0.75
    assert traffic.reconnects()[1] > moved * 0.75
    assert max(traffic.reconnects()) <= 3  # who came back to a full node may have to go again
    assert traffic.worst() == (0, 0, 0)


# --- fewer nodes ----------------------------------------------------------------------------------


async def test_the_emptiest_node_goes_when_the_load_has_gone(scaled: RealtimeCluster) -> None:
    """After the window one node is drained, and then another, until the rest is needed."""
    await asyncio.to_thread(scaled.change, autoscaling={"minReplicas": 4})
    await until(lambda: scaled.is_settled_at(4), within_s=60)
    watch = Watch(scaled)
    async with scaled.traffic(CROWD, PER_S) as traffic:
        await asyncio.to_thread(scaled.change, autoscaling={"minReplicas": 2})
        await until(lambda: is_needed(scaled), within_s=10)
        await traffic.leave(CROWD - FEW)
        left = time.monotonic()
        before = await asyncio.to_thread(scaled.clients)
        assert await decided_after_s(scaled, 3, left) >= STABILIZATION_S - 2
        await until(lambda: len(scaled.pods()) == 3, within_s=60, meanwhile=watch.look)
        (first,) = before.keys() - await asyncio.to_thread(scaled.names)
        await until(lambda: scaled.is_settled_at(2), within_s=60, meanwhile=watch.look)
        logger.info("two nodes had gone after %.0f s", time.monotonic() - left)
        await traffic.settle()
    assert before[first] == min(before.values())
    assert watch.numbers == [3, 2]
    assert watch.most_at_once == 1
    assert traffic.reconnects()[1] >= before[first]
    assert max(traffic.reconnects()) <= 2
    assert traffic.worst() == (0, 0, 0)


async def test_a_node_that_hangs_is_no_reason_for_fewer(scaled: RealtimeCluster, lab: Lab) -> None:
    """While a node says nothing no node goes, and the conditions say why; later one does."""
    await asyncio.to_thread(scaled.change, autoscaling={"minReplicas": 3})
    await until(lambda: scaled.is_settled_at(3), within_s=60)
    watch = Watch(scaled)

    def is_told() -> bool:
        told = conditions(scaled, "MetricsAvailable", "ScalingActive", "ScalingLimited")
        return told == [
            ("False", "NodesSilent"),
            ("False", "MetricsUnavailable"),
            ("True", "MetricsUnavailable"),
        ]

    async with scaled.traffic(FEW, PER_S) as traffic:
        hung, *_ = await asyncio.to_thread(scaled.pods)
        await asyncio.to_thread(lab.send, "SIGSTOP", hung)
        try:
            await asyncio.to_thread(scaled.change, autoscaling={"minReplicas": 2})
            await until(is_told, within_s=STALE_S + 10, meanwhile=watch.look)
            back_at = time.monotonic() + STABILIZATION_S + STALE_S
            await until(lambda: time.monotonic() > back_at, within_s=60, meanwhile=watch.look)
            assert await asyncio.to_thread(is_told)
        finally:
            await asyncio.to_thread(lab.send, "SIGCONT", hung)
        assert watch.numbers == [3]
        assert watch.most_at_once == 0
        await until(lambda: scaled.is_settled_at(2), within_s=60)
        assert conditions(scaled, "MetricsAvailable", "ScalingActive") == [
            ("True", "AllAnswer"),
            ("True", "Internal"),
        ]
        await traffic.settle()
    assert traffic.worst() == (0, 0, 0)


# --- the number comes from outside ----------------------------------------------------------------


def old_file(scaled: RealtimeCluster) -> dict[str, Any]:
    """The resource as somebody has it in a file: of today, but for the number of nodes."""
    found = scaled.resource()
    metadata = {key: found["metadata"][key] for key in ("name", "namespace", "labels")}
    return {
        "apiVersion": found["apiVersion"],
        "kind": found["kind"],
        "metadata": metadata,
        "spec": {**found["spec"], "replicas": 2},
    }


def write_scale(scaled: RealtimeCluster, replicas: int) -> None:
    """Do what an HPA and KEDA do: write the scale subresource."""
    patch = json.dumps({"spec": {"replicas": replicas}})
    where = ("patch", "rtc", scaled.name, "--namespace", scaled.namespace, "--subresource=scale")
    scaled.cluster.kubectl(*where, "--type=merge", f"--patch={patch}")


def hpa_is_able(cluster: Cluster) -> bool:
    """Whether the HorizontalPodAutoscaler reads and writes the scale subresource."""
    told = cluster.get("hpa", NAME, NAMESPACE)["status"].get("conditions", ())
    return any(each["type"] == "AbleToScale" and each["status"] == "True" for each in told)


async def test_others_scale_it(scaled: RealtimeCluster) -> None:
    """kubectl, an HPA and KEDA scale up at once; whoever scales down waits at the gates."""
    cluster = scaled.cluster
    await asyncio.to_thread(scaled.change, autoscaling={"mode": "External"})
    manifest = await asyncio.to_thread(old_file, scaled)
    bounds = ("--namespace", NAMESPACE, "--min=1", "--max=6", "--cpu-percent=80")
    await asyncio.to_thread(cluster.kubectl, "autoscale", f"rtc/{NAME}", *bounds)
    try:
        watch = Watch(scaled)
        async with scaled.traffic(180, PER_S) as traffic:
            asked = time.monotonic()
            await asyncio.to_thread(scaled.scale, 5)
            assert await decided_after_s(scaled, 5, asked) <= DECIDED_S
            await until(lambda: scaled.is_settled_at(5), within_s=60)
            await asyncio.to_thread(write_scale, scaled, 4)
            await until(lambda: scaled.is_settled_at(4), within_s=60, meanwhile=watch.look)
            apply = ("apply", "--filename=-")
            await asyncio.to_thread(cluster.kubectl, *apply, given=json.dumps(manifest))
            await until(lambda: scaled.is_settled_at(3), within_s=60, meanwhile=watch.look)
            assert (await asyncio.to_thread(scaled.scaling))["rawDesired"] == 2
            assert conditions(scaled, "ScalingLimited") == [("True", "Capacity")]
            await traffic.leave(180 - FEW)
            await until(lambda: scaled.is_settled_at(2), within_s=60, meanwhile=watch.look)
            await traffic.settle()
        await until(lambda: hpa_is_able(cluster), within_s=30)
    finally:
        await asyncio.to_thread(cluster.kubectl, "delete", "hpa", NAME, "--namespace", NAMESPACE)
    assert watch.numbers[-3:] == [4, 3, 2]
    assert watch.most_at_once == 1
    assert traffic.worst() == (0, 0, 0)
