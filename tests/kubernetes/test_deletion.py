"""A RealtimeCluster is deleted with clients connected to it, with an operator and without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.support.draining import Crowd, busiest_second
from tests.support.kubernetes.installation import (
    OPERATOR,
    OPERATOR_NAMESPACE,
    operator_values,
)
from tests.support.kubernetes.realtime_cluster import CLUSTER_LABEL, RealtimeCluster, until

CLIENTS: Final = 40
NODES: Final = 2
CHILDREN: Final = "pods,services,configmaps,poddisruptionbudgets,networkpolicies,secrets"
GONE_S: Final = 60
SHUTDOWN: Final = 3001
"""The close code of who is sent elsewhere."""


@asynccontextmanager
async def another(
    tried: RealtimeCluster, name: str, **drain: Any
) -> AsyncIterator[RealtimeCluster]:
    """A RealtimeCluster of two nodes on the same Redis, which lets in whoever comes."""
    spec = (await asyncio.to_thread(tried.resource))["spec"]
    address = spec["node"]["engine"]["redis"]["address"]
    spec |= {
        "replicas": NODES,
        "node": {
            "engine": {"redis": {"address": address, "prefix": name}},
            "client": {"allow_anonymous_connect_without_token": True},
        },
        "drain": spec["drain"] | drain,
    }
    manifest = {
        "apiVersion": "realtimecluster.dev/v1alpha1",
        "kind": "RealtimeCluster",
        "metadata": {"name": name, "namespace": tried.namespace},
        "spec": spec,
    }
    made = RealtimeCluster(tried.cluster, name, tried.namespace)
    await asyncio.to_thread(tried.cluster.apply, manifest)
    try:
        await until(made.is_settled, within_s=60)
        yield made
    finally:
        delete = ("delete", "rtc", name, "-n", tried.namespace, "--ignore-not-found")
        await asyncio.to_thread(tried.cluster.kubectl, *delete, within_s=GONE_S)


def delete(cluster: RealtimeCluster) -> None:
    """Delete it, and do not wait until it is gone."""
    command = ("delete", "rtc", cluster.name, "-n", cluster.namespace, "--wait=false")
    cluster.cluster.kubectl(*command)


def remains(cluster: RealtimeCluster) -> set[str]:
    """The resource, and what the operator made for it, as far as that is there: kind/name."""
    command = ("get", CHILDREN, "-n", cluster.namespace, "--output=name")
    children = cluster.cluster.kubectl(*command, f"--selector={CLUSTER_LABEL}={cluster.name}")
    own = ("get", "rtc", cluster.name, "-n", cluster.namespace, "--output=name")
    return {*children.split(), *cluster.cluster.kubectl(*own, "--ignore-not-found").split()}


def is_gone(cluster: RealtimeCluster) -> bool:
    """Whether nothing of it is left."""
    return not remains(cluster)


async def join(crowd: Crowd, cluster: RealtimeCluster) -> None:
    """Connect clients through the Service."""
    service = cluster.cluster.get("service", cluster.name, cluster.namespace)
    address = service["spec"]["clusterIP"]
    await crowd.join(f"ws://{address}:8000/connection/websocket", CLIENTS)


async def test_all_of_it_goes(tried: RealtimeCluster) -> None:
    """By default the nodes end at once, each within its grace period; everybody is told to go."""
    async with another(tried, "deleted") as cluster, Crowd() as crowd:
        await join(crowd, cluster)
        await asyncio.to_thread(delete, cluster)
        await until(lambda: is_gone(cluster), within_s=GONE_S)
        assert len(crowd.goodbyes) == CLIENTS
        assert crowd.codes() == {SHUTDOWN}


async def test_its_clients_are_drained_first_if_asked_for(tried: RealtimeCluster) -> None:
    """With onDelete Drain the resource stays until its clients were sent away, at their pace."""
    async with another(tried, "drained", onDelete="Drain") as cluster, Crowd() as crowd:
        await join(crowd, cluster)
        await asyncio.to_thread(delete, cluster)
        await until(lambda: bool(cluster.leaving("Draining")), within_s=30)
        await until(lambda: is_gone(cluster), within_s=GONE_S)
        assert len(crowd.goodbyes) == CLIENTS
        assert crowd.codes() == {SHUTDOWN}
        assert busiest_second(crowd.times()) < CLIENTS


async def test_nothing_is_stuck_without_an_operator(tried: RealtimeCluster) -> None:
    """A cluster goes though the operator is uninstalled; one to be drained waits for the next."""
    kube = tried.cluster
    async with another(tried, "left") as left, another(tried, "kept", onDelete="Drain") as kept:
        uninstall = ("uninstall", OPERATOR, "--namespace", OPERATOR_NAMESPACE, "--wait")
        await asyncio.to_thread(kube.helm, *uninstall)
        try:
            await asyncio.to_thread(delete, left)
            await asyncio.to_thread(delete, kept)
            await until(lambda: is_gone(left), within_s=GONE_S)
            assert f"realtimecluster.realtimecluster.dev/{kept.name}" in remains(kept)
        finally:
            values = operator_values(kube)
            await asyncio.to_thread(
                kube.install, OPERATOR, "realtime-operator", OPERATOR_NAMESPACE, values
            )
        await until(lambda: is_gone(kept), within_s=GONE_S)
