"""Whether a handshake is let in, as a pure decision: accept, wait or refuse, and why.

The order of the rules is their cost and their certainty. What makes the node useless to every
client comes first (cordoned, full, overloaded), then what this client's address has done, and last
what only time decides, its turn:

    rule                                            verdict   status
    the door is cordoned                            refuse    503
    as many connections as there may be             refuse    503
    the loop lags                                   refuse    503
    its address has no token                        refuse    429
    a token is there, and nobody waits before it    accept
    its turn comes within `wait_s`                  wait
    the waiting room is full                        refuse    503
    its turn would come too late                    refuse    503

A handshake that would wait in vain is refused at once: its client can try elsewhere meanwhile.
"""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus
from typing import Final, NamedTuple


class Verdict(Enum):
    """What becomes of a handshake."""

    ACCEPT = "accept"
    WAIT = "wait"
    REFUSE = "refuse"


class Reason(Enum):
    """Why; the values are labels of metrics."""

    OPEN = "open"
    """It comes in at once."""
    TURN = "turn"
    """It waits for its token."""
    CORDONED = "cordoned"
    MAX_CONNECTIONS = "max_connections"
    LOOP_LAG = "loop_lag"
    PER_IP = "per_ip"
    ROOM_FULL = "room_full"
    RATE = "rate"
    """Its turn would come, or has come, too late."""


REFUSALS: Final[dict[Reason, tuple[HTTPStatus, str]]] = {
    Reason.CORDONED: (HTTPStatus.SERVICE_UNAVAILABLE, "this node takes no new clients"),
    Reason.MAX_CONNECTIONS: (HTTPStatus.SERVICE_UNAVAILABLE, "this node is full"),
    Reason.LOOP_LAG: (HTTPStatus.SERVICE_UNAVAILABLE, "this node is overloaded"),
    Reason.PER_IP: (
        HTTPStatus.TOO_MANY_REQUESTS,
        "too many connections from your address: slow down",
    ),
    Reason.ROOM_FULL: (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too many clients are waiting to be let in",
    ),
    Reason.RATE: (HTTPStatus.SERVICE_UNAVAILABLE, "too many clients want to be let in"),
}
"""How a client is told; a cordon's own reason replaces the text."""


class Refusal(NamedTuple):
    """What a client is told that may not come in now, and when it is worth trying again."""

    status: HTTPStatus
    reason: str
    retry_after_s: int
    """Whole seconds, at least one, as `Retry-After` is written."""


class Bounds(NamedTuple):
    """What a node may have of clients; 0 as a number is no bound."""

    max_connections: int = 0
    """WebSockets, and handshakes that wait to become one."""
    max_waiting: int = 5_000
    wait_s: float = 5.0
    """How long a handshake may wait."""


class Facts(NamedTuple):
    """What is known when a handshake arrives."""

    is_cordoned: bool
    is_shedding: bool
    """The loop lags; see `shedding`."""
    connections: int
    """WebSockets that are open."""
    waiting: int
    """Handshakes that wait for their turn."""
    address_wait_s: float
    """Seconds until its address has a token again; 0: it has one."""
    turn_wait_s: float | None
    """Seconds until its turn; 0: it is its turn. None: soon, but when is not known."""


class Decision(NamedTuple):
    """A verdict, its reason, and for a refusal when the reason may be gone."""

    verdict: Verdict
    reason: Reason
    clears_in_s: float = 0.0
    """An estimate; 0 where there is none."""


_ACCEPTED: Final = Decision(Verdict.ACCEPT, Reason.OPEN)
_WAITING: Final = Decision(Verdict.WAIT, Reason.TURN)


def admit(facts: Facts, bounds: Bounds) -> Decision:
    """Decide about one handshake."""
    if facts.is_cordoned:
        return Decision(Verdict.REFUSE, Reason.CORDONED)
    if 0 < bounds.max_connections <= facts.connections + facts.waiting:
        return Decision(Verdict.REFUSE, Reason.MAX_CONNECTIONS)
    if facts.is_shedding:
        return Decision(Verdict.REFUSE, Reason.LOOP_LAG)
    if facts.address_wait_s > 0:
        return Decision(Verdict.REFUSE, Reason.PER_IP, facts.address_wait_s)
    return _take_turn(facts, bounds)


def _take_turn(facts: Facts, bounds: Bounds) -> Decision:
    if facts.turn_wait_s == 0 and not facts.waiting:
        return _ACCEPTED
    turn_wait_s = facts.turn_wait_s or 0.0
    if facts.waiting >= bounds.max_waiting:
        return Decision(Verdict.REFUSE, Reason.ROOM_FULL, turn_wait_s)
    if turn_wait_s > bounds.wait_s:
        return Decision(Verdict.REFUSE, Reason.RATE, turn_wait_s)
    return _WAITING


class RetryRange(NamedTuple):
    """The times within which refused clients are asked to come back, in whole seconds."""

    least_s: int = 1
    most_s: int = 30


def retry_after_s(clears_in_s: float, between: RetryRange, random: float) -> int:
    """Return when to come back: after what was estimated, or up to twice as long.

    `random` in [0, 1) spreads those who are sent away, or they would all come back together; that
    holds at the upper end of the range, too.
    """
    high = min(max(2 * clears_in_s, 2.0 * between.least_s), between.most_s)
    low = max(high / 2, between.least_s)
    return max(round(low + random * (high - low)), 1)


def sheds(was_shedding: bool, lag_s: float, limit_s: float) -> bool:  # noqa: FBT001 - a state
    """Whether a loop that lags so much lets nobody in (`limit_s` 0: it always does).

    It begins at the limit and ends at half of it: what the node is spared by shedding must not be
    what makes it stop at once.
    """
    if not limit_s:
        return False
    return lag_s > (limit_s / 2 if was_shedding else limit_s)
