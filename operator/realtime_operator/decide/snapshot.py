"""What the operator sees of one cluster in one moment; everything is decided on this alone.

Times are seconds since the epoch by the operator's own clock (`observe.sightings` puts there what
other machines tell), so that their differences are durations. What a node says may be missing:
`status` is then None, and every rule says what that means for it.

What is made anew for each Pod in each round is a msgspec `Struct`: a frozen dataclass takes ten
times as long to make, and there may be a thousand Pods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Final, Self

from msgspec import Struct
from msgspec.structs import replace

from realtime_operator.build import names
from realtime_operator.build.names import Owner
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec, SecretKeyRef
from realtime_operator.crd.status import RealtimeClusterStatus


class NodeState(StrEnum):
    """Where a node is in its life; `drain` has the table."""

    PENDING = "Pending"
    WARMING = "Warming"
    ACTIVE = "Active"
    CORDONED = "Cordoned"
    DRAINING = "Draining"
    FORCING = "Forcing"
    DRAINED = "Drained"
    TERMINATING = "Terminating"


RECORDED: Final = frozenset(
    {NodeState.CORDONED, NodeState.DRAINING, NodeState.FORCING, NodeState.DRAINED}
)
"""States that stand in a record; the others follow from the Pod itself."""


class DrainReason(StrEnum):
    """Why a node has to go; the first in this order wins."""

    EVICTION = "Eviction"
    """Kubernetes, or somebody, has deleted its Pod: the node drains itself."""
    NODE_CORDONED = "NodeCordoned"
    """Its Kubernetes node takes no Pods any more."""
    DELETE = "Delete"
    """The whole cluster goes."""
    REFUSES = "RefusesClients"
    """It lets nobody in, and does not go back to that when it is told to."""
    ROLLOUT = "Rollout"
    """It is of an old revision."""
    SCALE_DOWN = "ScaleDown"
    """There are more than are wanted."""

    @property
    def rank(self) -> int:
        """0 is the most urgent."""
        return _RANKS[self]


_RANKS: Final = {reason: rank for rank, reason in enumerate(DrainReason)}


class NodeStatus(Struct, frozen=True):
    """What a node said of itself."""

    boot_id: str
    num_clients: int
    accepting: bool = True
    backplane_available: bool = True
    drain_phase: str = "serving"
    eta_s: float | None = None
    budget_per_s: float | None = None
    """The reconnect budget of one node, as it knows it; None if it knows of none."""
    quiet_s: float = 0.0
    """For how long it has let in nobody, as far as the operator has watched."""
    phase_s: float = 0.0
    """For how long `drain_phase` has been what it is, as far as the operator has watched."""
    shed_remaining: int | None = None
    """Clients that it still sends elsewhere while it serves; None if it does not."""


class NodeLoad(Struct, frozen=True):
    """What a node carries, by its last answer that made sense."""

    clients: int
    deliveries_per_s: float | None = None
    """Publications written to clients; None until two answers of one boot are known."""
    busy: float | None = None
    """Share of its time that its event loop works, 0 to 1; None while that is not known."""
    seen_at: float = 0.0
    """When it answered."""
    elsewhere: float = 0.0
    """Share of its clients, 0 to 1, that are on other nodes by now, as far as it seems: it has
    fallen silent, and as many have come to the others."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What was found out about the whole cluster by watching it; all of it may be lost.

    With nothing known no growth is counted on, and no node is taken away.
    """

    growth_per_s: float | None = None
    """Clients that come more than go, per second, smoothed; those whom our own drains and sheds, or
    a node that was lost, have sent are not counted again when they are back."""
    since: float | None = None
    """Since when the load of all nodes has been known without a gap."""
    most_needed: int | None = None
    """The most nodes that were needed in any round of the stabilization window."""
    shed_in_vain: frozenset[str] = frozenset()
    """Pods whose clients came back to them when they were sent elsewhere lately."""
    drained_at: float | None = None
    """When drains were last seen to have closed clients; None if they were not."""


@dataclass(frozen=True, slots=True)
class DrainRecord:
    """A drain as its Pod's annotations tell it, so that any operator can go on with it."""

    id: str
    state: NodeState
    reason: DrainReason
    boot_id: str
    """Of the node that was cordoned: with another its clients are gone. Empty: it did not
    answer."""
    cordoned_at: float
    deadline: float | None = None
    """When clients are forced; None while none are sent away yet."""

    @classmethod
    def read(cls, annotations: Mapping[str, str]) -> Self | None:
        """The record in a Pod's annotations; None if there is none, or none that makes sense."""
        try:
            deadline = annotations.get(names.DRAIN_DEADLINE)
            record = cls(
                id=annotations[names.DRAIN_ID],
                state=NodeState(annotations[names.DRAIN_STATE]),
                reason=DrainReason(annotations[names.DRAIN_REASON]),
                boot_id=annotations.get(names.DRAIN_BOOT_ID, ""),
                cordoned_at=float(annotations[names.DRAIN_CORDONED_AT]),
                deadline=float(deadline) if deadline else None,
            )
        except (KeyError, ValueError):
            return None
        is_sound = math.isfinite(record.cordoned_at) and math.isfinite(record.deadline or 0.0)
        return record if is_sound and record.state in RECORDED else None

    def annotations(self) -> dict[str, str | None]:
        """The annotations that hold this record."""
        return {
            names.DRAIN_ID: self.id,
            names.DRAIN_STATE: self.state,
            names.DRAIN_REASON: self.reason,
            names.DRAIN_BOOT_ID: self.boot_id,
            names.DRAIN_CORDONED_AT: f"{self.cordoned_at:.3f}",
            names.DRAIN_DEADLINE: None if self.deadline is None else f"{self.deadline:.3f}",
        }


