"""What others undo is written more and more rarely, and people are told who they are."""

from __future__ import annotations

import copy
import itertools
from typing import Any, Final

from realtime_operator.apply.contention import (
    AGAIN_AFTER_S,
    CONTESTED_AFTER,
    FORGIVEN_AFTER_S,
    LONGEST_PAUSE_S,
    Contention,
)
from realtime_operator.build.names import FIELD_MANAGER
from realtime_operator.decide.decision import decide
from tests.unit.operator.fleets import NOW, make_pod, make_snapshot

PLACE: Final = "Service chat"
HOUR_S: Final = 3600


class Clock:
    """A clock that the test turns."""

    now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


class Cluster:
    """One Service, the operator that applies it each second, and others that change it."""

    def __init__(self) -> None:
        """Nobody has changed it yet."""
        self.clock = Clock()
        self.contention = Contention(self.clock)
        self.writes: list[float] = []
        self.stamps = False
        self._versions = itertools.count(1)
        owned = {"manager": FIELD_MANAGER, "fieldsV1": {"f:spec": {"f:type": {}}}}
        self.live: dict[str, Any] = {
            "metadata": {"name": "chat", "managedFields": [owned]},
            "spec": {"type": "ClusterIP"},
        }

    def change(self, manager: str, **spec: Any) -> None:
        """Let somebody set fields of the spec, or take them away (None), which is an event."""
        fields: dict[str, Any] = {f"f:{key}": {} for key in spec}
        self.live["metadata"]["managedFields"][1:] = [
            {"manager": manager, "fieldsV1": {"f:spec": fields}}
        ]
        self.live["spec"] |= spec
        self._written()
        self.contention.touched(PLACE, copy.deepcopy(self.live))

    def apply(self, content: str = "as the spec says") -> None:
        """Let the operator have a round."""
        if not self.contention.is_due(PLACE, content):
            return
        self.writes.append(self.clock.now)
        before = copy.deepcopy(self.live)
        self.live["spec"]["type"] = "ClusterIP"
        if self.stamps:
            stamp = {"example.com/at": str(self.clock.now)}
            self.live["metadata"]["annotations"] = stamp
        if self.live != before:
            self._written()
        self.contention.applied(PLACE, content, copy.deepcopy(self.live))
        self.contention.touched(PLACE, copy.deepcopy(self.live))  # the event of this write

    def _written(self) -> None:
        self.live["metadata"]["resourceVersion"] = str(next(self._versions))


def test_a_webhook_that_stamps_each_write_costs_a_few_writes_an_hour() -> None:
    """It made seven a second; its stamp is named as what changes."""
    cluster = Cluster()
    cluster.stamps = True
    for second in range(HOUR_S):
        cluster.clock.now = float(second)
        cluster.apply()
    assert len(cluster.writes) <= 20
    (told,) = cluster.contention.contested()
    assert "metadata.annotations.example.com/at is another one after each write" in told
    assert "webhook" in told


def test_a_controller_that_sets_a_field_back_is_named() -> None:
    """The pause between two writes doubles up to a bound."""
    cluster = Cluster()
    for second in range(2 * HOUR_S):
        cluster.clock.now = float(second)
        cluster.apply()
        if cluster.live["spec"]["type"] != "NodePort":
            cluster.change("another-operator", type="NodePort")
    assert len(cluster.writes) <= 30
    pauses = [after - before for before, after in itertools.pairwise(cluster.writes)]
    assert pauses[0] == 1  # a single change is mended at once
    assert max(pauses) == LONGEST_PAUSE_S
    (told,) = cluster.contention.contested()
    assert told.startswith("Service chat: spec.type is changed after each write by another-oper")


def test_an_object_that_somebody_deletes_each_time_is_contested() -> None:
    """There is no field to name then."""
    cluster = Cluster()
    for second in range(HOUR_S):
        cluster.clock.now = float(second)
        writes = len(cluster.writes)
        cluster.apply()
        if len(cluster.writes) > writes:
            cluster.contention.touched(PLACE, None)
    assert len(cluster.writes) <= 30
    assert "deletes it" in cluster.contention.contested()[0]


def test_what_is_settled_again_is_forgiven() -> None:
    """And another content is written at once, whatever was undone before."""
    cluster = Cluster()
    for second in range(60):
        cluster.clock.now = float(second)
        cluster.apply()
        cluster.change("another-operator", type="NodePort")
    assert cluster.contention.contested()
    writes = len(cluster.writes)
    cluster.apply("as another spec says")
    assert len(cluster.writes) == writes + 1
    assert not cluster.contention.contested()
    cluster.change("kubectl", type="NodePort")
    cluster.apply("as another spec says")
    assert len(cluster.writes) == writes + 2
    cluster.clock.now += FORGIVEN_AFTER_S + 1
    assert not cluster.contention.contested()


def test_what_does_not_concern_the_operator_is_no_contention() -> None:
    """Others may set fields of their own as often as they like, and so may a status change."""
    cluster = Cluster()
    for second in range(HOUR_S):
        cluster.clock.now = float(second)
        if second % 10 == 0:
            cluster.change("cloud", loadBalancerClass=str(second))
        cluster.live["status"] = {"second": second}  # of which no event tells
        cluster.apply()
    assert not cluster.contention.contested()
    assert len(cluster.writes) <= HOUR_S / 10 + HOUR_S / AGAIN_AFTER_S + 1


def test_a_patch_that_is_undone_each_time_waits() -> None:
    """Such as a label of a Pod that a webhook sets back, or a finalizer that somebody takes."""
    clock = Clock()
    contention = Contention(clock)
    patches = 0
    for second in range(HOUR_S):
        clock.now = float(second)
        if contention.may_patch("Pod chat-0", "accepting=true"):
            contention.patched("Pod chat-0", "accepting=true")
            patches += 1
    assert CONTESTED_AFTER < patches <= 20
    assert contention.contested()[0].startswith("Pod chat-0: accepting=true is undone")
    assert contention.may_patch("Pod chat-0", "accepting=false")


def test_people_are_told_what_is_contested() -> None:
    """By a condition and an Event, while it lasts."""
    told = "Service chat: spec.type is changed after each write by x"
    plan = decide(make_snapshot(make_pod(), contested=(told,)), NOW)
    (condition,) = [each for each in plan.status.conditions if each.type == "Contested"]
    assert (condition.status, condition.message) == ("True", told)
    assert [each.message for each in plan.events if each.reason == "ObjectContested"] == [told]
    plan = decide(make_snapshot(make_pod()), NOW)
    assert "ObjectContested" not in [each.reason for each in plan.events]
