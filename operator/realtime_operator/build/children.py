"""All objects of a cluster beside its Pods, in the order in which they are needed."""

from __future__ import annotations

from typing import Any

from realtime_operator.build.disruption_budget import disruption_budget
from realtime_operator.build.names import Owner
from realtime_operator.build.network_policy import network_policy
from realtime_operator.build.node_settings import config_map
from realtime_operator.build.service import services
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec


def children(
    owner: Owner, spec: RealtimeClusterSpec, revision: str, *, pods: int, operator_namespace: str
) -> list[dict[str, Any]]:
    """Manifests for server-side apply; `pods` is how many the disruption budget covers."""
    policy = (
        [network_policy(owner, spec, operator_namespace)] if spec.network_policy.enabled else []
    )
    return [
        config_map(owner, spec, revision),
        *services(owner, spec),
        disruption_budget(owner, spec, pods),
        *policy,
    ]
