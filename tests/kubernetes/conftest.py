"""The cluster of all tests here, and the two charts installed in it, once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.explaining import explain
from tests.support.kubernetes.installation import (
    AVAILABLE_S,
    CLUSTER,
    NAMESPACE,
    OPERATOR,
    OPERATOR_NAMESPACE,
    Installed,
    cluster_values,
    operator_values,
)
from tests.support.kubernetes.lab import Lab
from tests.support.kubernetes.realtime_cluster import RealtimeCluster, until
from tests.support.kubernetes.sources import open_cluster
from tests.support.kubernetes.traffic import FEED
from tests.support.prerequisites import require

HERE: Final = Path(__file__).parent
OPEN_CLUSTER: Final = pytest.StashKey[Cluster]()
LONGEST_TEST_S: Final = 240
FAULTS: Final = "realtime-faults"
TRIED: Final = "tried"
NODES: Final = 3
BUDGET_PER_S: Final = 50
"""Clients per second and accepting node."""
SETTLED_S: Final = 90.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a cluster, whose start has deadlines of its own."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kubernetes)
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(LONGEST_TEST_S, func_only=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure tells how everything was at that moment."""
    report = yield
    cluster = item.config.stash.get(OPEN_CLUSTER, None)
    if report.failed and cluster and HERE in item.path.parents:
        report.sections.append(("Kubernetes", explain(cluster)))
    return report


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A Kubernetes with the images of this checkout."""
    with open_cluster() as cluster:
        request.config.stash[OPEN_CLUSTER] = cluster
        yield cluster
        del request.config.stash[OPEN_CLUSTER]


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> Iterator[Installed]:
    """Operator and cluster, installed as a user would, in namespaces that are restricted."""
    for namespace in (OPERATOR_NAMESPACE, NAMESPACE):
        cluster.make_namespace(namespace)
    started = time.monotonic()
    cluster.install(OPERATOR, "realtime-operator", OPERATOR_NAMESPACE, operator_values(cluster))
    cluster.install(CLUSTER, "realtime-cluster", NAMESPACE, cluster_values(cluster))
    cluster.wait(f"rtc/{CLUSTER}", "condition=Available", NAMESPACE, within_s=AVAILABLE_S * 2)
    yield Installed(cluster, time.monotonic() - started)
    cluster.helm("uninstall", CLUSTER, "--namespace", NAMESPACE, "--wait")
    cluster.helm("uninstall", OPERATOR, "--namespace", OPERATOR_NAMESPACE, "--wait")
    cluster.kubectl("delete", "crd", "realtimeclusters.realtimecluster.dev", within_s=60)
    for namespace in (NAMESPACE, OPERATOR_NAMESPACE):
        cluster.kubectl("delete", "namespace", namespace, within_s=120)


@pytest.fixture(scope="session")
def shared(installed: Installed) -> Iterator[RealtimeCluster]:
    """A RealtimeCluster that the tests below `tried` have in turn."""
    cluster = installed.cluster
    require(cluster.are_services_reachable, "run these tests in the lab, which reaches Services")
    cluster.make_namespace(FAULTS)
    values = cluster_values(
        cluster,
        replicas=NODES,
        node={"channel": {"namespaces": [FEED]}},
        reconnectBudget={"connectionsPerSecondPerNode": BUDGET_PER_S},
        update={"minReadySeconds": 0, "progressDeadlineSeconds": 20},
    )
    cluster.install(TRIED, "realtime-cluster", FAULTS, values)
    cluster.wait(f"rtc/{TRIED}", "condition=Available", FAULTS, within_s=AVAILABLE_S)
    made = RealtimeCluster(cluster, TRIED, FAULTS)
    made.change(rebalance={"enabled": False})  # who reconnects is counted, and told by its cause
    yield made
    cluster.helm("uninstall", TRIED, "--namespace", FAULTS, "--wait")
    cluster.kubectl("delete", "namespace", FAULTS, within_s=120)


@pytest.fixture
def lab(cluster: Cluster) -> Lab:
    """What can break more than an API server would."""
    require(cluster.lab is not None, "unset KUBECONFIG and set REALTIME_TEST_CLUSTER=lab")
    assert cluster.lab
    return cluster.lab


@pytest.fixture
async def tried(shared: RealtimeCluster) -> RealtimeCluster:
    """A RealtimeCluster of three nodes that nothing is wrong with, as the test before left it."""
    await asyncio.to_thread(shared.change, replicas=NODES)
    await until(shared.is_settled, within_s=SETTLED_S)
    return shared
