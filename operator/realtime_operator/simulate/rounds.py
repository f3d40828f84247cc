"""The operator's rounds in a simulation: its own watch, its own decisions, its own order of things.

Nothing of a decision is imitated here: what nodes say goes through `observe.watch`, as in the real
operator, and the snapshot through `decide`. Only the calls are missing in between. Rounds come
after every event, one at a time, and at the latest when the last plan said; each takes a while.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from realtime_operator.crd.status import RealtimeClusterStatus
from realtime_operator.decide.actions import (
    AbortDrain,
    CordonNode,
    CreatePod,
    DeletePod,
    DrainNode,
    PatchPod,
    ShedNode,
)
from realtime_operator.decide.decision import Plan, decide
from realtime_operator.decide.snapshot import Snapshot
from realtime_operator.observe.node_status import (
    ReportedBudget,
    ReportedDrain,
    ReportedShed,
    ReportedStatus,
)
from realtime_operator.observe.watch import Watch
from realtime_operator.simulate.assumptions import Assumptions
from realtime_operator.simulate.operated import OWNER, Member, OperatedCluster

BETWEEN_ROUNDS_S: Final = 1.0
"""As `reconcile` has it: events that come together are one round's matter."""


class Rounds:
    """Looks, decides and acts, again and again."""

    def __init__(
        self, cluster: OperatedCluster, assumptions: Assumptions, *, every_s: float = 0.0
    ) -> None:
        """Look after this cluster, `every_s` at most."""
        self._every_s = every_s
        self._cluster = cluster
        self._assumptions = assumptions
        self._watch = Watch()
        self._free_at = 0.0
        self._due_at = 0.0
        self._revisions: set[str] = set()
        self.status = RealtimeClusterStatus()
        self.count = 0
        self.events: Counter[str] = Counter()
        """What was told, by reason."""
        self._told: set[tuple[str, str]] = set()

    def run_until(self, now: float) -> None:
        """Have a round, if one is due by now and the last one is over."""
        cluster = self._cluster
        if now < self._free_at or not (cluster.is_woken or now >= self._due_at):
            return
        cluster.is_woken = False
        plan = self._round(now)
        takes_s = self._assumptions.round_s
        takes_s += self._assumptions.round_s_per_pod * len(cluster.members)
        takes_s += self._assumptions.round_s_per_call * self._calls(plan)
        self._free_at = now + max(self._every_s, takes_s + BETWEEN_ROUNDS_S)
        self._due_at = now + takes_s + plan.wake_after_s

    @staticmethod
    def _calls(plan: Plan) -> int:
        """Calls to the API server for Pods; nodes are told many at once, objects seldom change."""
        return sum(isinstance(each, CreatePod | DeletePod | PatchPod) for each in plan.actions)

    def _round(self, now: float) -> Plan:
        plan = decide(self._look(now), now)
        for action in plan.actions:
            match action:
                case CreatePod():
                    self._cluster.create(action)
                    self._revisions.add(action.revision)
                case DeletePod():
                    self._cluster.delete(action)
                case PatchPod():
                    self._cluster.patch(action)
                case CordonNode() | DrainNode() | AbortDrain() | ShedNode():
                    self._cluster.tell(action)
                case _:
                    pass  # Services, ConfigMaps and the like have no part in this
        self._watch.decided(plan.scaling, self._cluster.spec)
        self.status = plan.status
        self.count += 1
        for event in plan.events:
            if (event.reason, event.key) not in self._told:
                self._told.add((event.reason, event.key))
                self.events[event.reason] += 1
        return plan

    def _look(self, now: float) -> Snapshot:
        cluster = self._cluster
        members = cluster.members.values()
        per_node = cluster.spec.reconnect_budget.connections_per_second_per_node
        budget = ReportedBudget(connections_per_second_per_node=per_node)
        reports = {
            member.pod.name: self._report(member, budget)
            for member in members
            if member.answers and member.node.is_up
        }
        pods = [member.pod for member in members]
        completed, watched = self._watch.look(pods, reports, cluster.spec, now)
        return Snapshot(
            owner=OWNER,
            generation=cluster.generation,
            spec=cluster.spec,
            status=self.status,
            pods=completed,
            kubernetes_nodes=cluster.machines,
            settings_revisions=frozenset(self._revisions),
            watched=watched,
        )

    def _report(self, member: Member, budget: ReportedBudget) -> ReportedStatus:
        """What a node says at /status."""
        node = member.node
        filled = node.clients / self._cluster.spec.capacity.max_connections
        return ReportedStatus(
            boot_id=member.pod.uid,
            num_clients=node.clients,
            accepting=node.lets_in,
            accepted_total=node.accepted_total,
            connects_total=node.accepted_total,
            deliveries_total=int(node.deliveries),
            loop_busy=min(1.0, self._assumptions.busy(filled, node.connects_per_s)),
            drain=ReportedDrain(phase=node.phase, closed_total=node.closed_total),
            shed=ReportedShed(remaining=member.to_shed) if member.to_shed else None,
            budget=budget,
        )