NO_RECORD: Mapping[str, None] = dict.fromkeys(
    (
        names.DRAIN_ID,
        names.DRAIN_STATE,
        names.DRAIN_REASON,
        names.DRAIN_BOOT_ID,
        names.DRAIN_CORDONED_AT,
        names.DRAIN_DEADLINE,
    )
)
"""Annotations that take a record away."""


class Pod(Struct, frozen=True):
    """One Pod of the cluster and the node in it."""

    name: str
    uid: str
    revision: str
    created_at: float
    version: str = ""
    """Its resourceVersion: a patch is made of the Pod as it was seen, and no other."""
    is_owned: bool = True
    """Whether the RealtimeCluster is its controller; False: nobody is, and it is taken in."""
    ip: str = ""
    kubernetes_node: str = ""
    is_ready: bool = False
    ready_changed_at: float = 0.0
    """When `is_ready` last changed."""
    has_failed: bool = False
    """Whether Kubernetes has given it up: it will not run again."""
    problem: str = ""
    """Why its container does not run, in Kubernetes' words."""
    deleted_until: float | None = None
    """If it is being deleted: when its grace ends."""
    deletion_grace_s: float = 0.0
    """The grace that it was deleted with."""
    is_accepting: bool = False
    """Whether it is labelled for the public Service."""
    active_since: float | None = None
    """When it first became active."""
    reopened_at: float = 0.0
    """When its last drain was called off; 0 if none was."""
    drain: DrainRecord | None = None
    grace_s: int | None = None
    """What its manifest gives it to end; None if that does not say."""
    admin_key: SecretKeyRef | None = None
    """Where the key is that its node was started with; None if its manifest does not say."""
    status: NodeStatus | None = None
    """What its node said in this round; None if it did not, or nothing that makes sense."""
    load: NodeLoad | None = None
    """What its node carries, by this answer or an earlier one; None if there was none."""

    def answered(self, status: NodeStatus | None, load: NodeLoad | None) -> Self:
        """This Pod with what its node said, and carries."""
        return replace(self, status=status, load=load)

    @property
    def clients(self) -> int | None:
        """Clients that are connected, as far as is known."""
        return self.status.num_clients if self.status else None

    @property
    def is_deleted(self) -> bool:
        """Whether it is on its way out for good."""
        return self.deleted_until is not None

    @property
    def may_serve(self) -> bool:
        """Whether clients may be on its node: they could come to it, and its container runs."""
        return (self.is_ready or self.active_since is not None) and not (
            self.problem or self.has_failed or self.is_deleted
        )


@dataclass(frozen=True, slots=True)
class KubernetesNode:
    """A machine."""

    name: str
    is_cordoned: bool = False
    zone: str = ""


@dataclass(frozen=True)
class Snapshot:
    """Everything that a decision about one cluster may depend on, but for the time."""

    owner: Owner
    generation: int
    spec: RealtimeClusterSpec
    status: RealtimeClusterStatus = field(default_factory=RealtimeClusterStatus)
    """As it was last written."""
    pods: tuple[Pod, ...] = ()
    kubernetes_nodes: Mapping[str, KubernetesNode] = field(default_factory=dict)
    """By name; empty where the operator may not look at them."""
    deleted_at: float | None = None
    """When somebody deleted the RealtimeCluster."""
    has_finalizer: bool = False
    ends_with_namespace: bool = False
    """Whether it was deleted with its namespace, of which Kubernetes deletes all Pods itself."""
    settings_revisions: frozenset[str] = frozenset()
    """Revisions for which there is a ConfigMap."""
    policies: Mapping[str, str] = field(default_factory=dict)
    """NetworkPolicies that the operator made, by name, with their uid; only looked for where the
    spec wants none."""
    refusals: tuple[str, ...] = ()
    """What the API server would not take in the last round, in its words."""
    contested: tuple[str, ...] = ()
    """Objects that do not stay as they were written, and why, for people."""
    taken_names: frozenset[str] = frozenset()
    """Names of Pods that could not be created in the last round, since there are some already."""
    operator_namespace: str = "default"
    watched: Watched = field(default_factory=Watched)

    @cached_property
    def by_name(self) -> Mapping[str, Pod]:
        """The Pods by name."""
        return {pod.name: pod for pod in self.pods}

    @property
    def strangers(self) -> list[str]:
        """Pods in the way of ours: they have such a name, and are not the cluster's."""
        return sorted(self.taken_names - self.by_name.keys())

    def zone_of(self, pod: Pod) -> str:
        """The zone that a Pod runs in; empty if it is not known."""
        node = self.kubernetes_nodes.get(pod.kubernetes_node)
        return node.zone if node else ""

    def is_on_cordoned_node(self, pod: Pod) -> bool:
        """Whether a Pod's machine takes no Pods any more."""
        node = self.kubernetes_nodes.get(pod.kubernetes_node)
        return node is not None and node.is_cordoned
