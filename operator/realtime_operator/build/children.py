"""All objects of a cluster beside its Pods, in the order in which they are needed."""

from __future__ import annotations

from typing import Any

from realtime_operator.build.disruption_budget import disruption_budget
from realtime_operator.build.names import Owner
from realtime_operator.build.network_policy import network_policy
from realtime_operator.build.node_settings import config_map
from realtime_operator.build.service import services
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec


def children(  # noqa: PLR0913 - what the objects are made of
    owner: Owner,
    spec: RealtimeClusterSpec,
    revision: str,
    *,
    pods: int,
    operator_namespace: str,
    grace_s: int | None = None,
) -> list[dict[str, Any]]:
    """Manifests for server-side apply.

    `pods` is how many the disruption budget covers, `grace_s` the least grace period of the Pods
    that run, None if it is the spec's.
    """
    policy = (
        [network_policy(owner, spec, operator_namespace)] if spec.network_policy.enabled else []
    )
    return [
        config_map(owner, spec, revision, grace_s),
        *services(owner, spec),
        disruption_budget(owner, spec, pods),
        *policy,
    ]
