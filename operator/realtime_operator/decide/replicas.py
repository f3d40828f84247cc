"""How many nodes have to accept clients, and who goes first when there are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from realtime_operator.decide.snapshot import Pod, Snapshot


def floor_of(snapshot: Snapshot, desired: int) -> int:
    """How many nodes have to accept clients before another may be taken out: one at least."""
    return max(min(1, desired), desired - snapshot.spec.disruption_budget.max_unavailable)


def victims_first(snapshot: Snapshot, pods: Iterable[Pod], revision: str) -> list[Pod]:
    """Sort Pods by who is missed least.

    Who is already on the way out stays so. Then: not ready, of an old revision, on a cordoned
    Kubernetes node, fewest clients, most company in its zone, youngest.
    """
    listed = list(pods)
    zones = [snapshot.zone_of(pod) for pod in listed]
    company = Counter(zones)
    in_zone = {pod.name: company[zone] for pod, zone in zip(listed, zones, strict=True)}

    def missed(pod: Pod) -> tuple[bool, bool, bool, bool, int, int, float, str]:
        return (
            pod.drain is None,
            pod.is_ready,
            pod.revision == revision,
            not snapshot.is_on_cordoned_node(pod),
            pod.clients or 0,
            -in_zone[pod.name],
            -pod.created_at,
            pod.name,
        )

    return sorted(listed, key=missed)
