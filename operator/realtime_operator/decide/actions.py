"""What a decision asks for, as data: `apply.executor` does it, and the tests' simulator too.

Every action can be repeated, and lost: the next round sees what is there and asks again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ApplyChild:
    """Make an object be as its manifest says (server-side apply)."""

    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeleteSettings:
    """Delete the ConfigMap of a revision of which no Pod is left."""

    revision: str


@dataclass(frozen=True, slots=True)
class DeletePolicy:
    """Delete exactly this NetworkPolicy of ours: the spec wants none any more."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class CreatePod:
    """Create a Pod; that it is there already is fine."""

    name: str
    revision: str
    manifest: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete exactly this Pod, not another one that has its name by now."""

    name: str
    uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class AdoptPod:
    """Become the controller of a Pod that has none."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class PatchPod:
    """Set labels and annotations of exactly this Pod; None takes one away."""

    name: str
    uid: str
    labels: Mapping[str, str | None] = field(default_factory=dict)
    annotations: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CordonNode:
    """Tell a node to let in nobody."""

    name: str
    ip: str
    reason: str


@dataclass(frozen=True, slots=True)
class DrainNode:
    """Tell a node to send its clients away, at most `rate_per_s`, within `window_s`."""

    name: str
    ip: str
    reason: str
    rate_per_s: float
    window_s: float
    deadline_s: float
    """From now: then what is left is forced."""
    shut_for_s: float = 0.0
    """How long ago its door was shut, from when a node counts its deadline: in a rollout that may
    be long ago, and a node that is late from the start hurries."""


@dataclass(frozen=True, slots=True)
class AbortDrain:
    """Tell a node to go on as if nothing had been."""

    name: str
    ip: str
    reason: str


@dataclass(frozen=True, slots=True)
class ShedNode:
    """Tell a node to send so many of its clients elsewhere and go on serving; 0 ends that."""

    name: str
    ip: str
    reason: str
    count: int
    rate_per_s: float


@dataclass(frozen=True, slots=True)
class SetBudget:
    """Tell the cluster its reconnect budget, through one of its nodes."""

    name: str
    ip: str
    connections_per_second_per_node: int


@dataclass(frozen=True, slots=True)
class SetFinalizer:
    """Keep the RealtimeCluster while its nodes drain, or let it go."""

    present: bool


Action = (
    ApplyChild
    | DeleteSettings
    | DeletePolicy
    | CreatePod
    | DeletePod
    | AdoptPod
    | PatchPod
    | CordonNode
    | DrainNode
    | AbortDrain
    | ShedNode
    | SetBudget
    | SetFinalizer
)
