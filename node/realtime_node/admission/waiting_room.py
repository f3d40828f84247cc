"""Handshakes that wait for their turn: let in in their order, at exactly the node's rate.

    door ──join──▶ [first … last] ──turn──▶ guest.enter
                     │       └──client gone──▶ leave (costs no token)
                     └──waited for `wait_s`──▶ turned away by the door

A turn is a token of the node and, where the cluster has a limit, a permit of it. The room has one
timer for all: it rings when the next token is there or when the first has waited too long,
whichever is earlier, and since all wait equally long (but while the settings change), the first is
the only one to look at. Nobody polls, and a guest is its entry here and whatever it holds itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from typing import Final, Protocol

from realtime_node.admission.admit import Refusal
from realtime_node.admission.permits import Permits
from realtime_node.admission.token_bucket import ROUNDING_S, Rate, carried_over, spend, wait_s
from realtime_node.cluster.allowance import Allowance
from realtime_node.supervision import guard

MOST_TURNS: Final = 50
"""Guests let in by one ring; after a pause of the process many turns may have come at once."""
SHORTEST_RING_S: Final = 0.002
"""Seconds: loops count in milliseconds, and tokens that come closer are handed out together."""


class Guest(Protocol):
    """A handshake that can wait."""

    @property
    def is_gone(self) -> bool:
        """Whether its client has left without `leave` having been called yet."""

    def enter(self) -> None:
        """Become a WebSocket; it is its turn."""

    def turn_away(self, refusal: Refusal) -> None:
        """Be refused after all."""


class WaitingRoom:
    """The handshakes that wait at one node, and the tokens they wait for."""

    def __init__(  # noqa: PLR0913 - what it knows, and whom it tells
        self,
        rate: Rate,
        *,
        wait_s: float,
        monotonic: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
        on_turn: Callable[[float], None],
        on_late: Callable[[Guest], None],
        allowance: Allowance | None = None,
    ) -> None:
        """Be empty, with a full bucket.

        `on_turn` is told how long each waited who is about to enter, in seconds, and `on_late` who
        has waited in vain.
        """
        self._rate = rate
        self._wait_s = wait_s
        self._monotonic = monotonic
        self._call_later = call_later
        self._on_turn = on_turn
        self._on_late = on_late
        self._full_at = 0.0
        self._guests: OrderedDict[Guest, float] = OrderedDict()
        """Each with the end of its patience, in order. A plain dict is slow to be emptied so."""
        self._permits: Permits | None = None
        if allowance is not None:
            self._permits = Permits(
                allowance,
                monotonic=monotonic,
                call_later=call_later,
                wanted=self._usable,
                on_change=self._look,
            )
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Guests that wait."""
        return len(self._guests)

    def change(self, rate: Rate, wait_s: float) -> None:
        """Go by another rate; who comes from now on waits for `wait_s` at most."""
        self._full_at = carried_over(self._full_at, rate, self._monotonic())
        self._rate = rate
        self._wait_s = wait_s
        if self._guests:
            self._look()

    def turn_wait_s(self) -> float | None:
        """Return how long one who comes now will wait; 0: it is its turn, None: unknown."""
        now = self._monotonic()
        place = len(self._guests) + 1
        own_s = wait_s(self._full_at, place, self._rate, now)
        if self._permits is None:
            return own_s
        cluster_s = self._permits.wait_s(place, now)
        return None if cluster_s is None else max(own_s, cluster_s)

    def take_turn(self) -> bool:
        """Spend a token, and a permit where there are any; False: it is nobody's turn."""
        now = self._monotonic()
        if self._permits is not None and not self._permits.held(now):
            return False
        full_at = spend(self._full_at, 1, self._rate, now)
        if full_at is None:
            return False
        self._full_at = full_at
        if self._permits is not None:
            self._permits.use()
        return True

    def join(self, guest: Guest) -> None:
        """Wait behind all others."""
        self._guests[guest] = self._monotonic() + self._wait_s
        if self._timer is None:
            self._arm()

    def leave(self, guest: Guest) -> None:
        """Give a place up; does nothing if it is given up already."""
        self._guests.pop(guest, None)
        if not self._guests:
            self._disarm()

    def empty(self) -> list[Guest]:
        """Return all who wait, in their order, as guests no more."""
        guests = list(self._guests)
        self._guests.clear()
        self._disarm()
        return guests

    def close(self) -> None:
        """Ring and lease no more."""
        self._disarm()
        if self._permits is not None:
            self._permits.close()

    # --- The timer -----------------------------------------------------------------------------

    def _look(self) -> None:
        """Let in whose turn it is, and send away who waited too long."""
        self._disarm()
        try:
            for _ in range(MOST_TURNS):
                if not self._guests or not self._serve_first():
                    break
        finally:
            if self._guests:
                self._arm()

    def _serve_first(self) -> bool:
        """Do what is due for the first guest; False: nothing is."""
        guest, deadline = next(iter(self._guests.items()))
        is_served = True
        with guard("admission"):
            is_served = self._serve(guest, deadline)
        if is_served:
            self._guests.pop(guest, None)  # whatever became of it, the others do not wait for it
        return is_served

    def _serve(self, guest: Guest, deadline: float) -> bool:
        left_s = deadline - self._monotonic()
        if guest.is_gone:
            del self._guests[guest]
        elif left_s >= -ROUNDING_S and self.take_turn():
            del self._guests[guest]
            self._on_turn(max(self._wait_s - left_s, 0.0))
            guest.enter()
        elif left_s > ROUNDING_S:
            return False
        else:
            del self._guests[guest]
            self._on_late(guest)
        return True

    def _usable(self) -> int:
        """Permits of the cluster that could be used within a second."""
        waiting = len(self._guests)
        return min(waiting, ceil(self._rate.per_second)) if self._rate.per_second else waiting

    def _arm(self) -> None:
        """Ring at the first's turn or at the end of its patience."""
        now = self._monotonic()
        rings_in_s = next(iter(self._guests.values())) - now
        if self._permits is not None and not self._permits.held(now):
            self._permits.wish()  # and be told
        else:
            rings_in_s = min(rings_in_s, wait_s(self._full_at, 1, self._rate, now))
        self._timer = self._call_later(max(rings_in_s, SHORTEST_RING_S), self._look)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
