"""The operator dies, or there are two of it, while clients are being moved.

What it has to remember stands in the Pods' annotations, so whoever comes next goes on from there,
and who comes beside it decides the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.installation import (
    OPERATOR,
    OPERATOR_NAMESPACE,
    OPERATORS,
    operator_values,
)
from tests.support.kubernetes.lab import Lab
from tests.support.kubernetes.realtime_cluster import RealtimeCluster, until

CLIENTS: Final = 150
SECOND: Final = "second"
GOES_ON_S: Final = 120


def holder(cluster: Cluster, lease: str) -> str:
    """Which operator acts by a lease."""
    name: str = cluster.get("lease", lease, OPERATOR_NAMESPACE)["spec"]["holderIdentity"]
    return name


def operators(cluster: Cluster) -> list[dict[str, Any]]:
    """The Pods of all operators, the one that acts first."""
    acting = holder(cluster, OPERATOR)
    pods = cluster.find("pods", OPERATOR_NAMESPACE, OPERATORS)
    return sorted(pods, key=lambda pod: pod["metadata"]["name"] != acting)


@pytest.fixture
async def second_operator(tried: RealtimeCluster) -> AsyncIterator[None]:
    """Another release of the chart, which has a lease of its own and so acts too."""
    cluster = tried.cluster
    values = operator_values(cluster, replicas=1, crds={"install": False})
    release = (SECOND, "realtime-operator", OPERATOR_NAMESPACE)
    await asyncio.to_thread(cluster.install, *release, values)
    await until(lambda: holder(cluster, f"{SECOND}-{OPERATOR}") != "", within_s=60)
    yield
    uninstall = ("uninstall", SECOND, "--namespace", OPERATOR_NAMESPACE, "--wait")
    await asyncio.to_thread(cluster.helm, *uninstall)


async def test_a_drain_outlives_both_replicas(tried: RealtimeCluster, lab: Lab) -> None:
    """Both replicas are killed while a node drains: the drain ends as if they had not been."""
    async with tried.traffic(CLIENTS) as traffic:
        before = await asyncio.to_thread(tried.clients)
        await asyncio.to_thread(tried.scale, len(before) - 1)
        await until(lambda: bool(tried.leaving("Draining")), within_s=60)
        for pod in await asyncio.to_thread(operators, tried.cluster):
            await asyncio.to_thread(lab.send, "SIGKILL", pod)
        await until(tried.is_settled, within_s=GOES_ON_S)
        (gone,) = before.keys() - await asyncio.to_thread(tried.clients)
        await traffic.settle()
    assert traffic.reconnects() == {0: CLIENTS - before[gone], 1: before[gone]}
    assert traffic.worst() == (0, 0, 0)


async def test_a_rollout_outlives_the_operator_that_began_it(
    tried: RealtimeCluster, lab: Lab
) -> None:
    """The operator that acts is killed while it replaces nodes: every client reconnects once."""
    async with tried.traffic(CLIENTS) as traffic:
        await asyncio.to_thread(tried.roll, "operator-killed")
        await until(lambda: bool(tried.leaving("Draining")), within_s=60)
        acting, *_ = await asyncio.to_thread(operators, tried.cluster)
        await asyncio.to_thread(lab.send, "SIGKILL", acting)
        await until(tried.is_settled, within_s=GOES_ON_S)
        await traffic.settle()
    assert set(traffic.reconnects()) == {1}
    assert traffic.worst() == (0, 0, 0)


@pytest.mark.usefixtures("second_operator")
async def test_two_operators_do_no_more_than_one(tried: RealtimeCluster) -> None:
    """Two operators that know nothing of each other roll out: no node and no reconnect twice."""
    replicas = len(await asyncio.to_thread(tried.pods))
    seen: set[str] = set()

    def watch() -> None:
        seen.update(pod["metadata"]["uid"] for pod in tried.pods())

    async with tried.traffic(CLIENTS) as traffic:
        await asyncio.to_thread(tried.roll, "two-operators")
        await until(tried.is_settled, within_s=GOES_ON_S, meanwhile=watch)
        await traffic.settle()
    assert len(seen) == 2 * replicas
    assert set(traffic.reconnects()) == {1}
    assert traffic.worst() == (0, 0, 0)
