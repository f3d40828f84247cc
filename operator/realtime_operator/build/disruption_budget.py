"""The PodDisruptionBudget: Kubernetes evicts one node at a time, cordoned ones included.

During a rollout the cordoned Pods hold the clients, so the budget covers all Pods of the cluster
but those that cannot start (`decide.supply.kept_from_eviction`), by a number that the operator
keeps: a percentage would need a controller that can be scaled.
"""

from __future__ import annotations

from typing import Any

from realtime_operator.build.names import Owner, cluster_labels, metadata
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec


def disruption_budget(owner: Owner, spec: RealtimeClusterSpec, pods: int) -> dict[str, Any]:
    """The budget over `pods` Pods. One that is not ready may always be evicted."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(owner, owner.name, "disruption-budget"),
        "spec": {
            "minAvailable": max(0, pods - spec.disruption_budget.max_unavailable),
            "selector": {"matchLabels": cluster_labels(owner.name)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
