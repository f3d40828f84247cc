"""A few numbers per client tell what it was owed and did not get, as the full ledger would."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.storm.following import Acknowledged, Following, Verdict
from tests.support.ledger import Ledger, Reading

CHANNEL = "load:1"


def _acknowledged(**epochs: dict[int, int]) -> Acknowledged:
    return Acknowledged({CHANNEL: epochs})


def _following(*taken: tuple[int, int], start: int = 0) -> Following:
    following = Following(CHANNEL)
    following.subscribed("a", start, recovered=False)
    for offset, number in taken:
        following.took(offset, number)
    return following


TOP_5 = _acknowledged(a={offset: 10 * offset for offset in range(1, 6)})
ALL = [(offset, 10 * offset) for offset in range(1, 6)]


def test_all_once_and_in_order_is_right() -> None:
    """Who got every offset with what was published there has no complaint."""
    assert TOP_5.judge(_following(*ALL)) == Verdict()


def test_who_came_later_is_owed_what_came_after() -> None:
    """What lies before the position that a subscriber was given is not owed."""
    assert TOP_5.judge(_following(*ALL[2:], start=2)) == Verdict()


@pytest.mark.parametrize(
    ("taken", "verdict"),
    [
        (ALL[:2] + ALL[3:], Verdict(lost=1)),
        (ALL[:3], Verdict(lost=2)),
        ([*ALL, ALL[4]], Verdict(doubled=1)),
        ([ALL[0], ALL[2], ALL[1], *ALL[3:]], Verdict(lost=1, disordered=1)),
        ([*ALL[:4], (5, 999)], Verdict(altered=1)),
    ],
    ids=["skipped", "cut short", "twice", "out of order", "another one"],
)
def test_each_fault_is_counted(taken: list[tuple[int, int]], verdict: Verdict) -> None:
    """A gap, a missing end, a repetition, a late one, and another content are told apart."""
    assert TOP_5.judge(_following(*taken)) == verdict


def test_a_recovery_continues_the_stretch() -> None:
    """Recovered, a subscriber is owed what came while it was away."""
    following = _following(*ALL[:2])
    following.subscribed("a", 5, recovered=True)
    for offset, number in ALL[2:]:
        following.took(offset, number)
    following.is_to_be_at(5)
    assert TOP_5.judge(following) == Verdict()


def test_a_recovery_that_brings_too_little_is_a_loss() -> None:
    """A node that says "recovered up to 5" and sends nothing has lost what lay between."""
    following = _following(*ALL[:2])
    following.subscribed("a", 5, recovered=True)
    following.is_to_be_at(5)
    assert TOP_5.judge(following) == Verdict(lost=3)


def test_what_a_subscriber_was_told_of_is_not_lost() -> None:
    """A new position after `recovered: false` excuses what lies between."""
    following = _following(*ALL[:2])
    following.subscribed("a", 4, recovered=False)
    following.took(5, 50)
    assert TOP_5.judge(following) == Verdict(told=1)


def test_publications_of_a_later_epoch_are_owed() -> None:
    """Who stayed in an old epoch without being told missed all of the new one."""
    acknowledged = _acknowledged(a={1: 10}, b={1: 20, 2: 30})
    assert acknowledged.judge(_following((1, 10))) == Verdict(lost=2)


def test_unknown_answers_leave_the_content_unchecked() -> None:
    """Where an acknowledgement is missing no sum can be held against what arrived."""
    acknowledged = _acknowledged(a={1: 10, 3: 30})
    assert acknowledged.judge(_following((1, 10), (2, 20), (3, 30))) == Verdict(unchecked=1)


def test_who_never_subscribed_missed_everything() -> None:
    """A client that was never there got nothing of what was published."""
    assert TOP_5.judge(Following(CHANNEL)) == Verdict(lost=5)


def test_verdicts_add_up() -> None:
    """The verdict on a crowd is the sum over its clients."""
    both = [_following(*ALL[:4]), _following(*ALL, ALL[4])]
    assert TOP_5.judge_all(both) == Verdict(lost=1, doubled=1)


def _drop(taken: list[tuple[int, int]], at: int) -> None:
    if taken:
        taken.pop(at % len(taken))


def _double(taken: list[tuple[int, int]], at: int) -> None:
    if taken:
        taken.insert(at % len(taken) + 1, taken[at % len(taken)])


@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.sampled_from([_drop, _double]), st.integers(0, 20)), max_size=4),
)
def test_losses_and_repetitions_are_those_of_the_full_ledger(
    top: int, faults: list[tuple[Callable[[list[tuple[int, int]], int], None], int]]
) -> None:
    """Whatever is dropped or doubled, the short account counts as many lost as the long one."""
    taken = [(offset, 7 * offset) for offset in range(1, top + 1)]
    for fault, at in faults:
        fault(taken, at)
    ledger, reading = Ledger(), Reading(CHANNEL)
    for offset in range(1, top + 1):
        ledger.acknowledge(CHANNEL, "a", offset, 7 * offset)
    reading.subscribed("a", 0, recovered=False)
    for offset, number in taken:
        reading.took(offset, number)
    short = Acknowledged(ledger.channels).judge(_following(*taken))
    long = ledger.judge(reading)
    assert short.lost == long.lost
    assert short.doubled + short.disordered == long.doubled
