"""How fast clients arrive at a node, measured between two looks at a counter. Pure."""

from __future__ import annotations

from typing import Final

SHORTEST_S: Final = 1.0
"""Looks that follow each other sooner tell the rate of the last one: fewer arrivals say little."""


class Arrivals:
    """The rate of a counter that only grows."""

    def __init__(self) -> None:
        self._total: int | None = None
        self._at = 0.0
        self._per_s = 0.0

    def per_s(self, total: int, now: float) -> float:
        """Return arrivals per second since the last look."""
        if self._total is None:
            self._total, self._at = total, now
        elif now - self._at >= SHORTEST_S:
            self._per_s = (total - self._total) / (now - self._at)
            self._total, self._at = total, now
        return self._per_s
