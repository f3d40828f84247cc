"""How many events per second there are at the moment: an average that forgets. Pure."""

from __future__ import annotations

from math import exp
from typing import Final

MEMORY_S: Final = 5.0
"""After so many seconds an event counts a third."""


class AcceptRate:
    """An exponentially weighted rate."""

    __slots__ = ("_at", "_per_s")

    def __init__(self, now: float) -> None:
        """Begin at none."""
        self._at = now
        self._per_s = 0.0

    def count(self, now: float) -> None:
        """Count an event."""
        self._per_s = self.per_s(now) + 1 / MEMORY_S
        self._at = now

    def per_s(self, now: float) -> float:
        """Return the rate as it looks now."""
        return self._per_s * exp((self._at - now) / MEMORY_S)
