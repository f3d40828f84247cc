"""Decisions about time: pauses between tries, and when others may be judged."""

from __future__ import annotations

from realtime_node.cluster.on_redis.backoff import Backoff
from realtime_node.cluster.on_redis.heartbeat import SteadySince


def test_pauses_double_up_to_their_bound() -> None:
    """The upper end of the jitter doubles and stops at the setting; a success begins anew."""
    backoff = Backoff(1.0, uniform=lambda _, high: high)
    assert [backoff.next() for _ in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    backoff.reset()
    assert backoff.next() == 0.05


def test_pauses_are_jittered() -> None:
    """Nodes that lost Redis together do not come back together."""
    pauses = {Backoff(1.0).next() for _ in range(20)}
    assert len(pauses) > 10
    assert all(0 <= pause <= 0.05 for pause in pauses)


def test_a_node_judges_after_a_lease_of_heartbeats() -> None:
    """Only who heard Redis for a whole lease may say that others are silent."""
    steady = SteadySince(lease_s=10)
    assert not steady.may_judge(100)
    for now in (100, 103, 106, 109):
        steady.beat(now)
    assert not steady.may_judge(109)
    steady.beat(112)
    assert steady.may_judge(112)


def test_a_missed_heartbeat_begins_the_wait_again() -> None:
    """Whatever stopped ours may have stopped theirs."""
    steady = SteadySince(lease_s=10)
    for now in range(0, 20, 3):
        steady.beat(now)
    assert steady.may_judge(18)
    steady.missed()
    assert not steady.may_judge(18)
    steady.beat(21)
    assert not steady.may_judge(30)
    for now in (24, 27, 30):
        steady.beat(now)
    assert not steady.may_judge(30)
    assert steady.may_judge(31)


def test_a_pause_of_our_own_begins_the_wait_again() -> None:
    """A process that was stopped saw nothing meanwhile, though no heartbeat failed."""
    steady = SteadySince(lease_s=10)
    for now in (0, 3, 6, 9, 12):
        steady.beat(now)
    steady.beat(40)
    assert not steady.may_judge(40)
