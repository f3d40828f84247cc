"""Snapshots for tests of single decisions: Pods in a state, and the rest as it usually is."""

from __future__ import annotations

from typing import Any

from realtime_operator.build.revision import revision_of
from realtime_operator.decide.fleet import Fleet
from realtime_operator.decide.snapshot import (
    DrainReason,
    DrainRecord,
    NodeLoad,
    NodeState,
    NodeStatus,
    Pod,
    Snapshot,
    Watched,
)
from tests.support.simulated_cluster import OWNER, START, make_spec

NOW = START
SPEC = make_spec()
NEW = revision_of(SPEC)
OLD = "0123456789"


def make_status(clients: int = 0, **changed: Any) -> NodeStatus:
    """What a node says that serves, quiet for long."""
    said: dict[str, Any] = {"boot_id": "boot", "num_clients": clients, "quiet_s": 60.0}
    return NodeStatus(**{**said, **changed})


def make_record(state: NodeState, reason: DrainReason = DrainReason.ROLLOUT, **changed: Any) -> Any:
    """A drain that has propagated, with a deadline to come."""
    record: dict[str, Any] = {"boot_id": "boot", "cordoned_at": NOW - 30}
    if state in (NodeState.DRAINING, NodeState.FORCING):
        record["deadline"] = NOW + 30
    return DrainRecord(id="drain", state=state, reason=reason, **{**record, **changed})


def make_pod(name: str = "chat-0", **changed: Any) -> Pod:
    """An active, accepting node of the spec's revision with no client."""
    pod: dict[str, Any] = {
        "uid": f"uid-{name}",
        "revision": NEW,
        "created_at": NOW - 600,
        "ip": "192.0.2.1",
        "is_ready": True,
        "ready_changed_at": NOW - 590,
        "is_accepting": True,
        "active_since": NOW - 580,
        "status": make_status(),
    }
    return Pod(name=name, **{**pod, **changed})


def loaded(
    name: str,
    clients: int = 0,
    *,
    deliveries: float | None = 0.0,
    busy: float | None = 0.0,
    **changed: Any,
) -> Pod:
    """An active node that has just said what it carries."""
    load = NodeLoad(clients, deliveries, busy, seen_at=NOW)
    status = make_status(clients, boot_id=f"boot-{name}")
    return make_pod(name, **{"status": status, "load": load, **changed})


def fleet_of(count: int, clients: int = 0, **changed: Any) -> list[Pod]:
    """So many loaded nodes with as many clients each."""
    return [loaded(f"chat-{number}", clients, **changed) for number in range(count)]


LONG_WATCHED = Watched(growth_per_s=0.0, since=NOW - 9999, most_needed=1)


def leaving(
    name: str,
    state: NodeState,
    *,
    clients: int = 0,
    reason: DrainReason = DrainReason.ROLLOUT,
    **changed: Any,
) -> Pod:
    """A node on its way out, which was told so."""
    phase = {"Cordoned": "cordoned", "Drained": "drained"}.get(state, state.lower())
    pod: dict[str, Any] = {
        "drain": make_record(state, reason),
        "is_accepting": False,
        "status": make_status(clients, accepting=False, drain_phase=phase),
    }
    return make_pod(name, **{**pod, **changed})


def make_snapshot(*pods: Pod, spec: dict[str, Any] | None = None, **changed: Any) -> Snapshot:
    """A cluster with these Pods; `spec` replaces parts of the usual one."""
    return Snapshot(OWNER, 1, make_spec(**(spec or {})), pods=pods, **changed)


def make_fleet(*pods: Pod, **changed: Any) -> Fleet:
    """A fleet with these Pods."""
    return Fleet(make_snapshot(*pods, **changed), NOW)
