"""The number of nodes comes from outside, through the scale subresource: mode External.

A HorizontalPodAutoscaler steers by the operator's own metric, as docs/autoscaling.md advises; the
adapter between them is the tests' own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.external_metrics import ExternalMetrics, external_metrics
from tests.support.kubernetes.installation import METRICS_PORT, Installed, operator_addresses
from tests.support.kubernetes.realtime_cluster import RealtimeCluster, until
from tests.support.kubernetes.scaling import (
    AUTOSCALING,
    DECIDED_S,
    FEW,
    NAME,
    NAMESPACE,
    PER_S,
    SETTLED_S,
    Watch,
    conditions,
    decided_after_s,
)
from tests.support.prerequisites import require

logger = logging.getLogger(__name__)

METRIC: Final = "realtime_operator_demand_connections"
PER_NODE: Final = 75
"""Clients that the HorizontalPodAutoscaler wants on each node."""
WINDOW_S: Final = 8
"""How long it has to have wanted fewer nodes."""
LOOKED_S: Final = 5.0
"""Time in which the operator and the HorizontalPodAutoscaler both have looked."""
FOR_THREE: Final = 210
"""Clients for which it wants 3 nodes, and the operator lets none of them go."""


# --- kubectl, and whoever writes the scale subresource --------------------------------------------


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
    """Write the scale subresource, as a program does."""
    patch = json.dumps({"spec": {"replicas": replicas}})
    where = ("patch", "rtc", scaled.name, "--namespace", scaled.namespace, "--subresource=scale")
    scaled.cluster.kubectl(*where, "--type=merge", f"--patch={patch}")


async def test_others_scale_it(scaled: RealtimeCluster) -> None:
    """Whoever scales up is heard at once; whoever scales down waits at the gates."""
    cluster = scaled.cluster
    await asyncio.to_thread(scaled.change, autoscaling={"mode": "External"})
    manifest = await asyncio.to_thread(old_file, scaled)
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
    assert watch.numbers[-3:] == [4, 3, 2]
    assert watch.most_at_once == 1
    assert traffic.worst() == (0, 0, 0)


# --- a HorizontalPodAutoscaler --------------------------------------------------------------------


class Autoscaler:
    """A HorizontalPodAutoscaler of the RealtimeCluster."""

    def __init__(self, cluster: Cluster) -> None:
        """Not there before `want`."""
        self._cluster = cluster

    def want(self, per_node: int) -> None:
        """Want so many clients on each node; the bounds are those of the RealtimeCluster."""
        metric = {"name": METRIC, "selector": {"matchLabels": {"cluster": NAME}}}
        target = {"type": "AverageValue", "averageValue": str(per_node)}
        kind = {"apiVersion": "realtimecluster.dev/v1alpha1", "kind": "RealtimeCluster"}
        self._cluster.apply(
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": NAME, "namespace": NAMESPACE},
                "spec": {
                    "scaleTargetRef": {**kind, "name": NAME},
                    "minReplicas": AUTOSCALING["minReplicas"],
                    "maxReplicas": AUTOSCALING["maxReplicas"],
                    "behavior": {"scaleDown": {"stabilizationWindowSeconds": WINDOW_S}},
                    "metrics": [
                        {"type": "External", "external": {"metric": metric, "target": target}}
                    ],
                },
            }
        )

    def active(self) -> tuple[str, str]:
        """Status and reason of its condition ScalingActive: whether it has its metric."""
        status = self._cluster.get("hpa", NAME, NAMESPACE).get("status", {})
        found = [
            (each["status"], each["reason"])
            for each in status.get("conditions", ())
            if each["type"] == "ScalingActive"
        ]
        return found[0] if found else ("Unknown", "")

    def delete(self) -> None:
        """Take it away."""
        where = ("--namespace", NAMESPACE, "--ignore-not-found")
        self._cluster.kubectl("delete", "hpa", NAME, *where)


@pytest.fixture
async def metrics(installed: Installed) -> AsyncIterator[ExternalMetrics]:
    """The operator's metrics, as the metrics API of Kubernetes."""
    cluster = installed.cluster
    require(cluster.lab is not None, "run these tests in the lab, which reaches this machine")
    addresses = await asyncio.to_thread(operator_addresses, cluster)
    sources = [f"http://{address}:{METRICS_PORT}/metrics" for address in addresses]
    async with external_metrics(cluster, NAMESPACE, sources) as metrics:
        yield metrics


@pytest.fixture
async def hpa(scaled: RealtimeCluster, metrics: ExternalMetrics) -> AsyncIterator[Autoscaler]:
    """A HorizontalPodAutoscaler that has its metric, and nothing to change yet."""
    await asyncio.to_thread(scaled.change, autoscaling={"mode": "External"})
    made = Autoscaler(scaled.cluster)
    await asyncio.to_thread(made.want, PER_NODE)
    try:
        has_metric = ("True", "ValidMetricFound")
        await until(lambda: made.active() == has_metric, within_s=60)
        assert metrics.answers > 0
        yield made
    finally:
        await asyncio.to_thread(made.delete)


