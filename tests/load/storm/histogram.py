"""Latencies in bins of equal ratio: cheap to count, and they add up over processes. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Final

_BINS_PER_E: Final = 50  # a bin is 2 % wide


def bin_of(us: float) -> int:
    """Return the bin of a latency in microseconds."""
    return int(math.log(us) * _BINS_PER_E) if us > 1 else 0


class Histogram:
    """Counts by bin."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.bins: Counter[int] = Counter()

    def add(self, bins: Mapping[int, int]) -> None:
        """Add what another process counted."""
        self.bins.update(bins)

    @property
    def count(self) -> int:
        """How many latencies there are."""
        return self.bins.total()

    def quantile_ms(self, share: float) -> float:
        """Return what so great a share of them, from 0 to 1, is at most; 0 if there is none."""
        left = share * self.count
        for number, count in sorted(self.bins.items()):
            left -= count
            if left <= 0:
                return math.exp((number + 0.5) / _BINS_PER_E) / 1e3
        return 0.0
