"""`realtime-operator explain`: decisions with their inputs and limits, out of a status alone."""

from __future__ import annotations

from typing import Any

import pytest

from realtime_operator.decide.decision import decide
from realtime_operator.decide.snapshot import NodeLoad, NodeState, Watched
from realtime_operator.errors import SpecError
from realtime_operator.explain import explained
from tests.unit.operator.fleets import NOW, leaving, make_pod, make_snapshot, make_status

METADATA = {"name": "chat", "namespace": "team", "generation": 1}


def make_resource(*pods: Any, spec: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """A RealtimeCluster after a round of the operator with these Pods."""
    snapshot = make_snapshot(*pods, spec=spec, **changed)
    status = decide(snapshot, NOW).status
    return {
        "metadata": METADATA,
        "spec": snapshot.spec.model_dump(by_alias=True, exclude_defaults=True),
        "status": status.model_dump(by_alias=True, exclude_none=True, mode="json"),
    }


def test_a_decision_is_told_with_its_inputs_and_limits() -> None:
    """What was asked for, what kept it from that, and what it was made on."""
    pods = [
        make_pod(f"chat-{n}", status=make_status(900), load=NodeLoad(900, 90.0, 0.4, NOW))
        for n in range(2)
    ]
    spec = {
        "capacity": {"maxConnections": 1000},
        "autoscaling": {"mode": "Internal", "minReplicas": 2, "maxReplicas": 3},
    }
    told = explained(make_resource(*pods, spec=spec, watched=Watched(growth_per_s=2.5)))
    assert told.startswith("team/chat: autoscaling Internal; 3 nodes wanted, 2 accept clients")
    assert "2 to 3 nodes, " in told
    assert "MaxReplicas: " in told
    assert "2 accepting nodes, 1,800 clients, +2.5 per s" in told
    assert "2 fresh, 0 stale, 0 missing" in told


def test_what_goes_on_is_told_with_it() -> None:
    """Conditions that are not as they should be, and drains."""
    drained = leaving("chat-1", NodeState.DRAINING, clients=40)
    told = explained(make_resource(make_pod("chat-0", is_ready=False, status=None), drained))
    assert "Available False: TooFewNodes" in told
    assert "chat-1: Draining, Rollout, 40 clients left" in told
    assert "with autoscaling.mode Disabled replicas counts, 3." in told


def test_a_cluster_nobody_has_looked_at_has_nothing_to_tell() -> None:
    """And it says so, rather than that zero nodes are wanted."""
    told = explained({"metadata": METADATA, "spec": {"image": "node:1"}})
    assert told == "team/chat: no operator has looked at it yet\n"


def test_a_spec_that_has_changed_since_is_told() -> None:
    """The decisions are about the one before."""
    resource = make_resource(make_pod())
    resource["metadata"] = {**METADATA, "generation": 2}
    assert "The spec has changed since the last decision." in explained(resource)


def test_a_resource_of_another_version_is_told() -> None:
    """Without a traceback."""
    with pytest.raises(SpecError, match="team/chat is not of this operator's version"):
        explained({"metadata": METADATA, "spec": {"replicas": "many"}})
