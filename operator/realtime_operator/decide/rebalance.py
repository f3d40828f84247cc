"""Moves clients to where there are fewer: nodes that were added would else stay empty for hours.

A node that has many more than the average *sheds*: it closes some clients and goes on serving, and
they come back anywhere. Many more means above the threshold, and above what chance explains, or a
small cluster would shed for ever. It sheds to half of that distance, so that the next round finds
nothing to do; those who come back to it are found by a later one. Where nearly all come back, a
load balancer wants them there: the nodes that shed are left alone for an hour.

A node that has many fewer than the average, by the same distance, makes the others shed what it
lacks to half of that distance, each in proportion to what it has above the average. In a cluster of
six and more, a node that was added leaves nobody else far above the average. No node sheds below
the average, so none changes sides, and it all ends when no node is far from the average.

Nobody sheds while the picture is not clear (a node does not say what it has) or about to change (a
rollout, a drain, a scale-down), and what was begun is called off then. While the youngest node is
young nothing is begun: new clients may do without us.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

from realtime_operator.decide.actions import ShedNode
from realtime_operator.decide.fleet import Fleet
from realtime_operator.decide.snapshot import Pod

CHANCE: Final = 4.0
"""How many standard deviations of a number of clients that chance spreads count as chance."""


class Rebalance(NamedTuple):
    """Who sheds, and why or why not."""

    orders: tuple[ShedNode, ...]
    """What to tell nodes in this round."""
    shedding: int
    """Nodes that shed after it."""
    spread_percent: int
    """How far the fullest node is above the average."""
    reason: str

    @property
    def is_active(self) -> bool:
        """Whether clients are being moved."""
        return self.shedding > 0


def plan_rebalance(fleet: Fleet, going: Collection[str]) -> Rebalance:
    """What to do about a spread that is too wide; `going` are the nodes that have to go."""
    average, spread = _average_and_spread(fleet)
    if not fleet.spec.rebalance.enabled:
        return Rebalance((), len(fleet.shedding), spread, "rebalance.enabled is false")
    if against := _against(fleet, going):
        called_off = tuple(_ended(pod, against) for pod in fleet.shedding)
        return Rebalance(called_off, 0, spread, against)
    done = [pod for pod in fleet.shedding if (pod.clients or 0) <= average]
    ended = tuple(_ended(pod, "it has no more than the others") for pod in done)
    goes_on = len(fleet.shedding) - len(done)
    if early := _too_early(fleet):
        return Rebalance(ended, goes_on, spread, early)
    counts = _to_shed(fleet, average)
    in_vain = fleet.snapshot.watched.shed_in_vain
    begun = tuple(
        _begun(fleet, {k: n for k, n in counts.items() if k not in in_vain}, average, goes_on)
    )
    reason = f"the fullest node is {spread} % above the average of {average:.0f} clients"
    if (emptiest := min((pod.clients or 0 for pod in fleet.accepting), default=0)) < average:
        reason += f", the emptiest {100 * (1 - emptiest / average):.0f} % below it"
    if counts and not begun:
        reason += f"; clients that {min(counts)} sent elsewhere came back to it"
    return Rebalance((*ended, *begun), goes_on + len(begun), spread, reason)


def _average_and_spread(fleet: Fleet) -> tuple[float, int]:
    counts = [pod.clients or 0 for pod in fleet.accepting]
    average = sum(counts) / max(1, len(counts))
    return average, round(100 * (max(counts) / average - 1)) if average else 0


def _band(fleet: Fleet, average: float) -> float:
    """How many clients above or below the average are far from it."""
    threshold = average * fleet.spec.rebalance.threshold_percent / 100
    return max(threshold, CHANCE * math.sqrt(average))


def _to_shed(fleet: Fleet, average: float) -> Mapping[str, int]:
    """How many clients each node should shed that does not yet, by name; none of 0."""
    band = _band(fleet, average)
    shedding = {pod.name for pod in fleet.shedding}
    above = {
        pod.name: pod.clients - average
        for pod in fleet.accepting
        if pod.name not in shedding and pod.clients is not None and pod.clients > average
    }
    lacking = sum(
        average - band / 2 - pod.clients
        for pod in fleet.accepting
        if pod.clients is not None and pod.clients < average - band
    )
    on_the_way = sum(pod.status.shed_remaining or 0 for pod in fleet.shedding if pod.status)
    share = min(1.0, max(0.0, lacking - on_the_way) / (sum(above.values()) or 1.0))
    counts = {
        name: int(max(share * excess, excess - band / 2 if excess > band else 0.0))
        for name, excess in above.items()
    }
    return {name: count for name, count in counts.items() if count}


def _begun(
    fleet: Fleet, counts: Mapping[str, int], average: float, goes_on: int
) -> Iterator[ShedNode]:
    per_minute = average * fleet.spec.rebalance.shed_percent_per_minute / 100
    share = fleet.budget_per_s / max(1, goes_on + len(counts))
    rate_per_s = min(per_minute / 60, share)
    for name, count in counts.items():
        pod = fleet.snapshot.by_name[name]
        reason = f"{pod.clients} clients, {average:.0f} on average"
        yield ShedNode(name, pod.ip, reason, count, round(rate_per_s, 3))


def _ended(pod: Pod, reason: str) -> ShedNode:
    return ShedNode(pod.name, pod.ip, reason, count=0, rate_per_s=1.0)


def _against(fleet: Fleet, going: Collection[str]) -> str:
    """Why nobody may shed."""
    if fleet.snapshot.deleted_at is not None:
        return "the RealtimeCluster is deleted"
    if unheard := [*fleet.silent, *[pod for pod in fleet.snapshot.pods if _ends(fleet, pod)]]:
        return f"{unheard[0].name} does not say how many clients it has"
    if fleet.is_rolling:
        return "nodes of an old revision are replaced"
    if going or fleet.moving or fleet.leaving:
        return "a node is on its way out"
    if len(fleet.accepting) < 2:  # noqa: PLR2004 - somebody else to go to
        return "there is no other node to go to"
    return ""


def _ends(fleet: Fleet, pod: Pod) -> bool:
    """Whether a node may be draining by itself, as its Pod is deleted, and does not say so.

    One that is not ready any more is gone, or with its machine: nobody waits for its grace.
    """
    is_ending = pod.is_ready and fleet.now < (pod.deleted_until or 0.0)
    return is_ending and pod.status is None


def _too_early(fleet: Fleet) -> str:
    """Why nobody may begin to shed yet."""
    least_s = fleet.spec.rebalance.min_node_age_seconds
    youngest = max(pod.active_since or fleet.now for pod in fleet.accepting)
    if fleet.now < youngest + least_s:
        return f"the youngest node has taken clients for less than {least_s} s"
    return ""
