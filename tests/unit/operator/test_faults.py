"""Whatever happens to the operator, its calls and the nodes, a cluster becomes what is wanted.

The operator dies after any action of any round, calls are lost or arrive twice, containers restart,
Pods are evicted, nodes fall silent. What the operator must not lose is in the Pods' annotations.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.support.selection import examples
from tests.support.simulated_cluster import Fault, SimulatedCluster, guarded, settled

few = st.frozensets(st.integers(0, 25), max_size=6)
faults = st.builds(
    Fault,
    dies_after=st.one_of(st.just(10**9), st.integers(0, 25)),
    lost=few,
    doubled=few,
)


@pytest.mark.parametrize("mode", ["OneReconnect", "Frugal"])
@pytest.mark.parametrize("actions", range(0, 24, 2))
def test_an_operator_that_dies_in_every_other_round(mode: str, actions: int) -> None:
    """A rollout is finished by operators that each live for so many actions, or one round."""
    update = {"mode": mode, "minReadySeconds": 2}
    cluster = guarded(settled(update=update))
    cluster.faults = itertools.cycle([Fault(dies_after=actions), Fault()])
    cluster.change(image="node:2")
    cluster.run_until(lambda: cluster.is_settled)
    if mode == "OneReconnect":
        assert max(cluster.reconnects.values()) == 1


@given(plan=st.lists(faults, min_size=1, max_size=40))
@settings(max_examples=examples(60))
def test_a_rollout_under_faults_moves_every_client_at_most_once(plan: list[Fault]) -> None:
    """Faults of the operator cost time, and neither a reconnect nor a node that accepts."""
    cluster = guarded(settled(clients=30))
    cluster.faults = iter(plan)
    cluster.change(image="node:2")
    cluster.run_until(lambda: cluster.is_settled, within_s=1500)
    assert max(cluster.reconnects.values(), default=0) <= 1


def _restart_a_container(cluster: SimulatedCluster) -> None:
    if cluster.live:
        cluster.restart_container(cluster.live[0])


def _evict(cluster: SimulatedCluster) -> None:
    if cluster.live:
        cluster.evict(cluster.live[-1])


def _silence(cluster: SimulatedCluster) -> None:
    if cluster.live:
        cluster.live[0].answers = False


def _lose_the_key(cluster: SimulatedCluster) -> None:
    """No order reaches a node any more, for good: only SIGTERM does."""
    if cluster.live:
        cluster.live[0].hears = False


def _cut_off_from_redis(cluster: SimulatedCluster) -> None:
    if cluster.live:
        cluster.live[-1].backplane_available = False


def _heal(cluster: SimulatedCluster) -> None:
    for node in cluster.live:
        node.answers = node.backplane_available = True


EVENTS: dict[str, Callable[[SimulatedCluster], None]] = {
    "a good image": lambda cluster: cluster.change(image="node:2"),
    "another image": lambda cluster: cluster.change(image="node:3"),
    "the first image": lambda cluster: cluster.change(image="node:1"),
    "a broken image": lambda cluster: cluster.change(image="node:broken"),
    "more": lambda cluster: cluster.change(replicas=5),
    "fewer": lambda cluster: cluster.change(replicas=2),
    "one": lambda cluster: cluster.change(replicas=1),
    "none": lambda cluster: cluster.change(replicas=0),
    "frugal": lambda cluster: cluster.change(update={"mode": "Frugal", "minReadySeconds": 2}),
    "two drains": lambda cluster: cluster.change(
        update={"maxConcurrentDrains": 2, "minReadySeconds": 2}
    ),
    "wait": lambda cluster: cluster.change(
        drain={"deadlinePolicy": "Wait", "propagationSeconds": 5, "windowSeconds": 30}
    ),
    "a restart": _restart_a_container,
    "an eviction": _evict,
    "silence": _silence,
    "a lost key": _lose_the_key,
    "no Redis": _cut_off_from_redis,
    "no policy": lambda cluster: cluster.change(networkPolicy={"enabled": False}),
    "healing": _heal,
    "a cordon": lambda cluster: cluster.cordon_machine("a"),
    "an uncordon": lambda cluster: cluster.cordon_machine("a", is_cordoned=False),
    "clients": lambda cluster: cluster.add_clients(10),
    "a new operator": lambda cluster: cluster.restart_operator(),
    "a pause": lambda cluster: cluster.change(paused=True),
    "no pause": lambda cluster: cluster.change(paused=False),
}

happenings = st.lists(
    st.tuples(st.sampled_from(sorted(EVENTS)), st.integers(1, 60), faults), max_size=12
)


@given(story=happenings)
@settings(max_examples=examples(80), phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_a_cluster_always_becomes_what_is_wanted(story: list[tuple[str, int, Fault]]) -> None:
    """After any story, once nothing more happens, the cluster is as the spec says, all drained."""
    cluster = settled(clients=20)
    cluster.broken_images.add("node:broken")
    for event, seconds, fault in story:
        EVENTS[event](cluster)
        cluster.faults = iter([fault])
        cluster.run(seconds)
        assert len({node.name for node in cluster.draining}) <= 3
    _heal(cluster)
    cluster.cordon_machine("a", is_cordoned=False)
    image = "node:2" if cluster.spec.image == "node:broken" else cluster.spec.image
    cluster.change(replicas=max(1, cluster.spec.replicas), paused=False, image=image)
    cluster.run_until(lambda: cluster.is_settled and not cluster.waiting, within_s=2500)
    cluster.run(30)
    assert cluster.condition("Available")[0] == "True"
