"""How many nodes there should be: up at once, down when everything speaks for it.

    Disabled  spec.replicas
    Internal  what the load needs (`demand`), the operator's own number goes on in the status
    External  spec.replicas, which somebody writes through /scale

In Internal and External the number lies within minReplicas and maxReplicas, and every decrease
passes the same gates, whoever asked for it: the load of every node is known, nothing rolls, drains
or rebalances, the nodes that stay carry the load and may lose headroomNodes. One node goes at a
time. A node whose load is not known never makes a cluster smaller; it may still become larger.

Nodes are added at targetConnectionPercent and taken away at scaleDown.maxUtilizationPercent, which
is lower, and in Internal only if so few were enough during the whole window of stabilization.
Between the two, a constant load changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from realtime_operator.decide import demand
from realtime_operator.decide.demand import Need
from realtime_operator.decide.instants import read_timestamp
from realtime_operator.decide.nodes import Nodes
from realtime_operator.decide.replicas import victims_first
from realtime_operator.decide.scaling import Inputs, Limit, Limitation, Scaling


def autoscale(nodes: Nodes) -> Scaling:
    """Decide how many nodes should take clients."""
    snapshot, spec = nodes.snapshot, nodes.spec
    before = snapshot.status
    if snapshot.deleted_at is not None:
        reason = "the RealtimeCluster is deleted"
        return Scaling(spec.autoscaling.mode, nodes.now, before.desired_replicas, 0, 0, reason)
    load, most = demand.measured(nodes)
    if spec.autoscaling.mode == "Disabled":
        wanted = spec.replicas
        return Scaling(
            "Disabled",
            nodes.now,
            before.desired_replicas,
            wanted,
            wanted,
            "spec.replicas",
            inputs=load,
            needed_to_shrink=_needed_to_shrink(nodes, most),  # for a mode that may be set next
        )
    return _Autoscaler(nodes, load, most).decide()


class _Autoscaler:
    """One decision in the making."""

    def __init__(self, nodes: Nodes, load: Inputs, most: Inputs) -> None:
        """`most`: the load if nobody has left a silent node. What is not known makes none fewer."""
        self._nodes = nodes
        self._spec = nodes.spec
        self._scaling = nodes.spec.autoscaling
        self._load = load
        self._most = most
        self._current = current(nodes)
        self._is_external = self._scaling.mode == "External"
        self._raw = demand.to_carry(self._spec, load)
        if self._is_external:
            self._raw = Need(self._spec.replicas, "spec.replicas")
        self._least = demand.to_shrink(self._spec, most)

    def decide(self) -> Scaling:
        asked = self._asked()
        wanted, bounded = self._within_bounds(asked.nodes)
        if self._spec.paused:
            limits = [Limitation(Limit.PAUSED, "spec.paused"), *bounded]
            desired = self._current
        elif wanted > self._current:
            desired, limits = self._raised(wanted)
            limits += bounded
        elif wanted < self._current:
            desired, limits = self._lowered(wanted)
            limits += bounded
        else:
            desired, limits = wanted, bounded
        return Scaling(
            mode=self._scaling.mode,
            at=self._nodes.now,
            previous=self._current,
            desired=desired,
            raw=self._raw.nodes,
            reason=asked.reason,
            limits=tuple(limits),
            inputs=self._load,
            needed_to_shrink=_needed_to_shrink(self._nodes, self._most),
        )

    def _asked(self) -> Need:
        """What is asked for: more at the targets, fewer at what a scale-down may reach."""
        if self._is_external or self._raw.nodes >= self._current:
            return self._raw
        if self._least.nodes < self._current:
            return self._least
        return Need(self._current, f"{self._least.reason}: not fewer")

    def _within_bounds(self, asked: int) -> tuple[int, list[Limitation]]:
        least, most = self._scaling.min_replicas, self._scaling.max_replicas
        if asked < least:
            reason = f"{asked} nodes were enough, autoscaling.minReplicas is {least}"
            return least, [Limitation(Limit.MIN_REPLICAS, reason)]
        if asked > most:
            reason = f"{asked} nodes are asked for, autoscaling.maxReplicas is {most}"
            return most, [Limitation(Limit.MAX_REPLICAS, reason)]
        return asked, []

    def _raised(self, wanted: int) -> tuple[int, list[Limitation]]:
        """As many as are wanted, in Internal no more than the step that is allowed."""
        if self._is_external:
            return wanted, []
        rule = self._scaling.scale_up
        before = period_began_with(self._nodes)
        if before is None:
            before = self._current
        before = max(before, self._scaling.min_replicas)  # to begin with these is no step
        most = before + rule.max_nodes
        if self._is_crowded:
            most = max(most, 2 * before)
        most = max(most, self._current)
        if wanted <= most:
            return wanted, []
        reason = (
            f"{wanted} nodes are wanted; there were {before}, and {most} are allowed within"
            f" {rule.period_seconds} s"
        )
        return most, [Limitation(Limit.SCALE_UP_STEP, reason)]

    @property
    def _is_crowded(self) -> bool:
        """Whether nodes are as full or as busy as they may get: steps would come too late."""
        capacity, load = self._spec.capacity, self._load
        share = capacity.soft_limit_percent / 100 * max(1, load.nodes)
        most = capacity.max_deliveries_per_second
        return (
            load.connections >= share * capacity.max_connections
            or load.busy >= share
            or (most is not None and load.deliveries_per_s >= share * most)
        )

    def _lowered(self, wanted: int) -> tuple[int, list[Limitation]]:
        """One node fewer, if nothing speaks against it."""
        against = list(self._against())
        if against:
            return self._current, against
        desired = self._current - 1
        if desired == wanted:
            return desired, []
        return desired, [Limitation(Limit.DRAIN, f"one node goes at a time: {wanted} are wanted")]

    def _against(self) -> Iterator[Limitation]:
        nodes = self._nodes
        if silent := _names([pod.name for pod in nodes.silent]):
            yield Limitation(Limit.METRICS, f"how much {silent} carries is not known")
        elif unclear := _names(self._without_rates()):
            yield Limitation(Limit.METRICS, f"what {unclear} does in a second is not known yet")
        elif not nodes.serving:
            yield Limitation(Limit.METRICS, "no node serves")
        if nodes.is_rolling:
            reason = f"{len(nodes.old)} nodes of an old revision are left"
            yield Limitation(Limit.ROLLOUT, reason)
        shut = [pod for pod in nodes.live if pod.status and not pod.status.accepting]
        if going := _names(sorted({pod.name for pod in [*nodes.leaving, *nodes.moving, *shut]})):
            yield Limitation(Limit.DRAIN, f"{going} is on its way out already")
        elif (too_many := self._too_many()) > 0:
            yield Limitation(Limit.DRAIN, f"{too_many} nodes more than wanted are still there")
        if shedding := _names([pod.name for pod in nodes.shedding]):
            yield Limitation(Limit.REBALANCE, f"{shedding} sends clients elsewhere")
        if refusal := self._against_fewer():
            yield Limitation(Limit.CAPACITY, refusal)
        if not self._is_external and (refusal := self._against_so_soon()):
            yield Limitation(Limit.STABILIZATION, refusal)

    def _too_many(self) -> int:
        """Nodes that should go and have not begun to: each was granted by the load of its time."""
        staying = [pod for pod in self._nodes.live if not self._nodes.is_leaving(pod)]
        return len(staying) - self._current

    def _without_rates(self) -> list[str]:
        """Nodes whose answers do not tell yet what is steered by."""
        counts = demand.target_deliveries(self._spec) is not None
        return [
            pod.name
            for pod in self._nodes.serving
            if pod.load
            and (pod.load.busy is None or (counts and pod.load.deliveries_per_s is None))
        ]

    def _against_fewer(self) -> str:
        """Why the nodes that really accept could not carry the load and lose headroomNodes."""
        nodes = self._nodes
        staying = [pod for pod in nodes.live if not nodes.is_leaving(pod)]
        first = victims_first(nodes.snapshot, staying, nodes.revision)[:1]
        left = len(nodes.accepting) - sum(nodes.accepts(pod) for pod in first)
        if left >= self._least.nodes:
            return ""
        return (
            f"{left} nodes would accept clients, {self._least.nodes} have to: {self._least.reason}"
        )

    def _against_so_soon(self) -> str:
        """Why it is too early to believe that fewer nodes are enough."""
        window_s = self._scaling.scale_down.stabilization_seconds
        watched = self._nodes.snapshot.watched
        watched_s = 0.0 if watched.since is None else self._nodes.now - watched.since
        if watched_s < window_s:
            return f"the load was watched for {watched_s:.0f} of {window_s} s"
        most = min(watched.most_needed or 0, self._scaling.max_replicas)
        if most >= self._current:
            return f"{most} nodes were needed within the last {window_s} s"
        return ""


def current(nodes: Nodes) -> int:
    """How many nodes were wanted until now: as the status says, else as many as there are."""
    status = nodes.snapshot.status
    if status.autoscaling and status.autoscaling.desired:
        return status.autoscaling.desired
    if status.desired_replicas:
        return status.desired_replicas
    staying = [pod for pod in nodes.live if not nodes.is_leaving(pod)]
    old = sum(1 for pod in staying if pod.revision != nodes.revision)
    return max(old, len(staying) - old)


def _needed_to_shrink(nodes: Nodes, load: Inputs) -> int | None:
    """How many nodes would be enough at what a scale-down may reach; None: it is not known."""
    if load.missing or not nodes.serving:
        return None
    return demand.to_shrink(nodes.spec, load).nodes


def period_began_with(nodes: Nodes) -> int | None:
    """How many nodes were wanted when the period of scaleUp began; None if there is none now."""
    known = nodes.snapshot.status.autoscaling
    if known is None or known.scale_up is None:
        return None
    since = read_timestamp(known.scale_up.since)
    period_s = nodes.spec.autoscaling.scale_up.period_seconds
    # One that begins later was begun by a clock that was set back since.
    return known.scale_up.replicas_before if since <= nodes.now < since + period_s else None


def _names(names: list[str]) -> str:
    """Names for people, the first of them if they are many."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""  # noqa: PLR2004 - a line's worth
    return ", ".join(names[:3]) + more
