"""The ledger that other tests believe: it tells silent losses from told ones."""

from __future__ import annotations

import pytest

from tests.support.ledger import Ledger, Reading, Verdict

_GOOD = Verdict(lost=0, doubled=0, disordered=0)


@pytest.fixture
def ledger() -> Ledger:
    """Publications 1 to 5 in epoch a, 6 to 8 in epoch b."""
    ledger = Ledger()
    for number in range(1, 6):
        ledger.acknowledge("news", "a", number, number)
    for number in range(6, 9):
        ledger.acknowledge("news", "b", number - 5, number)
    return ledger


def _reading(*segments: tuple[str, int, list[tuple[int, int]]]) -> Reading:
    reading = Reading("news")
    for epoch, start, seen in segments:
        reading.subscribed(epoch, start, recovered=False)
        for offset, number in seen:
            reading.took(offset, number)
    return reading


_ALL_OF_B = [(1, 6), (2, 7), (3, 8)]


@pytest.mark.parametrize(
    "reading",
    [
        _reading(("a", 3, [(4, 4), (5, 5)]), ("b", 0, _ALL_OF_B)),
        _reading(("a", 1, [(2, 2), (3, 3)]), ("b", 1, [(2, 7), (3, 8)])),
        _reading(("a", 0, [(1, 1)]), ("a", 4, [(5, 5)]), ("b", 3, [])),
        _reading(("a", 0, [(1, 1)]), ("c", 7, [])),
        _reading(("b", 3, [(4, 99)])),
    ],
    ids=["all", "told of an epoch's end", "told twice", "a newer epoch", "unacknowledged"],
)
def test_what_is_told_is_not_lost(ledger: Ledger, reading: Reading) -> None:
    """Between two segments, and before the first, anything may be missing."""
    assert ledger.judge(reading) == _GOOD


@pytest.mark.parametrize(
    ("reading", "verdict"),
    [
        (_reading(("a", 0, [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)])), Verdict(3, 0, 0)),
        (_reading(("a", 2, [(3, 3), (5, 5)]), ("b", 0, _ALL_OF_B)), Verdict(1, 0, 0)),
        (_reading(("b", 0, [(1, 6), (2, 7)])), Verdict(1, 0, 0)),
        (_reading(("b", 0, [(1, 6), (2, 7), (2, 7), (3, 8)])), Verdict(0, 1, 0)),
        (_reading(("b", 0, [(1, 6), (3, 8), (2, 7)])), Verdict(0, 0, 1)),
        (_reading(("a", 4, [(5, 5), (6, 6)]), ("b", 1, [(2, 7), (3, 8)])), Verdict(0, 0, 1)),
        (_reading(("a", 5, []), ("b", 0, [(1, 99), (2, 7), (3, 8)])), Verdict(1, 0, 0)),
    ],
    ids=[
        "never told of the new epoch",
        "a hole in a segment",
        "the last one",
        "twice",
        "out of order",
        "in another epoch",
        "another in its place",
    ],
)
def test_what_went_wrong_is_counted(ledger: Ledger, reading: Reading, verdict: Verdict) -> None:
    """Silently lost, doubled and out of order are told apart."""
    assert ledger.judge(reading) == verdict


def test_recovery_continues_a_segment() -> None:
    """Only a recovery that failed begins another."""
    reading = _reading(("a", 2, [(3, 3)]))
    reading.subscribed("a", 3, recovered=True)
    assert reading.times_told == 0
    reading.subscribed("b", 0, recovered=False)
    assert reading.times_told == 1
