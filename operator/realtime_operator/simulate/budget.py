"""The reconnect budget, as the nodes share it through Redis (ADR 0012). Pure.

    total = per node x accepting nodes (at least one)
    spare = total - max(0, arrivals - explained), at least a tenth of total

Arrivals are what came in lately, explained is what was closed in the busiest second of the last
ten: clients that were sent away and are back are not held against the drain that sent them.
"""

from __future__ import annotations

from collections import deque
from typing import Final

ARRIVALS_OVER_S: Final = 3.0
EXPLAINED_OVER_S: Final = 10.0
LEAST_SHARE: Final = 0.1


class ReconnectBudget:
    """How many clients may be closed per second, all nodes together."""

    def __init__(self) -> None:
        """Nobody has come or was closed yet."""
        self._arrivals: deque[tuple[float, float]] = deque()
        self._closed: deque[tuple[float, float]] = deque()

    def took(self, now: float, *, arrived_per_s: float, closed_per_s: float) -> None:
        """Tell what has happened since the last step."""
        self._arrivals.append((now, arrived_per_s))
        self._closed.append((now, closed_per_s))
        while self._arrivals and self._arrivals[0][0] <= now - ARRIVALS_OVER_S:
            self._arrivals.popleft()
        while self._closed and self._closed[0][0] <= now - EXPLAINED_OVER_S:
            self._closed.popleft()

    def spare_per_s(self, per_node: int, accepting: int) -> float:
        """What drains and sheds may close per second now."""
        total = float(per_node * max(1, accepting))
        arrivals = sum(each for _, each in self._arrivals) / max(1, len(self._arrivals))
        explained = max((each for _, each in self._closed), default=0.0)
        return max(total - max(0.0, arrivals - explained), LEAST_SHARE * total)
