"""How long a client waits before it tries again: the full jitter of the official SDKs. Pure.

The wait is the least one plus a random part that may double with every failure, and never more than
the most. The first wait is thus between once and twice the least, whatever the server says.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

_MOST_DOUBLINGS: Final = 31


@dataclass(frozen=True)
class Backoff:
    """The two bounds that an SDK is given."""

    least_s: float
    most_s: float

    def delay_s(self, failures: int, random: Random) -> float:
        """Return the wait after so many failures in a row, 0 for the first try."""
        spread_s = self.least_s * 2.0 ** min(failures, _MOST_DOUBLINGS)
        return min(self.most_s, self.least_s + random.uniform(0, min(self.most_s, spread_s)))


SDK_DEFAULT: Final = Backoff(0.5, 20.0)
"""`minReconnectDelay: 500, maxReconnectDelay: 20000`; subscriptions wait likewise."""

DOCUMENTED: Final = Backoff(1.0, 30.0)
"""What docs/clients.md asks for."""
