"""The life of a drain: what is asked of a node, and what it does next.

Theory of operation. A node serves until it is asked to be empty, by the internal API or by a signal
that ends the process. Its door is shut first. Balancers go on choosing it for a while, so it waits
for that to pass (*propagation*); then it closes its clients one by one, as fast as the cluster's
budget allows and no faster than it was asked to. A node that is about to end has a deadline: what
is left then is closed all the same, spread over the last seconds (*forcing*).

    serving ──cordon──▶ cordoned ──start──▶ draining ──empty──▶ drained
       ▲                   │  ▲─────pause──────┤ │                ▲
       └──────abort────────┴───────────────────┘ └deadline▶ forcing

Without an end of the process there is no forcing: a deadline asked for by the API is what the drain
aims at, and is moved rather than the budget broken.

What is asked for is a level, not an event: `Order` says how things shall be, and repeating it
changes nothing. `next_step` is asked whenever something may have changed; it reads no clock and
does nothing itself. The drainer does what it says and asks again, at `wake_at` at the latest.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

import msgspec

NEVER: Final = float("inf")
UNLIMITED: Final = float("inf")
QUIET_S: Final = 5.0
"""Nobody was let in for so long: a request that was under way when the door was shut has come
through. Never longer than the propagation."""
EXTENSION_S: Final = 10.0
"""A deadline that cannot be kept is moved by so much at least."""


class Phase(Enum):
    """Where a node is on its way to being empty."""

    SERVING = "serving"
    CORDONED = "cordoned"
    DRAINING = "draining"
    FORCING = "forcing"
    DRAINED = "drained"


class Event(Enum):
    """What moves it on."""

    CORDON = "cordon"
    START = "start"
    PAUSE = "pause"
    DEADLINE = "deadline"
    EMPTY = "empty"
    LATECOMER = "latecomer"
    ABORT = "abort"


TRANSITIONS: Final[dict[tuple[Phase, Event], Phase]] = {
    (Phase.SERVING, Event.CORDON): Phase.CORDONED,
    (Phase.CORDONED, Event.START): Phase.DRAINING,
    (Phase.CORDONED, Event.DEADLINE): Phase.FORCING,
    (Phase.CORDONED, Event.EMPTY): Phase.DRAINED,
    (Phase.CORDONED, Event.ABORT): Phase.SERVING,
    (Phase.DRAINING, Event.PAUSE): Phase.CORDONED,
    (Phase.DRAINING, Event.DEADLINE): Phase.FORCING,
    (Phase.DRAINING, Event.EMPTY): Phase.DRAINED,
    (Phase.DRAINING, Event.ABORT): Phase.SERVING,
    (Phase.FORCING, Event.EMPTY): Phase.DRAINED,
    (Phase.DRAINED, Event.PAUSE): Phase.CORDONED,
    (Phase.DRAINED, Event.LATECOMER): Phase.DRAINING,
    (Phase.DRAINED, Event.ABORT): Phase.SERVING,
}
"""Every legal move. Forcing has no abort: only a process that ends forces, and it ends."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """How a drain is to be; times in seconds from its beginning."""

    is_to_empty: bool
    """False: only shut the door, and keep the clients."""
    reason: str = ""
    rate_per_s: float = UNLIMITED
    """Closes per second, if the budget allows so many."""
    window_s: float | None = None
    """Spread the closes over so much time. None: as fast as the rate and the budget allow."""
    deadline_s: float | None = None
    """Be done by then. None: whenever."""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the process, in seconds of the monotonic clock."""

    force_at: float
    """When those who are left are closed whatever the budget says."""
    closed_by: float
    """When the last of them is."""
    exit_at: float
    """When the process is gone, having said goodbye to clients and cluster."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a node was asked for and how far it is."""

    phase: Phase = Phase.SERVING
    order: Order | None = None
    began_at: float = 0.0
    """When the door was shut."""
    draining_since: float = 0.0
    extended_to: float = 0.0
    """A deadline of the order that could not be kept was moved to here."""
    end: End | None = None

    @property
    def deadline_at(self) -> float:
        """When the node is to be empty, by whichever is nearer."""
        asked = NEVER
        if self.order is not None and self.order.deadline_s is not None:
            asked = max(self.began_at + self.order.deadline_s, self.extended_to)
        return asked if self.end is None else min(asked, self.end.closed_by)


class Facts(NamedTuple):
    """What a decision needs to know of the node."""

    remaining: int
    """Clients that are connected, or about to be."""
    accepted_at: float
    """When the last one was let in."""
    propagation_s: float
    """How long balancers may go on choosing a node that is cordoned."""
    leased_per_s: float
    """What the budget gives this node; `UNLIMITED` while that is not known."""


