"""The number of nodes comes from outside, through the scale subresource."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.realtime_cluster import RealtimeCluster, until
from tests.support.kubernetes.scaling import (
    DECIDED_S,
    FEW,
    NAME,
    NAMESPACE,
    PER_S,
    Watch,
    conditions,
    decided_after_s,
)


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