@pytest.mark.usefixtures("hpa")
async def test_an_hpa_scales_it_by_its_demand(scaled: RealtimeCluster) -> None:
    """Clients come: nodes are added. Clients go: the emptiest drains, its own come back once."""
    watch = Watch(scaled)
    async with scaled.traffic(140, PER_S) as traffic:
        came = time.monotonic()
        await traffic.join(100)
        assert await decided_after_s(scaled, 4, came) <= DECIDED_S
        await until(lambda: scaled.is_settled_at(4), within_s=SETTLED_S)
        logger.info("4 nodes accepted after %.1f s", time.monotonic() - came)
        await traffic.join(60)  # some of them to the nodes that are new
        await traffic.leave(300 - FOR_THREE, oldest=True)
        left = time.monotonic()
        await until(lambda: sum(scaled.clients().values()) == FOR_THREE, within_s=10)
        before = await asyncio.to_thread(scaled.clients)
        assert await decided_after_s(scaled, 3, left) >= WINDOW_S - 2
        await until(lambda: scaled.is_settled_at(3), within_s=SETTLED_S, meanwhile=watch.look)
        logger.info("3 nodes were left after %.1f s", time.monotonic() - left)
        back_at = time.monotonic() + WINDOW_S + LOOKED_S
        await until(lambda: time.monotonic() > back_at, within_s=60, meanwhile=watch.look)
        (gone,) = before.keys() - await asyncio.to_thread(scaled.names)
        await traffic.settle()
    assert (await asyncio.to_thread(scaled.resource))["spec"]["replicas"] == 3
    assert watch.numbers == [3]
    assert before[gone] == min(before.values()) > 0
    assert traffic.reconnects() == {0: FOR_THREE - before[gone], 1: before[gone]}
    assert traffic.worst() == (0, 0, 0)


async def test_what_an_hpa_asks_for_passes_the_gates(
    scaled: RealtimeCluster, hpa: Autoscaler
) -> None:
    """It wants more clients on a node than those that stay may get: as many nodes stay."""
    watch = Watch(scaled)

    def is_refused() -> bool:
        found = scaled.scaling()
        return bool(
            scaled.resource()["spec"]["replicas"] == found["rawDesired"] == 2
            and found["limitedBy"] == "Capacity"
        )

    async with scaled.traffic(FOR_THREE, PER_S) as traffic:
        await until(lambda: scaled.is_settled_at(3), within_s=SETTLED_S)
        await asyncio.to_thread(hpa.want, 150)
        await until(is_refused, within_s=WINDOW_S + 30, meanwhile=watch.look)
        back_at = time.monotonic() + WINDOW_S
        await until(lambda: time.monotonic() > back_at, within_s=60, meanwhile=watch.look)
        assert conditions(scaled, "ScalingLimited") == [("True", "Capacity")]
        assert watch.numbers == [3]
        assert set(traffic.reconnects()) == {0}
        await traffic.leave(FOR_THREE - FEW)
        await until(lambda: scaled.is_settled_at(2), within_s=SETTLED_S, meanwhile=watch.look)
        await traffic.settle()
    assert watch.numbers == [3, 2]
    assert max(traffic.reconnects()) <= 1
    assert traffic.worst() == (0, 0, 0)


async def test_an_hpa_without_its_metric_changes_nothing(
    scaled: RealtimeCluster, hpa: Autoscaler, metrics: ExternalMetrics
) -> None:
    """Nobody tells it the demand: as many nodes stay, though fewer were enough; later one goes."""
    watch = Watch(scaled)
    async with scaled.traffic(FOR_THREE, PER_S) as traffic:
        await until(lambda: scaled.is_settled_at(3), within_s=SETTLED_S)
        metrics.is_mute = True
        await traffic.leave(FOR_THREE - FEW)
        missing = ("False", "FailedGetExternalMetric")
        await until(lambda: hpa.active() == missing, within_s=30, meanwhile=watch.look)
        back_at = time.monotonic() + WINDOW_S + LOOKED_S
        await until(lambda: time.monotonic() > back_at, within_s=60, meanwhile=watch.look)
        assert (await asyncio.to_thread(scaled.resource))["spec"]["replicas"] == 3
        assert watch.numbers == [3]
        metrics.is_mute = False
        await until(lambda: scaled.is_settled_at(2), within_s=SETTLED_S, meanwhile=watch.look)
        await traffic.settle()
    assert watch.numbers == [3, 2]
    assert max(traffic.reconnects()) <= 1
    assert traffic.worst() == (0, 0, 0)
