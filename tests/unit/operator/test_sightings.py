"""Instants that other machines tell are put on the operator's clock."""

from __future__ import annotations

from typing import Any

import pytest

from realtime_operator.decide.drain import Signal, Wish, step
from realtime_operator.decide.snapshot import NodeState, Pod
from realtime_operator.observe.sightings import Sightings
from tests.unit.operator.fleets import NOW, SPEC, make_pod, make_record

SKEW_S = 300.0


def look(sightings: Sightings, now: float, **told: Any) -> Pod:
    """One look at one Pod of which Kubernetes and the annotations tell this."""
    ((pod,), _) = sightings.look([make_pod(**told)], "cluster", None, now)
    return pod


@pytest.mark.parametrize("skew_s", [SKEW_S, -SKEW_S])
def test_a_new_node_waits_as_long_whatever_the_kubelets_clock_says(skew_s: float) -> None:
    """`minReadySeconds` begin when the operator sees it ready, not 300 s later, nor earlier."""
    sightings = Sightings()
    starting: dict[str, Any] = {"active_since": None, "is_accepting": False, "status": None}
    look(sightings, NOW, **starting, is_ready=False, ready_changed_at=0.0, created_at=NOW)
    told = {**starting, "is_ready": True, "ready_changed_at": NOW + 3 + skew_s, "created_at": NOW}
    least_s = SPEC.update.min_ready_seconds
    settled_at = []
    for second in range(5, 1000, 5):
        pod = look(sightings, NOW + second, **told)
        if step(pod, Wish(), SPEC, NOW + second).signal is Signal.SETTLED:
            settled_at.append(second)
            break
    assert settled_at
    assert least_s <= settled_at[0] <= 5 + least_s + 5


def test_what_an_operator_saw_first_stays_where_it_was() -> None:
    """Later looks do not move it, however far ahead the other clock is."""
    sightings = Sightings()
    told: dict[str, Any] = {"ready_changed_at": NOW + SKEW_S}
    assert look(sightings, NOW, **told).ready_changed_at == NOW
    assert look(sightings, NOW + 50, **told).ready_changed_at == NOW
    flapped = look(sightings, NOW + 100, ready_changed_at=NOW + SKEW_S + 60)
    assert flapped.ready_changed_at == NOW + 100
    behind = look(sightings, NOW + 150, ready_changed_at=NOW - SKEW_S)
    assert behind.ready_changed_at == NOW + 100  # the look before did not show it


def test_instants_of_the_same_clock_are_left_alone() -> None:
    """A first look believes what lies in the past, and later ones what lies between two of them."""
    sightings = Sightings()
    first = make_pod()
    ((pod,), deleted_at) = sightings.look([first], "cluster", NOW - 5, NOW)
    assert (pod, deleted_at) == (first, NOW - 5)
    second = make_pod(ready_changed_at=NOW + 3, deleted_until=NOW + 34, deletion_grace_s=30.0)
    ((pod,), _) = sightings.look([second], "cluster", NOW - 5, NOW + 5)
    assert pod == second


@pytest.mark.parametrize("skew_s", [SKEW_S, -SKEW_S])
def test_a_deleted_pod_has_its_grace(skew_s: float) -> None:
    """It is counted from the deletion on, not from what the API server's clock says."""
    sightings = Sightings()
    look(sightings, NOW)
    pod = look(sightings, NOW + 5, deleted_until=NOW + 2 + 60 + skew_s, deletion_grace_s=60.0)
    assert pod.deleted_until is not None
    assert NOW + 60 <= pod.deleted_until <= NOW + 65


def test_a_cluster_is_deleted_when_that_is_seen() -> None:
    """Its finalizer is not kept 300 s too long."""
    sightings = Sightings()
    sightings.look([], "cluster", None, NOW)
    assert sightings.look([], "cluster", NOW + SKEW_S, NOW + 5)[1] == NOW + 5
    assert sightings.look([], "cluster", NOW + SKEW_S, NOW + 50)[1] == NOW + 5


def test_a_drain_that_another_operator_began_goes_on_by_this_ones_clock() -> None:
    """Its deadline moves with the rest of its record; one that this operator sets does not."""
    sightings = Sightings()
    ahead = make_record(NodeState.DRAINING, cordoned_at=NOW + SKEW_S, deadline=NOW + SKEW_S + 30)
    drain = look(sightings, NOW, drain=ahead).drain
    assert drain
    assert (drain.cordoned_at, drain.deadline) == (NOW, NOW + 30)
    extended = make_record(NodeState.DRAINING, cordoned_at=NOW + SKEW_S, deadline=NOW + 90)
    drain = look(sightings, NOW + 31, drain=extended).drain
    assert drain
    assert (drain.cordoned_at, drain.deadline) == (NOW, NOW + 90)
    assert drain.annotations().keys() == ahead.annotations().keys()


def test_a_clock_that_was_set_back_begins_anew() -> None:
    """Nothing lies in the future of the look that shows it."""
    sightings = Sightings()
    look(sightings, NOW)
    pod = look(sightings, NOW - 3600, ready_changed_at=NOW - 590)
    assert pod.ready_changed_at == NOW - 3600
    assert pod.created_at == NOW - 3600


def test_no_more_is_kept_than_is_there() -> None:
    """What a look does not show is forgotten."""
    sightings = Sightings()
    for number in range(50):
        look(sightings, NOW + number, uid=f"uid-{number}", ready_changed_at=NOW + number)
    assert len(sightings._known) <= 6
