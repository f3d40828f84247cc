"""Under a constant load the number of nodes does not go down and up again.

A node goes when the load has been within scaleDown.maxUtilizationPercent of those that stay, for
the whole window of stabilization; it comes back when the load is above targetConnectionPercent of
them. In between lies the ratio r = target / maxUtilization (1.27 by default, and the same for
deliveries and loops), and so two kinds of noise are withstood:

- any whose highest value is no more than r times its lowest, however it comes, even with no window.
  Growth is part of the demand: a swing of connections counts once more, lead / 60 s times, since
  growth is smoothed over 60 s. With prediction it is the sum that has to be within r;
- any at all whose peaks come at least once within the window and are seen by a round, since the
  highest need of the window counts.

Clients that come in the place of others are noise only while they are on their way. What our own
drains make loops do is no load, not even in averages that are still told when they are over.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from tests.support.selection import examples
from tests.support.simulated_cluster import SimulatedCluster, make_spec

CAPACITY = 100
BUSY_PERCENT = 10
"""The loops' target: so low that none is at its end, however clients are spread."""
LONGEST_START_S = 30
"""In which these nodes are active and a round has seen it: the lead is no shorter."""
ROUTED_WITHIN_S = 3
"""For so long whoever comes may be sent to a node that has just been shut."""
SMOOTHED_OVER_S = 60
UNEVEN_ROUNDS = 1.2
"""Rounds that come after different times weigh growth differently."""
ROUNDED = 0.98
"""Share of the noise that is withstood: clients and publications are whole ones."""


class Steady(NamedTuple):
    """A load that stays, and how a cluster is to follow it."""

    nodes: int
    """There at first."""
    clients: int
    """Least."""
    target: int
    gap: int
    """Between the target and what a scale-down may reach."""
    headroom: int
    stabilization_s: int
    interval_s: int
    horizon_s: int | None
    """None: no prediction."""
    deliveries: float
    """Written to all clients, as a share of what the nodes may write that carry the clients."""
    busy: float
    """The same of the work of loops, connects aside."""
    idle_busy: float
    """Of each loop, however few clients it has."""
    connect_cost_s: float
    churn: float
    """Share of the clients that go in a second, and others come."""
    drain_s: int
    rebalances: bool

    @property
    def carriers(self) -> float:
        """Nodes that the least clients fill to their target, one at least."""
        return max(1.0, self.clients * 100 / (self.target * CAPACITY))

    @property
    def ratio(self) -> float:
        """By how much a load may swing, of which some are on their way to a node."""
        return (1 - self.churn * ROUTED_WITHIN_S) * self.target / (self.target - self.gap)

    @property
    def clients_ratio(self) -> float:
        """By how much connections may swing."""
        if self.horizon_s is None:
            return self.ratio
        again = UNEVEN_ROUNDS * max(self.horizon_s, LONGEST_START_S) / SMOOTHED_OVER_S
        return (self.ratio + again) / (1 + again)


steady = st.builds(
    Steady,
    nodes=st.integers(1, 10),
    clients=st.integers(0, 500),
    target=st.integers(40, 90),
    gap=st.integers(4, 25),
    headroom=st.integers(0, 2),
    stabilization_s=st.sampled_from([0, 15, 60, 120]),
    interval_s=st.sampled_from([5, 10]),
    horizon_s=st.sampled_from([None, 20, 60, 120]),
    deliveries=st.floats(0.0, 1.0),
    busy=st.floats(0.0, 1.0),
    idle_busy=st.floats(0.0, 0.01),
    connect_cost_s=st.just(0.0),
    churn=st.floats(0.0, 0.005),
    drain_s=st.sampled_from([3, 30]),
    rebalances=st.booleans(),
)


