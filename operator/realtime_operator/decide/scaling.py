"""What a decision about the number of nodes is: a value that carries all that it was made on.

`autoscaling` makes it, `replicas` hands its number to everything else, `status` writes it down
compactly. Whoever wants to know why finds the inputs here and every limit that applied, not only
the one that won.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Limit(StrEnum):
    """What may keep the number of nodes from being what is asked for."""

    PAUSED = "Paused"
    """spec.paused."""
    MAX_REPLICAS = "MaxReplicas"
    MIN_REPLICAS = "MinReplicas"
    SCALE_UP_STEP = "ScaleUpStep"
    """So many nodes were added in this period already."""
    METRICS = "MetricsUnavailable"
    """The load of a node is not known: none is taken away."""
    ROLLOUT = "RolloutUnderWay"
    DRAIN = "DrainUnderWay"
    """One node goes at a time."""
    REBALANCE = "RebalanceUnderWay"
    CAPACITY = "Capacity"
    """The others could not carry the load and lose a node."""
    STABILIZATION = "Stabilization"
    """As many nodes were needed a while ago, or it is not known how many were."""


@dataclass(frozen=True, slots=True)
class Limitation:
    """A limit that applied, and why."""

    limit: Limit
    reason: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """The load of a cluster, and how well it is known."""

    nodes: int = 0
    """Nodes that accept clients."""
    connections: int = 0
    """Of all nodes, those that drain included."""
    growth_per_s: float | None = None
    lead_s: float = 0.0
    """How far growth is looked ahead."""
    demand: float = 0.0
    """Connections to reckon with: those there are and those that come within the lead."""
    deliveries_per_s: float = 0.0
    busy: float = 0.0
    """Work of all event loops: 1.5 are one and a half that never rest."""
    fresh: int = 0
    """Ready nodes that answered in this round."""
    stale: int = 0
    """Ready nodes that did not, but within metrics.staleAfterSeconds: their last answer counts."""
    is_moving: bool = False
    """Whether clients are being moved, by a rollout or drains, or were until just now: loops do, or
    did while it was measured, more than the load asks."""
    missing: int = 0
    """Ready nodes of which nothing is known for longer; what they had last is counted on."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many nodes there should be, and why so many."""

    mode: str
    """Disabled, Internal or External."""
    at: float
    """Seconds since the epoch."""
    previous: int
    """Nodes wanted before this decision."""
    desired: int
    """Nodes wanted from now on."""
    raw: int
    """Nodes that the load (Internal) or spec.replicas ask for, before any limit."""
    reason: str
    """What the number comes from, in words."""
    limits: tuple[Limitation, ...] = ()
    """Every limit that applied; the first is the one that counts."""
    inputs: Inputs = Inputs()
    needed_to_shrink: int | None = None
    """Nodes that would be enough at scaleDown.maxUtilizationPercent: with more, one may go. None:
    the load of a node is not known."""

    @property
    def limited_by(self) -> str:
        """The limit that counts; empty if there is none."""
        return self.limits[0].limit if self.limits else ""
