"""A RealtimeCluster as the API server judges it: a mistake is refused with what to do instead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.kubernetes.cluster import CommandFailed
from tests.support.kubernetes.installation import NAMESPACE, Installed

REDIS = {"engine": {"redis": {"address": "redis://redis:6379"}}}


def resource(name: str = "tried", **spec: Any) -> dict[str, Any]:
    """A RealtimeCluster with a spec."""
    return {
        "apiVersion": "realtimecluster.dev/v1alpha1",
        "kind": "RealtimeCluster",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"image": "realtime-node:1", "node": REDIS, **spec},
    }


def try_to_apply(installed: Installed, manifest: dict[str, Any]) -> str:
    """What `kubectl apply` says, as most people call it, without doing it."""
    command = ("apply", "--dry-run=server", "--filename=-")
    return installed.cluster.kubectl(*command, given=json.dumps(manifest))


def test_a_right_one_is_taken(installed: Installed) -> None:
    """The least that a RealtimeCluster needs is an image and where Redis is."""
    assert "created (server dry run)" in try_to_apply(installed, resource())


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (resource("9lives"), "choose a name of at most 40"),
        (resource("n" * 41), "choose a name of at most 40"),
        (resource(node={}), "say where Redis is: set engine.redis.addressSecretRef"),
        (resource(image=""), "spec.image"),
        (resource(replicas=-1), "greater than or equal to 0"),
        (resource(replica=3), 'unknown field "spec.replica"'),
        (
            resource(replicas=2, node={"engine": {"type": "memory"}}),
            "set replicas to 1, or use redis",
        ),
        (resource(node={**REDIS, "chanel": {}}), 'unknown field "spec.node.chanel"'),
        (
            resource(node={**REDIS, "websocket": {"compression_level": 12}}),
            "less than or equal to 9",
        ),
        (resource(update={"mode": "Fast"}), '"OneReconnect", "Frugal"'),
        (resource(update={"maxSurge": 2}), "leave it out, OneReconnect starts all new nodes"),
        (resource(drain={"windowSeconds": 0}), "greater than or equal to 1"),
        (
            resource(autoscaling={"minReplicas": 9, "maxReplicas": 4}),
            "raise maxReplicas, or lower minReplicas",
        ),
        (
            resource(autoscaling={"minReplicas": 2, "headroomNodes": 2}),
            "set minReplicas above headroomNodes",
        ),
        (
            resource(autoscaling={"targetConnectionPercent": 50}),
            "scaleDown.maxUtilizationPercent below targetConnectionPercent",
        ),
        (
            resource(autoscaling={"metrics": {"timeoutSeconds": 10}}),
            "metrics.timeoutSeconds below",
        ),
        (
            resource(autoscaling={"metrics": {"staleAfterSeconds": 5}}),
            "at least metrics.intervalSeconds",
        ),
        (
            resource(autoscaling={"mode": "Internal"}, node={"engine": {"type": "memory"}}),
            "set maxReplicas to 1 instead",
        ),
    ],
    ids=lambda case: None if isinstance(case, dict) else case[:24],
)
def test_a_wrong_one_is_refused(installed: Installed, manifest: dict[str, Any], told: str) -> None:
    """The API server names the field and says what it may hold or what to do."""
    with pytest.raises(CommandFailed) as refused:
        try_to_apply(installed, manifest)
    assert told in str(refused.value)


def test_explain_documents_every_field(installed: Installed) -> None:
    """`kubectl explain` describes the fields in words."""
    said = installed.cluster.kubectl("explain", "realtimecluster.spec.drain")
    assert "windowSeconds" in said
    assert "Time in which a node's clients are sent elsewhere" in " ".join(said.split())
