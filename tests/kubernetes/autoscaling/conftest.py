"""A RealtimeCluster of its own for the tests here, once: they have it in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.kubernetes.installation import AVAILABLE_S, Installed, cluster_values
from tests.support.kubernetes.realtime_cluster import RealtimeCluster, until
from tests.support.kubernetes.scaling import (
    AUTOSCALING,
    BUDGET_PER_S,
    MAX_CONNECTIONS,
    NAME,
    NAMESPACE,
    REBALANCE,
    SETTLED_S,
)
from tests.support.kubernetes.traffic import FEED
from tests.support.prerequisites import require


@pytest.fixture(scope="package")
def installed_here(installed: Installed) -> Iterator[RealtimeCluster]:
    """The RealtimeCluster, in a namespace that goes after the last test here."""
    cluster = installed.cluster
    require(cluster.are_services_reachable, "run these tests in the lab, which reaches Services")
    cluster.make_namespace(NAMESPACE)
    values = cluster_values(
        cluster,
        node={"channel": {"namespaces": [FEED]}},
        capacity={"maxConnections": MAX_CONNECTIONS},
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
