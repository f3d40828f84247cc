"""The permits of an allowance, and who asked for them: the arithmetic behind `allowance`.

A pool fills at a rate and holds `BUCKET_S` of it, or one permit. Whoever asks gets what fits into
`LEASE_S` at its part of the rate, so that leases stay small and a newcomer's part is free at once.
The parts follow what each asker of the last `ASKER_LIFE_S` could use.

Pure: the clock is passed in. `on_redis/scripts/shared/pool.lua` is the same for nodes that share
one in Redis; here are the pools of a single process, and of a node whose Redis is away.

Bound: askers are at most the nodes of the cluster, quarters of seconds those of `EXPLAINED_S`.
"""

from __future__ import annotations

import math
from typing import Final

from .allowance import Lease

BUCKET_S: Final = 0.2
"""Rate that may be leased at once, after nobody asked for a while."""
LEASE_S: Final = 0.1
"""Rate that one lease holds, of the asker's part."""
ASKER_LIFE_S: Final = 2.0
"""How long one who asked is left its part."""
EXPLAINED_S: Final = 10
"""How long arrivals may be those whom we sent away: two heartbeats, and a client's first attempts
to come back."""
QUARTERS: Final = 4
"""Permits are counted by so many parts of a second."""


class Pool:
    """Permits that fill up at a rate which may differ with each call."""

    def __init__(self) -> None:
        self._level: float | None = None
        self._at = 0.0
        self._askers: dict[str, tuple[float, int]] = {}
        self._given: dict[int, int] = {}

    def explained_per_s(self, now: float) -> float:
        """The most that was leased within one second, of the last `EXPLAINED_S`."""
        oldest = math.floor(now * QUARTERS) - EXPLAINED_S * QUARTERS
        self._given = given = {at: n for at, n in self._given.items() if at > oldest}
        seconds = (sum(given.get(at - back, 0) for back in range(QUARTERS)) for at in given)
        return max(seconds, default=0)

    def lease(self, asker: str, wanted: int, rate_per_s: float, now: float) -> Lease:
        """Give `asker` up to `wanted` permits."""
        capacity = max(1.0, rate_per_s * BUCKET_S)
        elapsed = max(0.0, now - self._at)
        level = capacity if self._level is None else self._level + rate_per_s * elapsed
        level = min(capacity, level)
        share = self._share(asker, wanted, rate_per_s, now)
        permits = min(wanted, math.floor(level), max(1, math.floor(share * LEASE_S)))
        self._level, self._at = level - permits, now
        quarter = math.floor(now * QUARTERS)
        self._given[quarter] = self._given.get(quarter, 0) + permits
        self.explained_per_s(now)  # forgets those before
        wait = 0.0 if permits else math.ceil((1 - level) / rate_per_s * 1000) / 1000
        return Lease(permits, retry_after_s=wait, rate_per_s=share)

    def _share(self, asker: str, wanted: int, rate_per_s: float, now: float) -> float:
        self._askers[asker] = (now, wanted)
        self._askers = {
            name: asked for name, asked in self._askers.items() if now - asked[0] < ASKER_LIFE_S
        }
        most = math.ceil(rate_per_s)
        weights = {name: min(count, most) for name, (_, count) in self._askers.items()}
        return rate_per_s * weights[asker] / sum(weights.values())
