"""The cluster of all tests here, and the two charts installed in it, once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.kubernetes.cluster import Cluster
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
from tests.support.kubernetes.sources import open_cluster

HERE: Final = Path(__file__).parent
LONGEST_TEST_S: Final = 240


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a cluster, whose start has deadlines of its own."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kubernetes)
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(LONGEST_TEST_S, func_only=True))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Kubernetes with the images of this checkout."""
    with open_cluster() as cluster:
        yield cluster


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
