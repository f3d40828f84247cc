"""How long a client waits before it tries again: the SDKs' full jitter. Pure.

The least wait, plus a random part that may double with every failure in a row: the first retry
comes between once and twice the least wait, whatever the server says.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MOST_FAILURES: Final = 6
"""Further ones change no wait: the bound is reached."""


class Backoff(NamedTuple):
    """The two bounds that an SDK is given."""

    least_s: float
    most_s: float

    def bounds_s(self, failures: int) -> tuple[float, float]:
        """Between what the wait is drawn, evenly, after so many failures in a row."""
        widest = min(self.most_s, self.least_s * 2.0**failures)
        return self.least_s, min(self.most_s, self.least_s + widest)
