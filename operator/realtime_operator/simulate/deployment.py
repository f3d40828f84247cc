"""The rival: the same nodes as a Deployment with a HorizontalPodAutoscaler, all by their defaults.

The Deployment's controller has a ReplicaSet for each image: a new one grows within maxSurge, the
old one shrinks as far as maxUnavailable lets it. Who has to go is chosen as a ReplicaSet chooses:
not ready first, then the youngest. A Pod that is deleted closes its clients at once: nothing here
knows of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from random import Random
from typing import Final

from realtime_operator.simulate.assumptions import Assumptions
from realtime_operator.simulate.crowd import Crowd
from realtime_operator.simulate.hpa import SYNC_S, Autoscaler
from realtime_operator.simulate.nodes import Node
from realtime_operator.simulate.sampling import start_s
from realtime_operator.simulate.world import Census, Life, Losses, Timers, emptiest_zone

SURGE: Final = 0.25
UNAVAILABLE: Final = 0.25
"""RollingUpdate's defaults: the first is rounded up, the second down."""
ENDS_AFTER_S: Final = 1.0
"""How long a Pod is there after its clients were closed."""


@dataclass(eq=False, slots=True)
class Replica:
    """A Pod of the Deployment."""

    node: Node
    image: int
    created_at: float
    is_ready: bool = False
    is_deleted: bool = False
    is_lost: bool = False
    answers: bool = True


