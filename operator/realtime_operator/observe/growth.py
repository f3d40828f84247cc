"""How fast a cluster's clients become more, without those who only come back.

A drain, a shed or a lost node closes connections, and seconds later as many clients arrive
elsewhere. Neither is growth. Whoever was sent away is *owed*: arrivals pay that back first, and
what is not back after a while is no longer waited for.

A node that does not answer may only hang, or be lost with its machine, which nobody says for a
minute: its clients count, and the same may be back already. What the others get beyond the growth
of before is taken for them, up to as many as silent nodes had. If these only hang, growth in that
time is seen later, as soon as they answer.
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
    silent: float = 0.0
    """What nodes had last that do not answer, and may be lost."""
    settled: float = 0.0
    """What was `silent` at the last look, and is known or lost by now."""


class Growth:
    """Clients that come more than go, per second."""

    def __init__(self) -> None:
        """Begin without knowing any."""
        self.per_s: float | None = None
        """Smoothed; None until something was watched."""
        self._owed = 0.0
        self._silent = 0.0
        self._came = 0.0
        """From silent nodes, as far as it seems; below 0, fewer are on the others than before."""

    @property
    def elsewhere(self) -> float:
        """Share of what silent nodes had that is back on others, as far as it seems: 0 to 1."""
        return max(0.0, self._came) / self._silent if self._silent else 0.0

    def add(self, moves: Moves, passed_s: float) -> None:
        """Take in what has moved within some seconds, more than none."""
        self._owed = self._owed * math.exp(-passed_s / RETURN_WITHIN_S) + moves.closed + moves.lost
        returned = min(self._owed, moves.arrivals)
        self._owed -= returned
        change = moves.change + moves.closed - returned
        now_per_s = (change - self._come_from_silent(change, moves, passed_s)) / passed_s
        share = 1 - math.exp(-passed_s / SMOOTHED_OVER_S)
        before = self.per_s or 0.0
        self.per_s = before + share * (now_per_s - before)

    def _come_from_silent(self, change: float, moves: Moves, passed_s: float) -> float:
        """How many of those that are more now are taken for clients of silent nodes."""
        self._came -= self.elsewhere * moves.settled
        self._silent = moves.silent
        if not self._silent:
            self._came = 0.0
            return 0.0
        before = max(0.0, self._came)
        usual = max(0.0, self.per_s or 0.0) * passed_s
        self._came = min(self._silent, self._came + change - usual)
        return max(0.0, self._came) - before
