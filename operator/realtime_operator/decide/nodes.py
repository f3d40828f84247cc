"""The nodes of a snapshot, sorted into what rules speak of: who accepts, who moves, who is old."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Final

from realtime_operator.build.revision import revision_of
from realtime_operator.decide.drain import LEAVING, MOVING, MOVING_PHASES, state_of
from realtime_operator.decide.snapshot import NodeState, Pod, Snapshot

_WITH_CLIENTS: Final = MOVING | {NodeState.CORDONED}


class Nodes:
    """A reading of one snapshot at one time; nothing in it changes."""

    def __init__(self, snapshot: Snapshot, now: float) -> None:
        """Read a snapshot."""
        self.snapshot = snapshot
        self.spec = snapshot.spec
        self.now = now
        self.revision = revision_of(snapshot.spec)
        self.states: Mapping[str, NodeState] = {pod.name: state_of(pod) for pod in snapshot.pods}

    @cached_property
    def live(self) -> list[Pod]:
        """Pods that are neither being deleted nor given up by Kubernetes."""
        return [pod for pod in self.snapshot.pods if not pod.is_deleted and not pod.has_failed]

    @cached_property
    def failed(self) -> list[Pod]:
        """Pods that Kubernetes has given up, and that nobody has deleted yet."""
        return [pod for pod in self.snapshot.pods if pod.has_failed and not pod.is_deleted]

    @cached_property
    def old(self) -> list[Pod]:
        """Live Pods of another revision than the spec's."""
        return [pod for pod in self.live if pod.revision != self.revision]

    @cached_property
    def accepting(self) -> list[Pod]:
        """Nodes that new clients can come to."""
        return [pod for pod in self.live if self.accepts(pod)]

    @cached_property
    def new_accepting(self) -> list[Pod]:
        """Those among them that are of the spec's revision."""
        return [pod for pod in self.accepting if pod.revision == self.revision]

    @cached_property
    def leaving(self) -> list[Pod]:
        """Pods that have a drain in their annotations, and are not deleted yet."""
        return [pod for pod in self.snapshot.pods if self.is_leaving(pod)]

    @cached_property
    def serving(self) -> list[Pod]:
        """Nodes that may have clients, whether they say so or not: their load has to be known."""
        return [pod for pod in self.live if pod.may_serve]

    @cached_property
    def silent(self) -> list[Pod]:
        """Those among them that did not answer in this round."""
        return [pod for pod in self.serving if pod.status is None]

    @cached_property
    def late(self) -> list[Pod]:
        """Live Pods that have not been ready for longer than any takes to start."""
        patience_s = self.spec.update.progress_deadline_seconds
        return [
            pod
            for pod in self.live
            if not pod.is_ready
            and self.now >= max(pod.created_at, pod.ready_changed_at) + patience_s
        ]

    @cached_property
    def has_backplane(self) -> bool:
        """Whether any node that accepts clients can reach Redis."""
        return any(pod.status and pod.status.backplane_available for pod in self.accepting)

    @cached_property
    def shedding(self) -> list[Pod]:
        """Nodes that send some of their clients elsewhere while they serve."""
        return [pod for pod in self.live if pod.status and pod.status.shed_remaining is not None]

    @cached_property
    def moving(self) -> list[Pod]:
        """Nodes whose clients are being sent away, by us or because somebody deleted their Pods."""
        return [pod for pod in self.snapshot.pods if self._moves(pod)]

    @cached_property
    def drains_at_once(self) -> int:
        """How many nodes share the budget, if all that are on their way out are let go."""
        leaving = sum(1 for state in self.states.values() if state in _WITH_CLIENTS)
        return max(1, min(self.spec.update.max_concurrent_drains, leaving))

    @property
    def is_rolling(self) -> bool:
        """Whether Pods of an old revision are left."""
        return bool(self.old)

    @property
    def goes_for_one_reconnect(self) -> bool:
        """Whether a rollout is under way in which no client may come to a node that drains next."""
        return self.is_rolling and self.spec.update.mode == "OneReconnect"

    def accepts(self, pod: Pod) -> bool:
        """Whether new clients can come to a node, as far as is known."""
        return (
            self.states[pod.name] == NodeState.ACTIVE
            and pod.is_accepting
            and pod.is_ready
            and (pod.status is None or pod.status.accepting)
        )

    def in_state(self, state: NodeState) -> list[Pod]:
        """The Pods in a state."""
        return self._by_state.get(state, [])

    @cached_property
    def _by_state(self) -> Mapping[NodeState, list[Pod]]:
        sorted_in: dict[NodeState, list[Pod]] = {}
        for pod in self.snapshot.pods:
            sorted_in.setdefault(self.states[pod.name], []).append(pod)
        return sorted_in

    def is_leaving(self, pod: Pod) -> bool:
        """Whether a drain of this Pod stands in its annotations."""
        return self.states[pod.name] in LEAVING

    def room(self, pods: Iterable[Pod], *, percent: int = 100) -> int:
        """How many clients nodes can take in up to a share of their capacity.

        Who is on the way already is counted in. A node that does not say how many it has counts as
        empty: a hung one must not block the rollout that mends it.
        """
        most = self.spec.capacity.max_connections * percent // 100
        free = sum(max(0, most - (pod.clients or 0)) for pod in pods)
        return free - sum(pod.clients or 0 for pod in self.moving)

    @property
    def budget_per_s(self) -> int:
        """Clients per second that may be sent away in the whole cluster."""
        per_node = self.spec.reconnect_budget.connections_per_second_per_node
        return per_node * max(1, len(self.accepting))

    def _moves(self, pod: Pod) -> bool:
        if not pod.is_deleted:
            # One that was told and whose record was lost, or that somebody else told, counts too.
            by_itself = pod.status is not None and pod.status.drain_phase in MOVING_PHASES
            return self.states[pod.name] in MOVING or (by_itself and bool(pod.clients))
        return bool(pod.clients) and self.now < (pod.deleted_until or 0.0)
