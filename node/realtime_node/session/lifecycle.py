"""The life of a session: its states, and what is due when.

Theory of operation. A session is opened with the WebSocket, connected by its first command and
closed once. Everything that happens by itself, not on a command, has a deadline in `Deadlines`:

    opened ──connect──▶ connected ──close──▶ closed
       └──refuse──▶ refused ──close────────────▲

A session whose connect was answered with an error is of no use any more, as in Centrifugo: the
client comes back over a new connection, after its back-off or with a better token. Commands behind
the refused connect are dropped without an answer, as SDKs that send ahead expect. SDKs close such a
connection themselves; so that a close of ours does not cross theirs, it comes a moment later.

    state      deadline   then
    opened     stale      close 3502: the client never sent connect
    refused    refused    close 3000: the client has had its time to close by itself
    connected  pong       close 3012: no answer to our ping
    connected  expiry     close 3005: the token expired and was not refreshed in time
    connected  refresh    ask the team's backend whether the connection may go on
    connected  sub_expiry look for expired subscriptions
    connected  ping       send a ping, expect a pong

`next_step` is asked whenever the earliest deadline has come; it reads no clock and does nothing
itself. The session does what it says and sleeps until `wake_at`.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

import msgspec

from realtime_node.protocol import codes
from realtime_node.protocol.codes import CloseCode


class State(Enum):
    """Where a session is in its life."""

    OPENED = "opened"
    REFUSED = "refused"
    CONNECTED = "connected"
    CLOSED = "closed"


class Event(Enum):
    """What moves a session on."""

    CONNECT = "connect"
    REFUSE = "refuse"
    CLOSE = "close"


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.OPENED, Event.CONNECT): State.CONNECTED,
    (State.OPENED, Event.REFUSE): State.REFUSED,
    (State.OPENED, Event.CLOSE): State.CLOSED,
    (State.REFUSED, Event.CLOSE): State.CLOSED,
    (State.CONNECTED, Event.CLOSE): State.CLOSED,
}
"""Every legal move; a pair that is not here is refused by whoever asks for it."""

NEVER: Final = float("inf")
REFUSED_FOR_S: Final = 1.0
"""A client whose connect was answered with an error has so long to close the connection itself."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long a session may take, in seconds."""

    stale_after: float
    ping_interval: float
    """0: this node sends no pings."""
    pong_timeout: float
    expiry_grace: float
    """From the end of a token to the close, the client's time to refresh it."""


class Deadlines(msgspec.Struct, kw_only=True):
    """When something is due, in seconds of the monotonic clock; `NEVER` when it is not."""

    stale: float = NEVER
    refused: float = NEVER
    ping: float = NEVER
    pong: float = NEVER
    expiry: float = NEVER
    refresh: float = NEVER
    sub_expiry: float = NEVER

    def earliest(self) -> float:
        """Return when the session has to be looked at again."""
        return min(
            self.stale,
            self.refused,
            self.ping,
            self.pong,
            self.expiry,
            self.refresh,
            self.sub_expiry,
        )


class Action(Enum):
    """What a session has to do by itself."""

    WAIT = "wait"
    PING = "ping"
    REFRESH = "refresh"
    EXPIRE_SUBSCRIPTIONS = "expire subscriptions"
    CLOSE = "close"


class Step(NamedTuple):
    """An action, and for a close its code, which is also the reason."""

    action: Action
    close: CloseCode | None = None


def opened(limits: Limits, now: float) -> Deadlines:
    """Return the deadlines of a session whose WebSocket was just opened."""
    return Deadlines(stale=now + limits.stale_after)


def refused(now: float) -> Deadlines:
    """Return the deadlines of a session whose connect was answered with an error."""
    return Deadlines(refused=now + REFUSED_FOR_S)


def connected(limits: Limits, now: float, *, spread: float) -> Deadlines:
    """Return the deadlines of a session that was just connected.

    `spread` in [0, 1) puts the first ping somewhere in the second half of the interval, so that
    clients that came together are not pinged together.
    """
    deadlines = Deadlines()
    if limits.ping_interval > 0:
        deadlines.ping = now + limits.ping_interval * (1 + spread) / 2
    return deadlines


def next_step(deadlines: Deadlines, limits: Limits, now: float) -> Step:
    """Return what is due; when that is a ping, move the ping's and the pong's deadlines."""
    for deadline, close in (
        (deadlines.stale, codes.STALE),
        (deadlines.refused, codes.CONNECTION_CLOSED),
        (deadlines.pong, codes.NO_PONG),
        (deadlines.expiry, codes.CONNECTION_EXPIRED),
    ):
        if now >= deadline:
            return Step(Action.CLOSE, close)
    if now >= deadlines.refresh:
        deadlines.refresh = NEVER
        return Step(Action.REFRESH)
    if now >= deadlines.sub_expiry:
        deadlines.sub_expiry = NEVER
        return Step(Action.EXPIRE_SUBSCRIPTIONS)
    if now >= deadlines.ping:
        deadlines.ping = now + limits.ping_interval
        deadlines.pong = now + limits.pong_timeout if limits.pong_timeout > 0 else NEVER
        return Step(Action.PING)
    return Step(Action.WAIT)
