"""What the benchmarks of flow control make of what they measured."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.load.flow_scenarios import merged_deciles


@given(st.integers(0, 100), st.integers(1, 50))
def test_deciles_of_two_halves_of_a_window_are_those_of_the_window(start: int, width: int) -> None:
    """Two processes whose clients have the first and the second half see the whole together."""
    first = [start + width * tenth / 10 for tenth in range(1, 10)]
    second = [start + width + width * tenth / 10 for tenth in range(1, 10)]
    merged = merged_deciles([first, second])
    for tenth, value in enumerate(merged, start=1):
        assert abs(value - (start + 2 * width * tenth / 10)) <= width * 0.21


def test_deciles_of_equal_halves_are_their_own() -> None:
    """Where all processes see the same there is nothing to merge."""
    deciles = [float(tenth) for tenth in range(1, 10)]
    assert merged_deciles([deciles, deciles]) == deciles
