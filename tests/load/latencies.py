"""Latencies as wsload counts them: a histogram, which adds up over processes and rounds.

wsload prints its bins, `generators` reads them, `flow_results` takes quantiles of them, and `plots`
draws them. Within a bin, which is 2 % wide at most, latencies are taken to be spread evenly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, Self


class Bin(NamedTuple):
    """A number of latencies from `low_us` on, and below `low_us + width_us`."""

    low_us: int
    width_us: int
    number: int


@dataclass(frozen=True)
class Latencies:
    """A histogram: bins in order, none of them empty, none over another."""

    bins: tuple[Bin, ...]

    @classmethod
    def read(cls, printed: Iterable[Sequence[int]]) -> Self:
        """Read what wsload printed."""
        return cls(tuple(Bin(*each) for each in printed))

    @classmethod
    def merged(cls, several: Iterable[Latencies]) -> Self:
        """Return all of them as one, as if one process had counted; all have bins of one kind."""
        numbers: Counter[tuple[int, int]] = Counter()
        for latencies in several:
            for low, width, number in latencies.bins:
                numbers[low, width] += number
        return cls(tuple(Bin(*place, number) for place, number in sorted(numbers.items())))

    @property
    def count(self) -> int:
        """How many latencies there are."""
        return sum(each.number for each in self.bins)

    def below(self, ms: float) -> float:
        """Return how many were less than so many milliseconds."""
        us = ms * 1e3
        return sum(
            each.number * min(max((us - each.low_us) / each.width_us, 0.0), 1.0)
            for each in self.bins
        )

    def quantile_ms(self, share: float) -> float:
        """Return what so great a share of them, from 0 to 1, is less than; 0 if there is none."""
        wanted = share * self.count
        for each, passed in zip(self.bins, accumulate(b.number for b in self.bins), strict=True):
            if passed >= wanted:
                into = 1 - (passed - wanted) / each.number
                return (each.low_us + each.width_us * into) / 1e3
        return 0.0

    def cumulative(self) -> tuple[list[float], list[float]]:
        """Return milliseconds, and the share of all that was less, at each bin's end."""
        if not self.bins:
            return [], []
        ends = [(each.low_us + each.width_us) / 1e3 for each in self.bins]
        total = self.count
        shares = [passed / total for passed in accumulate(each.number for each in self.bins)]
        return [self.bins[0].low_us / 1e3, *ends], [0.0, *shares]
