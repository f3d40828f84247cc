"""The cluster as the operator runs it: its real decisions, on Pods and nodes that are made up.

`advance` turns time: Pods start, machines go, nodes close clients by the one budget. What is to
happen to Pods is decided in `rounds`, by the operator itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Final

from msgspec.structs import replace

from realtime_operator.build import names
from realtime_operator.build.names import Owner
from realtime_operator.build.node_settings import grace_period_s
from realtime_operator.build.revision import revision_of
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec
from realtime_operator.decide.actions import (
    AbortDrain,
    CordonNode,
    CreatePod,
    DeletePod,
    DrainNode,
    PatchPod,
    ShedNode,
)
from realtime_operator.decide.snapshot import DrainRecord, KubernetesNode, Pod
from realtime_operator.simulate.assumptions import Assumptions
from realtime_operator.simulate.budget import ReconnectBudget
from realtime_operator.simulate.crowd import Crowd
from realtime_operator.simulate.nodes import Node, Phase
from realtime_operator.simulate.sampling import start_s
from realtime_operator.simulate.world import ZONES, Census, Life, Losses, Timers, emptiest_zone

OWNER: Final = Owner("simulated", "default", "simulated")
FORCED_WITHIN_S: Final = 5.0
"""In which a node closes those who are left when time is up."""
REMOVED_AFTER_S: Final = 300.0
"""When the Pods of a machine that is gone are forgotten."""

Order = CordonNode | DrainNode | AbortDrain | ShedNode


@dataclass(eq=False, slots=True)
class Member:
    """A Pod, as the API server shows it, and the node in it."""

    pod: Pod
    node: Node
    annotations: dict[str, str]
    rate_per_s: float = 0.0
    forces_at: float | None = None
    owed: float = 0.0
    to_shed: int = 0
    shed_per_s: float = 0.0
    is_lost: bool = False
    """Whether its machine is gone."""
    answers: bool = True
    """Whether it can be asked for its load."""

    @property
    def moves(self) -> bool:
        """Whether it sends clients away."""
        return self.node.phase in (Phase.DRAINING, Phase.FORCING) or self.to_shed > 0


class OperatedCluster:
    """Pods and nodes: `create`, `patch` and others act on them, `advance` lets time pass."""

    def __init__(  # noqa: PLR0913 - the last is a keyword
        self,
        spec: RealtimeClusterSpec,
        nodes: int,
        crowd: Crowd,
        assumptions: Assumptions,
        random: Random,
        *,
        now: float,
    ) -> None:
        """Begin with so many nodes that serve already, and no client."""
        self.spec = spec
        self.generation = 1
        self.members: dict[str, Member] = {}
        self.machines = {zone: KubernetesNode(zone, zone=zone) for zone in ZONES}
        self.is_woken = True
        """Whether an event asks for a round."""
        self._crowd = crowd
        self._assumptions = assumptions
        self._random = random
        self._timers: Timers[tuple[Member, Life]] = Timers()
        self._budget = ReconnectBudget()
        self._lost_zones: frozenset[str] = frozenset()
        self._now = now
        self._uids = 0
        self._lost = 0
        self._accepted = 0
        self._census: Census | None = None
        revision = revision_of(spec)
        for name in names.pod_names(OWNER.name, revision, nodes, ()):
            member = self._add(name, revision, ready_in_s=0.0)
            member.annotations[names.ACTIVE_SINCE] = f"{now:.3f}"
            member.pod = replace(member.pod, active_since=now, is_accepting=True)
        self.advance(now, 1.0)

    # --- what the simulation looks at -------------------------------------------------------

    @property
    def census(self) -> Census:
        """Who is there."""
        if self._census is None:
            self._census = self._count()
        return self._census

    def _count(self) -> Census:
        members = self.members.values()
        revision = revision_of(self.spec)
        accepting = [
            member.node
            for member in members
            if member.pod.is_accepting and member.pod.is_ready and not member.pod.is_deleted
        ]
        there = [member for member in members if not member.is_lost]
        per_node = self.spec.reconnect_budget.connections_per_second_per_node
        return Census(
            nodes=[member.node for member in members],
            accepting=accepting,
            pods=len(there),
            leaving=sum(1 for each in there if each.pod.drain or each.pod.is_deleted),
            is_settled=len(accepting) == len(members)
            and all(member.pod.revision == revision for member in members),
            budget_per_s=float(per_node * max(1, len(accepting))),
        )

    def _changed(self) -> None:
        """A Pod is another now: an event of the API server tells so."""
        self._census = None
        self.is_woken = True

    # --- what scenarios do ------------------------------------------------------------------

    def change_image(self) -> None:
        """Somebody asks for another image."""
        self.spec = self.spec.model_copy(update={"image": f"{self.spec.image}-next"})
        self.generation += 1
        self._changed()

    def lose_machines(self, *, share: float = 0.0, zone: str = "") -> None:
        """Machines are gone, and with them all connections, without a word."""
        self._census = None
        there = [member for member in self.members.values() if not member.is_lost]
        if zone:
            self._lost_zones |= {zone}
            chosen = [member for member in there if member.node.zone == zone]
        else:
            chosen = there[: max(1, round(share * len(there)))]
        wait_s = self._assumptions.unreachable_after_s
        for member in chosen:
            member.is_lost, member.answers = True, False
            member.to_shed = 0
            self._lost += member.node.clients
            self._crowd.drop(member.node)
            self._crowd.lose(member.node, member.node.clients, unnoticed=True)
            member.node.is_up = False
            self._timers.at(self._now + wait_s, (member, Life.NOT_READY))
            deleted_s = wait_s + self._assumptions.tolerated_s
            self._timers.at(self._now + deleted_s, (member, Life.DELETED))
            self._timers.at(self._now + REMOVED_AFTER_S, (member, Life.GONE))

    def restore_zone(self, zone: str) -> None:
        """New Pods can be placed there again."""
        self._lost_zones -= {zone}

    def silence(self, share: float) -> None:
        """So many nodes do not answer; 0: all do again."""
        every = round(1 / share) if share else 0
        for index, member in enumerate(self.members.values()):
            member.answers = not member.is_lost and not (every and index % every == 0)

    # --- what plans do ----------------------------------------------------------------------

    def create(self, action: CreatePod) -> None:
        """Create a Pod; that it is there already is fine."""
        if action.name not in self.members:
            wait_s = start_s(
                self._random, self._assumptions.pod_start_s, self._assumptions.pod_start_sigma
            )
            self._add(action.name, action.revision, wait_s)

    def delete(self, action: DeletePod) -> None:
        """Delete a Pod: its node gets SIGTERM."""
        if member := self._exactly(action.name, action.uid):
            self._delete(member)

    def patch(self, action: PatchPod) -> None:
        """Change labels and annotations."""
        member = self._exactly(action.name, action.uid)
        if member is None:
            return
        for key, value in action.annotations.items():
            if value is None:
                member.annotations.pop(key, None)
            else:
                member.annotations[key] = value
        since = member.annotations.get(names.ACTIVE_SINCE)
        reopened = member.annotations.get(names.REOPENED_AT)
        is_accepting = member.pod.is_accepting
        if names.ACCEPTING in action.labels:
            is_accepting = action.labels[names.ACCEPTING] == "true"
        member.pod = replace(
            member.pod,
            is_accepting=is_accepting,
            active_since=float(since) if since else None,
            reopened_at=float(reopened) if reopened else 0.0,
            drain=DrainRecord.read(member.annotations),
        )
        self._changed()

    def tell(self, order: Order) -> None:
        """Give a node an order, if it can be reached."""
        member = self.members.get(order.name)
        if member is None or not member.answers or not member.node.is_up or member.pod.is_deleted:
            return
        node = member.node
        match order:
            case CordonNode():
                node.phase = Phase.CORDONED
            case AbortDrain():
                node.phase, member.forces_at = Phase.SERVING, None
            case DrainNode():
                node.phase = Phase.DRAINING if order.deadline_s else Phase.FORCING
                member.rate_per_s = min(order.rate_per_s, node.clients / max(order.window_s, 1.0))
                member.forces_at = self._now + order.deadline_s
            case ShedNode() if node.phase is Phase.SERVING:
                member.to_shed, member.shed_per_s = order.count, order.rate_per_s
            case ShedNode():
                pass  # a node that is to be empty refuses it
        if node.phase is not Phase.SERVING:
            member.to_shed = 0

    # --- time -------------------------------------------------------------------------------

    def advance(self, now: float, passed_s: float) -> Losses:
        """Let Pods start and end, and nodes close clients."""
        self._now = now
        written = self._assumptions.deliveries_per_client_s * passed_s
        for member in self.members.values():
            member.node.deliveries += member.node.clients * written
        for member, life in self._timers.pop_due(now):
            self._happen(member, life)
        closed = self._close(passed_s)
        accepted = sum([member.node.accepted_total for member in self.members.values()])
        arrived, self._accepted = max(0, accepted - self._accepted), accepted
        self._budget.took(now, arrived_per_s=arrived / passed_s, closed_per_s=closed / passed_s)
        lost, self._lost = self._lost, 0
        return Losses(closed, lost)

    def _close(self, passed_s: float) -> int:
        movers = [member for member in self.members.values() if member.moves]
        if not movers:
            return 0
        per_node = self.spec.reconnect_budget.connections_per_second_per_node
        spare = self._budget.spare_per_s(per_node, len(self.census.accepting)) * passed_s
        wanted = [self._wanted(member, passed_s) for member in movers]
        share = min(1.0, spare / max(1e-9, sum(wanted)))
        closed = 0
        for member, count in zip(movers, wanted, strict=True):
            closed += self._close_of(member, count * share, passed_s)
        return closed

    @staticmethod
    def _wanted(member: Member, passed_s: float) -> float:
        """What a node would close in this step if the budget let it; forcing does not ask."""
        if member.node.phase is Phase.DRAINING:
            return min(member.rate_per_s * passed_s, float(member.node.clients))
        return min(member.shed_per_s * passed_s, float(member.to_shed)) if member.to_shed else 0.0

    def _close_of(self, member: Member, granted: float, passed_s: float) -> int:
        node = member.node
        if node.phase is Phase.DRAINING and self._now >= (member.forces_at or self._now + 1):
            node.phase = Phase.FORCING
        if node.phase is Phase.FORCING:
            granted = max(
                1.0, member.rate_per_s * passed_s, node.clients * passed_s / FORCED_WITHIN_S
            )
        member.owed += granted
        count = min(int(member.owed), node.clients)
        member.owed -= int(member.owed)
        if member.to_shed:
            member.to_shed = min(member.to_shed - min(count, member.to_shed), node.clients - count)
        node.closed_total += count
        self._crowd.lose(node, count)
        if member.pod.is_deleted and not node.clients and not node.queued and not member.is_lost:
            self._timers.at(self._now + 1.0, (member, Life.GONE))
        return count

    # --- Pods -------------------------------------------------------------------------------

    def _add(self, name: str, revision: str, ready_in_s: float) -> Member:
        counts = Counter(member.node.zone for member in self.members.values() if not member.is_lost)
        zone = emptiest_zone(counts, self._lost_zones)
        self._uids += 1
        pod = Pod(
            name,
            f"{self._uids:08}",
            revision,
            created_at=self._now,
            ip="192.0.2.1",
            kubernetes_node=zone,
        )
        member = Member(pod, Node(name, zone), {})
        self.members[name] = member
        self._timers.at(self._now + ready_in_s, (member, Life.READY))
        self._changed()
        return member

    def _exactly(self, name: str, uid: str) -> Member | None:
        member = self.members.get(name)
        return member if member and member.pod.uid == uid else None

    def _delete(self, member: Member) -> None:
        if member.pod.is_deleted:
            return
        until = self._now + grace_period_s(self.spec)
        member.pod = replace(member.pod, deleted_until=until)
        node = member.node
        self._changed()
        if member.is_lost:
            return
        if not node.clients and not node.queued:
            node.phase = Phase.DRAINED
            self._timers.at(self._now + 1.0, (member, Life.GONE))
            return
        member.to_shed = 0
        if node.phase in (Phase.SERVING, Phase.CORDONED):
            node.phase = Phase.DRAINING
            member.rate_per_s = node.clients / max(1, self.spec.drain.window_seconds)
        self._timers.at(until, (member, Life.GONE))

    def _happen(self, member: Member, life: Life) -> None:
        if self.members.get(member.pod.name) is not member:
            return
        match life:
            case Life.READY if not member.is_lost and not member.pod.is_deleted:
                member.node.is_up = True
                member.pod = replace(member.pod, is_ready=True, ready_changed_at=self._now)
            case Life.NOT_READY:
                member.pod = replace(member.pod, is_ready=False, ready_changed_at=self._now)
            case Life.DELETED:
                self._delete(member)
            case Life.GONE:
                self._crowd.drop(member.node)
                self._lost += member.node.clients
                self._crowd.lose(member.node, member.node.clients)
                del self.members[member.pod.name]
            case _:
                pass
        self._changed()
