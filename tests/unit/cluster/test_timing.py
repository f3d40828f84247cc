"""Decisions about time: pauses between tries, and when others may be judged."""

from __future__ import annotations

from realtime_node.backoff import Backoff
from realtime_node.cluster.on_redis.liveness import Liveness


class _Node:
    """A node whose heartbeats the test times."""

    def __init__(self) -> None:
        self.now = 0.0
        self.liveness = Liveness(10, 3, clock=lambda: self.now)

    def beat_until(self, end: float) -> None:
        """Beat every three seconds up to and including `end`."""
        while self.now + 3 <= end:
            self.now += 3
            self.liveness.beat(self.liveness.now())

    def may_judge(self, now: float) -> bool:
        self.now = now
        return self.liveness.may_judge()


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
    node = _Node()
    assert not node.may_judge(0)
    node.beat_until(12)
    assert not node.may_judge(12.9)
    assert node.may_judge(13)


def test_a_missed_heartbeat_begins_the_wait_again() -> None:
    """Whatever stopped ours may have stopped theirs."""
    node = _Node()
    node.beat_until(15)
    assert node.may_judge(15)
    node.liveness.missed()
    assert not node.may_judge(15)
    node.beat_until(27)
    assert not node.may_judge(27.9)
    assert node.may_judge(28)


def test_a_pause_of_our_own_begins_the_wait_again() -> None:
    """A process that was stopped saw nothing meanwhile, though no heartbeat failed."""
    node = _Node()
    node.beat_until(15)
    assert node.may_judge(22)
    # Even before the next heartbeat.
    assert not node.may_judge(40)
    node.liveness.beat(node.liveness.now())
    assert not node.may_judge(40)
    node.beat_until(49)
    assert node.may_judge(50)


def test_every_node_counts_until_we_may_judge() -> None:
    """The silence that is granted is the lease for a judge, and without limit for others."""
    node = _Node()
    assert node.liveness.silence_ms() > 365 * 24 * 3600 * 1000
    node.beat_until(15)
    assert node.liveness.silence_ms() == 10_000
