"""Rates of what happened, from the times at which it did. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def peak_per_s(times: Iterable[float], window_s: float = 1.0) -> float:
    """Return the most that happened within any window, wherever it begins, per second."""
    ordered = sorted(times)
    first, most = 0, 0
    for last, time in enumerate(ordered):
        while ordered[first] <= time - window_s:
            first += 1
        most = max(most, last + 1 - first)
    return most / window_s


def by_second(times: Iterable[float], begun: float, seconds: int) -> list[int]:
    """Return how many happened in each of so many seconds from `begun` on."""
    counts = [0] * seconds
    for time in times:
        second = int(time - begun) if time >= begun else -1
        if 0 <= second < seconds:
            counts[second] += 1
    return counts


@dataclass(frozen=True)
class Demand:
    """What came to one node: when clients knocked, were let in, and were sent away."""

    attempts: Sequence[float]
    admitted: Sequence[float]
    refused: Sequence[float]

    def waiting(self, at: float) -> int:
        """Return how many had knocked and were not answered yet."""
        knocked, let_in, sent_away = (
            sum(time < at for time in times)
            for times in (self.attempts, self.admitted, self.refused)
        )
        return knocked - let_in - sent_away


@dataclass(frozen=True)
class Admission:
    """How fast a node let clients in while more wanted in than it lets."""

    judged_s: int
    """Seconds in which demand exceeded the rate; without any there is nothing to judge."""
    per_s: float
    """Mean over these."""
    peak_per_s: float
    """In any second."""


def admission(demand: Demand, rate_per_s: float, begun: float, ended: float) -> Admission:
    """Judge the seconds in which at least the rate's worth was waiting or knocked."""
    seconds = max(int(ended - begun), 0)
    knocks = by_second(demand.attempts, begun, seconds)
    admitted = by_second(demand.admitted, begun, seconds)
    judged = [
        admitted[second]
        for second in range(seconds)
        if demand.waiting(begun + second) + knocks[second] >= rate_per_s
    ]
    inside = sorted(time for time in demand.admitted if begun <= time < ended)
    return Admission(
        judged_s=len(judged),
        per_s=sum(judged) / len(judged) if judged else 0.0,
        peak_per_s=peak_per_s(inside),
    )


def count_between(times: Sequence[float], begun: float, ended: float) -> int:
    """Return how many of these times, which are in order, lie in [begun, ended)."""
    return bisect_left(times, ended) - bisect_left(times, begun)