class Action(Enum):
    """What the drainer has to do."""

    WAIT = "wait"
    CLOSE = "close"
    """Close clients at `rate_per_s`, each with a permit."""
    FORCE = "force"
    """Close all clients until `End.closed_by`, permits or not."""
    EXTEND = "extend"
    """Move the deadline; it cannot be kept."""


class Step(NamedTuple):
    """A move to make first, if any, then what to do until when, and why."""

    action: Action
    reason: str
    event: Event | None = None
    wake_at: float = NEVER
    rate_per_s: float = 0.0


# --- what comes next ------------------------------------------------------------------------------


def next_step(plan: Plan, facts: Facts, now: float) -> Step:
    """Return what the node has to do now."""
    if plan.order is None:
        return Step(Action.WAIT, "the node serves")
    return _NEXT[plan.phase](plan, plan.order, facts, now)


def _serving(_plan: Plan, _order: Order, _facts: Facts, _now: float) -> Step:
    return Step(Action.WAIT, "the node serves")


def _cordoned(plan: Plan, order: Order, facts: Facts, now: float) -> Step:
    if not order.is_to_empty:
        return Step(Action.WAIT, "the door is shut, the clients stay")
    if not facts.remaining:
        return Step(Action.WAIT, "nobody is left", Event.EMPTY, now)
    force_at = NEVER if plan.end is None else plan.end.force_at
    if now >= force_at:
        return Step(Action.WAIT, "the grace is nearly over", Event.DEADLINE, now)
    quiet_at = facts.accepted_at + min(facts.propagation_s, QUIET_S)
    over_at = max(plan.began_at + facts.propagation_s, quiet_at)
    if now >= over_at:
        return Step(Action.WAIT, "balancers choose other nodes by now", Event.START, now)
    return Step(Action.WAIT, "balancers may still choose this node", None, min(over_at, force_at))


def _draining(plan: Plan, order: Order, facts: Facts, now: float) -> Step:
    if not facts.remaining:
        return Step(Action.WAIT, "nobody is left", Event.EMPTY, now)
    rate = _asked_rate(plan, order, facts, now)
    if plan.end is not None:
        if now >= plan.end.force_at:
            return Step(Action.WAIT, "the grace is nearly over", Event.DEADLINE, now)
        # It is nearer than anything that was asked for.
        rate = max(rate, facts.remaining / max(plan.end.force_at - now, _SHORTEST_S))
        return Step(Action.CLOSE, "the process ends", None, plan.end.force_at, rate)
    if now >= plan.deadline_at:
        return Step(Action.EXTEND, "the budget does not allow to keep the deadline", None, now)
    return Step(Action.CLOSE, "the node is to be empty", None, plan.deadline_at, rate)


def _forcing(_plan: Plan, _order: Order, facts: Facts, now: float) -> Step:
    if not facts.remaining:
        return Step(Action.WAIT, "nobody is left", Event.EMPTY, now)
    return Step(Action.FORCE, "the process ends before the budget allows it")


def _drained(_plan: Plan, _order: Order, facts: Facts, now: float) -> Step:
    if facts.remaining:
        return Step(Action.WAIT, "a client came through the door late", Event.LATECOMER, now)
    return Step(Action.WAIT, "nobody is left", wake_at=now + _LOOK_AGAIN_S)


_NEXT: Final[dict[Phase, Callable[[Plan, Order, Facts, float], Step]]] = {
    Phase.SERVING: _serving,
    Phase.CORDONED: _cordoned,
    Phase.DRAINING: _draining,
    Phase.FORCING: _forcing,
    Phase.DRAINED: _drained,
}


def _asked_rate(plan: Plan, order: Order, facts: Facts, now: float) -> float:
    """Closes per second that were asked for: what the window needs, and no more than the rate."""
    if order.window_s is None or plan.extended_to:
        return order.rate_per_s
    over_at = min(plan.draining_since + order.window_s, plan.deadline_at)
    needed = facts.remaining / max(over_at - now, _SHORTEST_S)
    return min(order.rate_per_s, needed)


def moved(plan: Plan, event: Event, now: float) -> Plan:
    """Make the move of a step."""
    phase = TRANSITIONS[plan.phase, event]
    since = now if phase is Phase.DRAINING else plan.draining_since
    return msgspec.structs.replace(plan, phase=phase, draining_since=since)


def extended(plan: Plan, facts: Facts, now: float) -> Plan:
    """Move the deadline to where the present rate will have the node empty."""
    assert plan.order is not None
    rate = min(plan.order.rate_per_s, facts.leased_per_s)
    return msgspec.structs.replace(plan, extended_to=now + max(EXTENSION_S, facts.remaining / rate))


_LOOK_AGAIN_S: Final = 1.0
_SHORTEST_S: Final = 0.001
