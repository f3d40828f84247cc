"""Nodes are replaced, with clients connected to them all the while."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.installation import NAMESPACE, Installed, cluster_values
from tests.support.kubernetes.traffic import FEED, Traffic

NAME: Final = "rolled"
REPLICAS: Final = 3
CLIENTS: Final = 600
PER_S: Final = 50.0
BUDGET_PER_S: Final = 50
"""Clients per second and accepting node."""


@pytest.fixture
def rolled(installed: Installed) -> Iterator[Cluster]:
    """A RealtimeCluster of three nodes, for one test."""
    cluster = installed.cluster
    values = cluster_values(
        cluster,
        replicas=REPLICAS,
        node={"channel": {"namespaces": [FEED]}},
        reconnectBudget={"connectionsPerSecondPerNode": BUDGET_PER_S},
        update={"minReadySeconds": 0, "progressDeadlineSeconds": 20},
    )
    cluster.install(NAME, "realtime-cluster", NAMESPACE, values)
    cluster.wait(f"rtc/{NAME}", "condition=Available", NAMESPACE, within_s=90)
    yield cluster
    cluster.helm("uninstall", NAME, "--namespace", NAMESPACE, "--wait")


def change(cluster: Cluster, **spec: Any) -> None:
    """Change the spec."""
    patch = json.dumps({"spec": spec})
    cluster.kubectl("patch", "rtc", NAME, "-n", NAMESPACE, "--type=merge", f"--patch={patch}")


def accepting(cluster: Cluster) -> int:
    """Ready Pods that the Service sends clients to."""
    labels = f"realtimecluster.dev/cluster={NAME},realtimecluster.dev/accepting=true"
    return sum(
        any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])
        for pod in cluster.find("pods", NAMESPACE, labels)
    )


async def until(
    holds: Callable[[], bool], *, within_s: float, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Ask the API server until something holds; `meanwhile` may look at more."""
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(holds):
            await asyncio.to_thread(meanwhile)
            await asyncio.sleep(0.5)


async def test_a_client_reconnects_at_most_once(rolled: Cluster) -> None:
    """All nodes are replaced: one reconnect a client, within the budget, and nothing is lost."""
    fewest = REPLICAS

    def watch() -> None:
        nonlocal fewest
        fewest = min(fewest, accepting(rolled))

    def is_done() -> bool:
        resource = rolled.get("rtc", NAME, NAMESPACE)
        status = resource["status"]
        return bool(
            status["observedGeneration"] == resource["metadata"]["generation"]
            and status["revision"] == status["currentRevision"] != before
            and status["replicas"] == REPLICAS
        )

    before = rolled.get("rtc", NAME, NAMESPACE)["status"]["revision"]
    flowing = Traffic.flowing(rolled, NAME, NAMESPACE, clients=CLIENTS, per_s=PER_S)
    async with flowing as traffic:
        change(rolled, template={"annotations": {"example.com/release": "2"}})
        await until(is_done, within_s=180, meanwhile=watch)
        await traffic.settle()
    assert set(traffic.reconnects()) == {1}
    assert traffic.worst() == (0, 0, 0)
    assert fewest >= REPLICAS - 1
    # A client comes back within a moment of jitter, so a second may get some of the one before.
    assert max(traffic.arrivals_per_s) <= BUDGET_PER_S * REPLICAS * 1.5


async def test_a_broken_image_stops_the_rollout(rolled: Cluster) -> None:
    """New nodes that cannot start change nothing for clients; condition and Event say why."""

    def is_told() -> bool:
        status = rolled.get("rtc", NAME, NAMESPACE)["status"]
        conditions = {each["type"]: each for each in status["conditions"]}
        return bool(conditions["Progressing"]["status"] == "False")

    async with Traffic.flowing(rolled, NAME, NAMESPACE, clients=50, per_s=PER_S) as traffic:
        change(rolled, image="localhost/there-is-no-such-image:lab")
        await until(is_told, within_s=120)
        assert await asyncio.to_thread(accepting, rolled) == REPLICAS
        events = rolled.kubectl("get", "events", "-n", NAMESPACE, "--output=json")
        reasons = {
            event["reason"]
            for event in json.loads(events)["items"]
            if event["involvedObject"].get("name") == NAME
        }
        assert "ProgressDeadlineExceeded" in reasons
        await traffic.settle()
    assert set(traffic.reconnects()) == {0}
    assert traffic.worst() == (0, 0, 0)


async def test_a_deleted_node_is_drained_and_replaced(rolled: Cluster) -> None:
    """After `kubectl delete pod` its clients have lost nothing, and a new node is there."""
    labels = f"realtimecluster.dev/cluster={NAME}"

    async with Traffic.flowing(rolled, NAME, NAMESPACE, clients=90, per_s=PER_S) as traffic:
        pods = rolled.find("pods", NAMESPACE, labels)
        victim = pods[0]["metadata"]["uid"]
        name = pods[0]["metadata"]["name"]
        await asyncio.to_thread(
            rolled.kubectl, "delete", "pod", name, "-n", NAMESPACE, within_s=90.0
        )

        def is_replaced() -> bool:
            found = rolled.find("pods", NAMESPACE, labels)
            uids = {pod["metadata"]["uid"] for pod in found}
            return victim not in uids and accepting(rolled) == REPLICAS

        await until(is_replaced, within_s=60)
        await traffic.settle()
    assert max(traffic.reconnects()) == 1
    assert traffic.worst() == (0, 0, 0)
