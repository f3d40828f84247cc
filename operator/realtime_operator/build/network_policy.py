"""The NetworkPolicy: everybody reaches the public port, few the internal one.

Where the network enforces none, the nodes' admin and API keys are what protects the internal port.
"""

from __future__ import annotations

from typing import Any

from realtime_operator.build.names import API_CLIENT, FIELD_MANAGER, Owner, cluster_labels, metadata
from realtime_operator.build.node_settings import INTERNAL_PORT, PUBLIC_PORT
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec


def network_policy(
    owner: Owner, spec: RealtimeClusterSpec, operator_namespace: str
) -> dict[str, Any]:
    """The policy of a cluster's Pods."""
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": operator_namespace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": FIELD_MANAGER}},
    }
    backends = {"podSelector": {"matchLabels": {API_CLIENT: "true"}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(owner, owner.name, "network-policy"),
        "spec": {
            "podSelector": {"matchLabels": cluster_labels(owner.name)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"ports": [{"port": PUBLIC_PORT, "protocol": "TCP"}]},
                {
                    "ports": [{"port": INTERNAL_PORT, "protocol": "TCP"}],
                    "from": [operator, backends, *spec.network_policy.internal_from],
                },
            ],
        },
    }
