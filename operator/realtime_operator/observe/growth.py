"""How fast a cluster's clients become more, without those who only come back.

A drain, a shed or a lost node closes connections, and seconds later as many clients arrive
elsewhere. Neither is growth. Whoever was sent away is *owed*: arrivals pay that back first, and
what is not back after a while is no longer waited for.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

SMOOTHED_OVER_S: Final = 60.0
"""Time constant by which growth is smoothed. Looked ahead for as long, a burst counts once again;
one that goes on counts more and more."""

RETURN_WITHIN_S: Final = 60.0
"""Time constant by which clients that were sent away are no longer expected back."""


class Moves(NamedTuple):
    """What became of clients since the last look; all of it may be summed over nodes."""

    change: float = 0.0
    """How many more there are, on nodes that go on."""
    closed: float = 0.0
    """Closed by drains and sheds of nodes that go on: `change` lacks them."""
    lost: float = 0.0
    """What nodes had that are gone, or have restarted."""
    arrivals: float = 0.0
    """Clients that came to nodes that go on."""


class Growth:
    """Clients that come more than go, per second."""

    def __init__(self) -> None:
        """Begin without knowing any."""
        self.per_s: float | None = None
        """Smoothed; None until something was watched."""
        self._owed = 0.0

    def add(self, moves: Moves, passed_s: float) -> None:
        """Take in what has moved within some seconds, more than none."""
        self._owed = self._owed * math.exp(-passed_s / RETURN_WITHIN_S) + moves.closed + moves.lost
        returned = min(self._owed, moves.arrivals)
        self._owed -= returned
        now_per_s = (moves.change + moves.closed - returned) / passed_s
        share = 1 - math.exp(-passed_s / SMOOTHED_OVER_S)
        before = self.per_s or 0.0
        self.per_s = before + share * (now_per_s - before)
