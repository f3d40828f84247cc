"""Recovery: all that was missed, or the truth that it is not there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_node.protocol.messages import Publication, StreamPosition
from realtime_node.session.recovery import Reason, recover
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
        StreamPosition(offset=asked, epoch=epoch), StreamPosition(offset=top, epoch="e"), found
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
        StreamPosition(offset=asked, epoch="e"), StreamPosition(offset=top, epoch="e"), publications
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
    )
    assert recovery.reason is reason
    assert recovery.recovered is (reason is Reason.CONTINUED)
