"""The Services: one for clients, one for backends, one through which every node is found.

Clients reach accepting nodes only. Backends publish through any node that is ready, a draining one
included: it takes publications to its end. The headless one lists all, ready or not, for
Prometheus.
"""

from __future__ import annotations

from typing import Any

from realtime_operator.build.names import ACCEPTING, Owner, cluster_labels, metadata
from realtime_operator.build.node_settings import INTERNAL_PORT
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec


def services(owner: Owner, spec: RealtimeClusterSpec) -> list[dict[str, Any]]:
    """All Services of a cluster."""
    every = cluster_labels(owner.name)
    public = _service(owner, "", {**every, ACCEPTING: "true"}, [_port("public", spec.service.port)])
    public["metadata"]["annotations"] = spec.service.annotations
    public["spec"]["type"] = spec.service.type
    api = _service(owner, "-api", every, [_port("internal", INTERNAL_PORT)])
    nodes = _service(owner, "-nodes", every, [_port("internal", INTERNAL_PORT)])
    nodes["spec"] |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return [public, api, nodes]


def _service(
    owner: Owner, ending: str, selector: dict[str, str], ports: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(owner, owner.name + ending, "service"),
        "spec": {"selector": selector, "ports": ports},
    }


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "port": number, "targetPort": name, "protocol": "TCP"}
