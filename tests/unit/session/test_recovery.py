"""Recovery: all that was missed, or the truth that it is not there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from realtime_node.delivery.flow import Policy, SlowRule
from realtime_node.protocol.messages import Publication, StreamPosition
from realtime_node.session.recovery import Reason, Recovery, bounded, fit, recover
from tests.support.fakes import publication

offsets = st.integers(0, 12)


def stream(first: int, last: int) -> list[Publication]:
    """Publications of consecutive offsets."""
    return [publication(offset, offset) for offset in range(first, last + 1)]


@given(asked=offsets, top=offsets, kept=offsets, epoch=st.sampled_from(["", "e", "other"]))
def test_recovers_exactly_what_is_complete(asked: int, top: int, kept: int, epoch: str) -> None:
    """From a history that keeps the last `kept`: recovered iff epoch and every offset are there."""
    history = stream(max(top - kept, 0) + 1, top)
    found = [each for each in history if each.offset > asked]
    recovery = recover(
        StreamPosition(offset=asked, epoch=epoch),
        StreamPosition(offset=top, epoch="e"),
        found,
        limit=100,
    )
    is_complete = epoch in {"", "e"} and asked <= top and len(found) == top - asked
    assert recovery.recovered == is_complete
    assert [each.offset for each in recovery.publications] == (
        list(range(asked + 1, top + 1)) if is_complete else []
    )


@given(st.lists(offsets, max_size=8, unique=True).map(sorted), offsets, offsets)
def test_a_hole_is_never_recovered(found: list[int], asked: int, top: int) -> None:
    """Whatever the store found: it is given out only if it is the whole way to the top."""
    publications = [publication(offset, offset) for offset in found]
    recovery = recover(
        StreamPosition(offset=asked, epoch="e"),
        StreamPosition(offset=top, epoch="e"),
        publications,
        limit=100,
    )
    if asked < top:
        assert recovery.recovered == (found == list(range(asked + 1, top + 1)))
    assert recovery.recovered or recovery.publications == []


@pytest.mark.parametrize(
    ("asked", "top", "found", "reason"),
    [
        ((3, "e"), (3, "e"), [], Reason.CONTINUED),
        ((1, "e"), (3, "e"), stream(2, 3), Reason.CONTINUED),
        ((0, ""), (3, "e"), stream(1, 3), Reason.CONTINUED),
        ((0, ""), (0, "e"), [], Reason.CONTINUED),
        ((3, "old"), (3, "e"), [], Reason.OTHER_EPOCH),
        ((4, "e"), (3, "e"), [], Reason.AHEAD),
        ((1, "e"), (3, "e"), stream(3, 3), Reason.TRIMMED),
        ((1, "e"), (3, "e"), [], Reason.TRIMMED),
        ((1, "e"), (3, "e"), stream(2, 2), Reason.TRIMMED),
        ((1, "e"), (6, "e"), stream(2, 6), Reason.TOO_MANY),
        ((2, "e"), (6, "e"), stream(3, 6), Reason.CONTINUED),
        ((0, "e"), (6, "e"), stream(3, 6), Reason.TOO_MANY),
    ],
)
def test_reason_says_why(
    asked: tuple[int, str], top: tuple[int, str], found: list[Publication], reason: Reason
) -> None:
    """Each case has its reason, and only one of them is a success."""
    recovery = recover(
        StreamPosition(offset=asked[0], epoch=asked[1]),
        StreamPosition(offset=top[0], epoch=top[1]),
        found,
        limit=4,
    )
    assert recovery.reason is reason
    assert recovery.recovered is (reason is Reason.CONTINUED)


# --- what a rule for slow clients leaves of it --------------------------------------------------

QUEUE = SlowRule()
LATEST = SlowRule(policy=Policy.LATEST)
BY_SYMBOL = SlowRule(policy=Policy.LATEST, key="symbol")


def values(symbols: str, first: int = 1) -> list[Publication]:
    """Publications of values, one for each letter; a blank has no tag."""
    return [
        Publication(
            data=Raw(b"1"), offset=first + index, tags={"symbol": letter} if letter != " " else None
        )
        for index, letter in enumerate(symbols)
    ]


def recovered(found: list[Publication], asked: int, top: int) -> Recovery:
    """A recovery of these."""
    return recover(
        StreamPosition(offset=asked, epoch="e"),
        StreamPosition(offset=top, epoch="e"),
        found,
        limit=100,
    )


def offsets_of(recovery: Recovery) -> list[int]:
    """The offsets given."""
    return [each.offset for each in recovery.publications]


@given(st.text("xyz ", min_size=1, max_size=12), st.integers(0, 3))
def test_newest_values_are_all_there_is_to_recover(symbols: str, asked: int) -> None:
    """The newest of each key comes, oldest first, from a position that continues."""
    found = values(symbols, asked + 1)
    whole = recovered(found, asked, asked + len(symbols))
    recovery = fit(whole, found, BY_SYMBOL, is_repeat_offender=False)
    newest = {letter: asked + 1 + index for index, letter in enumerate(symbols)}
    assert recovery.recovered
    assert offsets_of(recovery) == sorted(newest.values())
    assert recovery.offset == asked
    alone = fit(whole, found, LATEST, is_repeat_offender=False)
    assert offsets_of(alone) == [asked + len(symbols)]


def test_a_single_value_is_recovered_over_any_distance() -> None:
    """Where the channel is one value its newest is everything; with keys some may be lost."""
    found = values("xyx", 8)
    trimmed = recovered(found, 1, 10)
    alone = fit(trimmed, found, LATEST, is_repeat_offender=False)
    assert (alone.recovered, offsets_of(alone), alone.offset) == (True, [10], 9)
    keyed = fit(trimmed, found, BY_SYMBOL, is_repeat_offender=False)
    assert (keyed.recovered, offsets_of(keyed), keyed.offset) == (False, [9, 10], 10)
    assert fit(trimmed, found, QUEUE, is_repeat_offender=False) == trimmed


@pytest.mark.parametrize("rule", [QUEUE, LATEST, BY_SYMBOL])
def test_a_repeat_offender_is_given_the_newest_and_told_so(rule: SlowRule) -> None:
    """It stands at the top then, so that nothing is left that it could choke on."""
    found = values("xyx", 2)
    recovery = fit(recovered(found, 1, 4), found, rule, is_repeat_offender=True)
    assert not recovery.recovered
    assert offsets_of(recovery) == ([3, 4] if rule.key else [4])
    assert (recovery.offset, recovery.reason) == (4, Reason.TOO_SLOW)


def test_newest_values_are_counted_by_what_is_given() -> None:
    """However many superseded ones lie between, what is given has to fit."""
    found = values("xyxz", 2)
    recovery = fit(recovered(found, 1, 5), found, BY_SYMBOL, is_repeat_offender=False)
    top = StreamPosition(offset=5, epoch="e")
    assert bounded(recovery, top, limit=3) == recovery
    cut = bounded(recovery, top, limit=2)
    assert (cut.recovered, cut.publications, cut.offset) == (False, [], 5)
    assert cut.reason is Reason.TOO_MANY


@pytest.mark.parametrize("rule", [QUEUE, LATEST])
def test_a_lost_position_is_lost_for_everybody(rule: SlowRule) -> None:
    """Another epoch is another stream: nothing of it was missed."""
    other = recover(
        StreamPosition(offset=1, epoch="old"),
        StreamPosition(offset=4, epoch="e"),
        values("xyx", 2),
        limit=100,
    )
    assert fit(other, values("xyx", 2), rule, is_repeat_offender=True) == other
