"""Histograms of latencies: they add up, and tell what was counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.latencies import Latencies

_BINS = st.dictionaries(st.integers(0, 200), st.integers(1, 50), max_size=20).map(
    lambda counted: Latencies.read([[ms * 1000, 1000, counted[ms]] for ms in sorted(counted)])
)


@given(_BINS, _BINS)
def test_merging_counts_what_both_counted(one: Latencies, other: Latencies) -> None:
    """Up to every latency, as many of the whole are faster as of both parts together."""
    whole = Latencies.merged([one, other])
    assert whole.count == one.count + other.count
    for ms in range(0, 202, 7):
        assert whole.below(ms) == pytest.approx(one.below(ms) + other.below(ms))


@given(_BINS, st.floats(0, 1))
def test_a_quantile_is_where_so_great_a_share_is_faster(latencies: Latencies, share: float) -> None:
    """It undoes `below`, but where there is nothing."""
    if latencies.count:
        assert latencies.below(latencies.quantile_ms(share)) == pytest.approx(
            share * latencies.count, abs=1e-6
        )
    else:
        assert latencies.quantile_ms(share) == 0


@given(_BINS)
def test_the_cumulative_shares_are_those_below_each_latency(latencies: Latencies) -> None:
    """They begin with none and end with all."""
    milliseconds, shares = latencies.cumulative()
    assert len(milliseconds) == len(shares)
    assert shares[:1] + shares[-1:] == ([0.0, 1.0] if latencies.count else [])
    for ms, share in zip(milliseconds, shares, strict=True):
        assert latencies.below(ms) == pytest.approx(share * latencies.count)


def test_half_a_bin_holds_half_of_what_is_in_it() -> None:
    """Within a bin latencies are taken to be spread evenly."""
    latencies = Latencies.read([[4000, 2000, 10]])
    assert [latencies.below(ms) for ms in (4, 5, 6)] == [0, 5, 10]
    assert latencies.quantile_ms(0.25) == 4.5


def test_processes_that_saw_different_parts_of_a_window_saw_the_whole_together() -> None:
    """Two that had the first and the second half of 200 ms have all deciles of it together."""
    halves = [
        Latencies.read([[ms * 1000, 1000, 1] for ms in part])
        for part in (range(100), range(100, 200))
    ]
    whole = Latencies.merged(halves)
    deciles = [whole.quantile_ms(tenth / 10) for tenth in range(1, 10)]
    assert deciles == pytest.approx([20 * tenth for tenth in range(1, 10)])
