"""The nodes of a snapshot, with how many of them there should be."""

from __future__ import annotations

from typing import NamedTuple

from realtime_operator.decide.autoscaling import autoscale
from realtime_operator.decide.nodes import Nodes
from realtime_operator.decide.replicas import floor_of
from realtime_operator.decide.snapshot import Snapshot


class Desired(NamedTuple):
    """A number of nodes, and why."""

    nodes: int
    reason: str


class Fleet(Nodes):
    """A reading of one snapshot at one time; nothing in it changes."""

    def __init__(self, snapshot: Snapshot, now: float) -> None:
        """Read a snapshot."""
        super().__init__(snapshot, now)
        self.scaling = autoscale(self)
        self.desired = Desired(self.scaling.desired, self.scaling.reason)
        """How many nodes should take clients: the one place that everything else asks."""
        self.floor = floor_of(snapshot, self.desired.nodes)
