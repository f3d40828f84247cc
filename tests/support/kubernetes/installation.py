"""The two charts as the tests install them: names, values, and what became of them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from tests.support.kubernetes.cluster import Cluster

OPERATOR: Final = "realtime-operator"
OPERATOR_NAMESPACE: Final = "realtime-system"
CLUSTER: Final = "demo"
NAMESPACE: Final = "realtime-demo"
NODES: Final = f"realtimecluster.dev/cluster={CLUSTER},app.kubernetes.io/component=node"
"""Selects the Pods of the cluster."""
OPERATORS: Final = f"app.kubernetes.io/component=operator,app.kubernetes.io/instance={OPERATOR}"
"""Selects the Pods of the operator."""
METRICS_PORT: Final = 8080
"""Of the operator's Pods."""
AVAILABLE_S: Final = 60.0
"""How long a fresh cluster may take from `helm install` until clients can connect."""


class Installed(NamedTuple):
    """A RealtimeCluster made by the charts."""

    cluster: Cluster
    available_after_s: float
    """From the first `helm install` until the condition Available held."""

    def nodes(self) -> list[dict[str, Any]]:
        """The Pods of the nodes."""
        return self.cluster.find("pods", NAMESPACE, NODES)


def image_values(image: str) -> dict[str, str]:
    """An image as both charts are told it; the machines have it already."""
    repository, _, tag = image.rpartition(":")
    return {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"}


def operator_values(cluster: Cluster, **more: Any) -> dict[str, Any]:
    """Values of an operator of the images under test."""
    return {"image": image_values(cluster.images.operator), "resources": {}, **more}


def operator_addresses(cluster: Cluster) -> list[str]:
    """The IP addresses of the operator's Pods."""
    pods = cluster.find("pods", OPERATOR_NAMESPACE, OPERATORS)
    return [pod["status"]["podIP"] for pod in pods]


def cluster_values(cluster: Cluster, **more: Any) -> dict[str, Any]:
    """Values of a small RealtimeCluster with a Redis of its own that keeps nothing."""
    return {
        "image": image_values(cluster.images.node),
        "replicas": 2,
        "valkey": {
            "enabled": True,
            "image": image_values(cluster.images.redis),
            "command": "redis-server",
            "persistence": {"enabled": False},
            "resources": {"limits": {"memory": "512Mi"}},
        },
        "template": {"resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}},
        "drain": {"propagationSeconds": 1, "windowSeconds": 5},
        "update": {"minReadySeconds": 0},
        **more,
    }
