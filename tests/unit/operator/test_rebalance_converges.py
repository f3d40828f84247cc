"""Whatever a load balancer does, a rebalance ends, within its budget, and does not swing."""

from __future__ import annotations

import random
from typing import Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from realtime_operator.decide.actions import ShedNode
from realtime_operator.decide.decision import decide
from realtime_operator.observe.node_status import ReportedDrain, ReportedShed, ReportedStatus
from realtime_operator.observe.watch import Watch
from tests.support.selection import examples
from tests.unit.operator.fleets import NOW, make_pod, make_snapshot

ROUND_S: Final = 5.0
BUDGET_PER_S: Final = 20
"""Of one node."""
SPEC: Final = {
    "reconnectBudget": {"connectionsPerSecondPerNode": BUDGET_PER_S},
    "capacity": {"maxConnections": 100_000},
    "rebalance": {"shedPercentPerMinute": 300},
}


class Cluster:
    """Nodes that shed what they are told to, behind a load balancer of some kind."""

    def __init__(self, counts: list[int], balancer: str, seed: int) -> None:
        """Begin with so many clients on each node."""
        self.counts = list(counts)
        self.before = list(counts)
        self.shed_total = [0] * len(counts)
        self.most_shed_per_s = 0.0
        self.rounds_with_sheds = 0
        self._balancer = balancer
        self._random = random.Random(seed)  # noqa: S311 - a load balancer's dice
        self._left: dict[int, tuple[int, float]] = {}
        self._watch = Watch()
        self._now = NOW

    def round(self) -> None:
        """Look, decide, and let the nodes do it until the next round."""
        pods = [make_pod(f"chat-{n}", ip=str(n)) for n in range(len(self.counts))]
        reports = {
            f"chat-{n}": ReportedStatus(
                boot_id=f"boot-{n}",
                num_clients=count,
                drain=ReportedDrain(closed_total=self.shed_total[n]),
                shed=ReportedShed(self._left[n][0]) if n in self._left else None,
            )
            for n, count in enumerate(self.counts)
        }
        snapshot = make_snapshot(spec={**SPEC, "replicas": len(pods)})
        seen, watched = self._watch.look(pods, reports, snapshot.spec, self._now)
        snapshot = make_snapshot(*seen, spec={**SPEC, "replicas": len(pods)}, watched=watched)
        for action in decide(snapshot, self._now).actions:
            if isinstance(action, ShedNode):
                self._left[int(action.ip)] = (action.count, action.rate_per_s)
        self.rounds_with_sheds += bool(self._left)
        self._shed()
        self._now += ROUND_S

    def _shed(self) -> None:
        closed: list[int] = []
        for node, (left, rate_per_s) in list(self._left.items()):
            count = min(left, round(rate_per_s * ROUND_S) or 1, self.counts[node])
            closed += [node] * count
            self.counts[node] -= count
            self.shed_total[node] += count
            self._left[node] = (left - count, rate_per_s)
            if left - count <= 0:
                del self._left[node]
        self.most_shed_per_s = max(self.most_shed_per_s, len(closed) / ROUND_S)
        for node in closed:
            self.counts[self._chosen(node)] += 1

    def _chosen(self, left: int) -> int:
        if self._balancer == "sticky":
            return left
        if self._balancer == "random":
            return self._random.randrange(len(self.counts))
        return self.counts.index(min(self.counts))

    @property
    def average(self) -> float:
        """Clients of a node, on average."""
        return sum(self.counts) / len(self.counts)

    @property
    def band(self) -> float:
        """How far from it a node may be."""
        return float(max(0.2 * self.average, 4 * self.average**0.5))


@pytest.mark.parametrize("balancer", ["random", "fewest"])
@pytest.mark.parametrize("nodes", [6, 20])
def test_a_node_that_was_added_to_many_gets_its_share(nodes: int, balancer: str) -> None:
    """None of six equal nodes is a fifth above the average when a seventh comes."""
    cluster = Cluster([1000] * nodes + [0], balancer, seed=1)
    for _ in range(600):
        cluster.round()
        if cluster.counts[-1] >= cluster.average - cluster.band and not cluster._left:
            break
    assert cluster.counts[-1] >= cluster.average - cluster.band
    assert cluster.most_shed_per_s <= BUDGET_PER_S * (nodes + 1) + 1
    total = sum(cluster.counts)
    assert sum(cluster.shed_total) <= (1.5 * total if balancer == "random" else 0.2 * total)
    cluster.rounds_with_sheds = 0
    for _ in range(100):
        cluster.round()
    assert not cluster.rounds_with_sheds


@given(
    counts=st.lists(st.integers(0, 3000), min_size=2, max_size=12),
    balancer=st.sampled_from(["random", "fewest", "sticky"]),
    seed=st.integers(0, 100),
)
@settings(
    max_examples=examples(20), deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)
def test_no_spread_makes_clients_move_for_ever(counts: list[int], balancer: str, seed: int) -> None:
    """It ends with nobody far from the average, or left alone where clients come back."""
    cluster = Cluster(counts, balancer, seed)
    spread = max(abs(count - cluster.average) for count in counts)
    for _ in range(300):
        cluster.round()
        assert max(abs(count - cluster.average) for count in cluster.counts) <= spread + max(
            cluster.band, 4
        )
    cluster.rounds_with_sheds = 0
    for _ in range(60):
        cluster.round()
    assert not cluster.rounds_with_sheds
    if balancer == "sticky":
        assert sum(cluster.shed_total) <= 3 * sum(counts)
    else:
        distances = [abs(count - cluster.average) for count in cluster.counts]
        assert max(distances) <= cluster.band
    assert sum(cluster.counts) == sum(counts)