class Deployment:
    """Pods, the controllers of Deployment and ReplicaSets, and the autoscaler."""

    def __init__(  # noqa: PLR0913 - keywords
        self,
        replicas: int,
        crowd: Crowd,
        assumptions: Assumptions,
        random: Random,
        *,
        autoscaler: Autoscaler | None,
        now: float,
    ) -> None:
        """Begin with so many nodes that serve; without an autoscaler their number stays."""
        self.replicas = replicas
        self._crowd = crowd
        self._assumptions = assumptions
        self._random = random
        self._autoscaler = autoscaler
        self._members: list[Replica] = []
        self._timers: Timers[tuple[Replica, Life]] = Timers()
        self._lost_zones: frozenset[str] = frozenset()
        self._image = 0
        self._now = now
        self._synced_at = now
        self._created = 0
        self._lost = 0
        self._closed = 0
        self._census: Census | None = None
        for _ in range(replicas):
            self._create(ready_in_s=0.0)
        self.advance(now, 1.0)

    # --- what the simulation looks at -------------------------------------------------------

    @property
    def census(self) -> Census:
        """Who is there."""
        if self._census is None:
            self._census = self._count()
        return self._census

    def _count(self) -> Census:
        members = self._members
        accepting = [each.node for each in members if each.is_ready and not each.is_deleted]
        there = [each for each in members if not each.is_lost]
        return Census(
            nodes=[each.node for each in members],
            accepting=accepting,
            pods=len(there),
            leaving=sum(1 for each in there if each.is_deleted),
            is_settled=len(members) == len(accepting) == self.replicas
            and all(each.image == self._image for each in members),
            budget_per_s=None,
        )

    # --- what scenarios do ------------------------------------------------------------------

    def change_image(self) -> None:
        """Somebody asks for another image."""
        self._image += 1
        self._census = None

    def lose_machines(self, *, share: float = 0.0, zone: str = "") -> None:
        """Machines are gone, and with them all connections, without a word."""
        self._census = None
        there = [each for each in self._members if not each.is_lost]
        if zone:
            self._lost_zones |= {zone}
            chosen = [each for each in there if each.node.zone == zone]
        else:
            chosen = there[: max(1, round(share * len(there)))]
        for each in chosen:
            each.is_lost, each.answers = True, False
            self._lost += each.node.clients
            self._crowd.drop(each.node)
            self._crowd.lose(each.node, each.node.clients, unnoticed=True)
            each.node.is_up = False
            wait_s = self._assumptions.unreachable_after_s
            self._timers.at(self._now + wait_s, (each, Life.NOT_READY))
            deleted_s = wait_s + self._assumptions.tolerated_by_default_s
            self._timers.at(self._now + deleted_s, (each, Life.DELETED))

    def restore_zone(self, zone: str) -> None:
        """New Pods can be placed there again."""
        self._lost_zones -= {zone}

    def silence(self, share: float) -> None:
        """So many nodes have no metrics; 0: all have again."""
        every = round(1 / share) if share else 0
        for index, each in enumerate(self._members):
            each.answers = not each.is_lost and not (every and index % every == 0)

    # --- time -------------------------------------------------------------------------------

    def advance(self, now: float, passed_s: float) -> Losses:
        """Let Pods start and end, and the controllers have their turn."""
        del passed_s
        self._now = now
        for each, life in self._timers.pop_due(now):
            self._happen(each, life)
        if self._autoscaler and now >= self._synced_at + SYNC_S:
            self._synced_at = now
            self._autoscale(self._autoscaler)
        if self._census is None:  # else nothing has changed
            self._roll()
        losses = Losses(self._closed, self._lost)
        self._closed = self._lost = 0
        return losses

    def _autoscale(self, autoscaler: Autoscaler) -> None:
        living = [each for each in self._members if not each.is_deleted]
        started = [each for each in living if each.is_ready or each.is_lost]
        values = [float(each.node.clients) for each in started if each.answers]
        before = self.replicas
        self.replicas = autoscaler.decide(
            self._now,
            self.replicas,
            values,
            missing=len(started) - len(values),
            starting=len(living) - len(started),
        )
        if self.replicas != before:
            self._census = None

    def _roll(self) -> None:
        """One turn of the Deployment's controller and of its ReplicaSets."""
        living = [each for each in self._members if not each.is_deleted]
        new = [each for each in living if each.image == self._image]
        old = [each for each in living if each.image != self._image]
        surge = ceil(SURGE * self.replicas) if old else 0
        for _ in range(min(self.replicas - len(new), self.replicas + surge - len(living))):
            self._create()
        self._end(new, len(new) - self.replicas)
        if old:
            least = self.replicas - int(UNAVAILABLE * self.replicas)
            available = sum(1 for each in living if each.is_ready)
            broken = [each for each in old if not each.is_ready]
            self._end(broken, len(broken))
            self._end([each for each in old if each.is_ready], available - least)

    def _end(self, replicas: Sequence[Replica], count: int) -> None:
        """Delete so many of these, those first that a ReplicaSet would choose."""
        if count <= 0:
            return
        order = sorted(replicas, key=lambda each: (each.is_ready, -each.created_at))
        for each in order[:count]:
            self._delete(each)

    def _create(self, ready_in_s: float | None = None) -> None:
        counts = Counter(each.node.zone for each in self._members if not each.is_lost)
        zone = emptiest_zone(counts, self._lost_zones)
        if ready_in_s is None:
            ready_in_s = start_s(
                self._random, self._assumptions.pod_start_s, self._assumptions.pod_start_sigma
            )
        node = Node(f"replica-{self._created}", zone)
        replica = Replica(node, self._image, self._now)
        self._created += 1
        self._members.append(replica)
        self._census = None
        self._timers.at(self._now + ready_in_s, (replica, Life.READY))

    def _delete(self, replica: Replica) -> None:
        if replica.is_deleted:
            return
        replica.is_deleted = True
        self._census = None
        if replica.is_lost:
            self._members.remove(replica)
            return
        node = replica.node
        node.is_up = False
        self._crowd.drop(node)
        self._closed += node.clients
        node.closed_total += node.clients
        self._crowd.lose(node, node.clients)
        self._timers.at(self._now + ENDS_AFTER_S, (replica, Life.GONE))

    def _happen(self, replica: Replica, life: Life) -> None:
        self._census = None
        match life:
            case Life.READY if not replica.is_lost and not replica.is_deleted:
                replica.is_ready = replica.node.is_up = True
            case Life.NOT_READY:
                replica.is_ready = False
            case Life.DELETED:
                self._delete(replica)
            case Life.GONE if replica in self._members:
                self._members.remove(replica)
            case _:
                pass
