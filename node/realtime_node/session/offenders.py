"""Who was closed for being too slow, and comes back for what it could not take.

A client that is closed for slowness (3008) recovers. One that is slow for good recovers more than
it can take, is closed, and so on, without end and at everybody's expense. So whoever was closed for
it three times within a minute is given only the newest, and told so (`recovered: false`).

A connection has nothing that survives it but its user, and a user may have many connections. What
tells a returning client is the position from which it recovers. So a slow client leaves a *ticket*:
its user, the part of each stream in which its position must be, and when it was closed. The next
connection of the user that recovers from such a position takes the ticket, and with it the past;
no other client is treated as slow, and a ticket is taken once. Pure.

All anonymous clients have the same empty user. So a recovery looks at `MAX_LOOKED_AT` tickets of
its user and channel at most, the newest first: in a storm of slow anonymous clients an older ticket
may be missed, and its client is then treated like any other.

Full: beyond `MAX_TICKETS` the oldest is forgotten; its client is then treated like any other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice
from typing import Final, NamedTuple

from realtime_node.protocol.messages import StreamPosition

MAX_TICKETS: Final = 10_000
MAX_LOOKED_AT: Final = 100
"""Tickets of one user and channel that a recovery looks at: a storm of one user's clients must not
cost each of them a look at all the others' tickets."""
WITHIN_S: Final = 60.0
"""How long a close for slowness counts."""
TIMES: Final = 3
"""Closes within that time that make a repeat offender."""

Strikes = tuple[float, ...]
"""When a client was closed for slowness, in seconds of the monotonic clock."""


class Stretch(NamedTuple):
    """A part of a stream: the position of a client that saw some of it is in here."""

    epoch: str
    first: int
    """The offset at which the client began."""
    last: int
    """The offset up to which this node had received when the client was closed."""


class _Ticket(NamedTuple):
    user: str
    stretches: Mapping[str, Stretch]
    strikes: Strikes


def recent(strikes: Strikes, now: float) -> Strikes:
    """Return the strikes that still count."""
    return tuple(at for at in strikes if now - at < WITHIN_S)


def is_repeat_offender(strikes: Strikes, now: float) -> bool:
    """Whether a client was closed for slowness too often to be given everything again."""
    return len(recent(strikes, now)) >= TIMES


class Offenders:
    """The tickets that slow clients of this node left."""

    def __init__(self) -> None:
        """Begin with none."""
        self._tickets: OrderedDict[int, _Ticket] = OrderedDict()
        # The numbers of a user's tickets in a channel, the newest last.
        self._by_user: dict[tuple[str, str], dict[int, None]] = {}
        self._number = 0

    def __len__(self) -> int:
        """Return how many tickets wait to be taken."""
        return len(self._tickets)

    def leave(
        self, user: str, stretches: Mapping[str, Stretch], strikes: Strikes, now: float
    ) -> None:
        """Leave a ticket for a client that is closed `now`, after earlier `strikes`."""
        self._expire(now)
        if not stretches:
            return  # it has no position, so it cannot recover
        if len(self._tickets) >= MAX_TICKETS:
            self._forget(next(iter(self._tickets)))
        self._number += 1
        self._tickets[self._number] = _Ticket(user, stretches, (*recent(strikes, now), now))
        for channel in stretches:
            self._by_user.setdefault((user, channel), {})[self._number] = None

    def take(self, user: str, channel: str, asked: StreamPosition, now: float) -> Strikes:
        """Take the newest ticket that fits a recovering client; return its strikes, if any."""
        self._expire(now)
        numbers = self._by_user.get((user, channel), {})
        for number in islice(reversed(numbers), MAX_LOOKED_AT):
            ticket = self._tickets[number]
            stretch = ticket.stretches[channel]
            if asked.epoch in ("", stretch.epoch) and stretch.first <= asked.offset <= stretch.last:
                self._forget(number)
                return ticket.strikes
        return ()

    def _expire(self, now: float) -> None:
        while self._tickets:
            number = next(iter(self._tickets))
            if now - self._tickets[number].strikes[-1] < WITHIN_S:
                return
            self._forget(number)

    def _forget(self, number: int) -> None:
        ticket = self._tickets.pop(number)
        for channel in ticket.stretches:
            numbers = self._by_user[ticket.user, channel]
            del numbers[number]
            if not numbers:
                del self._by_user[ticket.user, channel]