def just_enough(load: Steady, driver: str, enough: int, below: float) -> Steady:
    """What drives the number is so much that so many nodes are just enough for a scale-down."""
    least = enough * (load.target - load.gap) * (1 - below) / load.target
    clients = int(least * load.target * CAPACITY / 100)
    if driver == "clients":
        return load._replace(clients=clients, deliveries=load.deliveries / 2, busy=load.busy / 2)
    load = load._replace(clients=clients * 2 // 3, deliveries=0.0, busy=0.0)
    if driver == "deliveries":
        return load._replace(deliveries=least / load.carriers)
    return load._replace(busy=least / load.carriers)


loads = st.builds(
    just_enough,
    steady,
    st.sampled_from(["clients", "deliveries", "busy"]),
    st.integers(1, 6),
    st.floats(0.0, 0.03),
)
"""Those for which a little more would make a difference."""


class Loaded:
    """A cluster with such a load, and the numbers of nodes that it wants."""

    def __init__(self, load: Steady) -> None:
        """Begin with all clients connected to the nodes that are there."""
        self.load = load
        self._autoscaling: dict[str, Any] = {
            "minReplicas": load.headroom + 1,
            "maxReplicas": 14,
            "targetConnectionPercent": load.target,
            "targetDeliveriesPerSecond": 10_000,
            "targetLoopBusyPercent": BUSY_PERCENT,
            "headroomNodes": load.headroom,
            "scaleDown": {
                "stabilizationSeconds": load.stabilization_s,
                "maxUtilizationPercent": load.target - load.gap,
            },
            "prediction": {
                "enabled": load.horizon_s is not None,
                "horizonSeconds": load.horizon_s or 0,
            },
            "metrics": {"intervalSeconds": load.interval_s},
        }
        spec = make_spec(
            replicas=load.nodes,
            capacity={"maxConnections": CAPACITY},
            drain={"propagationSeconds": 5, "windowSeconds": load.drain_s},
            rebalance={
                "enabled": load.rebalances,
                "minNodeAgeSeconds": 5,
                "shedPercentPerMinute": 100,
            },
            autoscaling=self._autoscaling,
        )
        per_client = load.carriers / max(1, load.clients)
        self._deliveries = load.deliveries * per_client * 10_000
        self._busy = load.busy * per_client * BUSY_PERCENT / 100
        self.cluster = SimulatedCluster(spec, clients=load.clients)
        self.cluster.idle_busy = load.idle_busy
        self.cluster.connect_cost_s = load.connect_cost_s
        self._extra, self._going = 0, 0.0
        self.swing(1.0, 1.0)
        self.cluster.run(40)

    def swing(self, clients: float, each: float) -> None:
        """So many times the least clients are there, and each makes so much more work."""
        extra = int(self.load.clients * (clients - 1))
        if extra > self._extra:
            self.cluster.add_clients(extra - self._extra)
        else:
            self.cluster.remove_clients(self._extra - extra)
        self._extra = extra
        self.cluster.deliveries_per_client_s = self._deliveries * each
        self.cluster.busy_per_client = self._busy * each

    def scale(self) -> None:
        """Let the load say how many nodes there are."""
        self.cluster.change(autoscaling={**self._autoscaling, "mode": "Internal"})
        self.cluster.round()

    def run(self, seconds: int) -> list[int]:
        """Let time pass, with clients that come in the place of others; return the numbers."""
        numbers = [self.cluster.desired]
        for _ in range(seconds):
            self._going += self.load.churn * self.load.clients
            self.cluster.remove_clients(int(self._going))
            self.cluster.add_clients(int(self._going))
            self._going -= int(self._going)
            self.cluster.run(1)
            if self.cluster.desired != numbers[-1]:
                numbers.append(self.cluster.desired)
        return numbers


def goes_up_after_it_went_down(numbers: list[int]) -> bool:
    """Whether a number swings."""
    steps = [after - before for before, after in pairwise(numbers)]
    first_down = next((at for at, step in enumerate(steps) if step < 0), len(steps))
    return any(step > 0 for step in steps[first_down:])


PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@given(
    load=loads,
    of_clients=st.floats(0.0, 1.0),
    longest_s=st.integers(1, 60),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=examples(25), phases=PHASES)
def test_small_noise_does_not_swing_the_cluster(
    load: Steady, of_clients: float, longest_s: int, seed: int
) -> None:
    """Within the ratio, split between the clients and what each makes, at random times."""
    clients = 1 + ROUNDED * (load.clients_ratio**of_clients - 1)
    each = 1 + ROUNDED * (load.ratio ** (1 - of_clients) - 1)
    random = Random(seed)  # noqa: S311 - noise
    loaded = Loaded(load)
    loaded.scale()
    numbers = [loaded.cluster.desired]
    left_s = 3 * load.stabilization_s + 300
    while left_s > 0:
        loaded.swing(random.choice([1.0, clients]), random.choice([1.0, each]))
        some_s = random.randint(1, longest_s)
        numbers += loaded.run(some_s)
        left_s -= some_s
    assert not goes_up_after_it_went_down(numbers), numbers


@given(load=loads, peak=st.floats(1.0, 3.0))
@settings(max_examples=examples(25), phases=PHASES)
def test_peaks_within_the_window_do_not_swing_the_cluster(load: Steady, peak: float) -> None:
    """However high, if they last for two rounds and come within the window; without prediction."""
    peak_s, lull_s = 2 * load.interval_s + 5, 60
    load = load._replace(
        stabilization_s=2 * (peak_s + lull_s), horizon_s=None, clients=load.clients // 2
    )
    loaded = Loaded(load)
    loaded.scale()
    numbers = [loaded.cluster.desired]
    for _ in range(6):
        for clients, some_s in ((peak, peak_s), (1.0, lull_s)):
            loaded.swing(clients, 1.0)
            numbers += loaded.run(some_s)
    assert not goes_up_after_it_went_down(numbers), numbers


costly = st.builds(
    Steady._replace,
    steady,
    clients=st.integers(60, 200),
    target=st.integers(50, 80),
    gap=st.integers(4, 8),
    stabilization_s=st.sampled_from([0, 15, 20, 30]),
    horizon_s=st.none(),
    deliveries=st.just(0.0),
    idle_busy=st.just(0.0),
    connect_cost_s=st.sampled_from([0.02, 0.03]),
    churn=st.just(0.0),
    drain_s=st.sampled_from([3, 8, 12]),
    rebalances=st.just(False),
)
FOUND = Steady(7, 191, 79, 7, 1, 20, 10, None, 0.0, 0.0, 0.0, 0.03, 0.0, 3, rebalances=False)


@given(load=costly, enough=st.integers(1, 6), below=st.floats(0.0, 0.03))
@example(load=FOUND, enough=3, below=0.027)
@settings(max_examples=examples(25), phases=PHASES)
def test_what_drains_cost_does_not_swing_the_cluster(
    load: Steady, enough: int, below: float
) -> None:
    """Where the load is just low enough for a scale-down, connects of its drain call none back."""
    load = just_enough(load, "busy", enough, below)
    loaded = Loaded(load._replace(nodes=enough + load.headroom + 3))
    loaded.scale()
    numbers = loaded.run(250)
    assert not goes_up_after_it_went_down(numbers), numbers
