"""When a backend that fails is not asked any more, and when again. Pure: the clock is passed in.

    state       event                                   then
    closed      so many failures in a row               open
    open        the pause has passed                    half open
    half open   the one question that is let by: fails  open, with twice the pause
    half open   it is answered                          closed

While it is open everybody is refused at once; half open, everybody but one. What comes of questions
that were asked before the state changed is not counted.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class State(Enum):
    """Whether the backend is asked."""

    CLOSED = "closed"
    HALF_OPEN = "half open"
    OPEN = "open"


class Event(Enum):
    """What moves a breaker on."""

    TRIP = "too many failures in a row"
    PAUSE_OVER = "the pause has passed"
    PROBE_FAILED = "the probe failed"
    PROBE_ANSWERED = "the probe was answered"


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.CLOSED, Event.TRIP): State.OPEN,
    (State.OPEN, Event.PAUSE_OVER): State.HALF_OPEN,
    (State.HALF_OPEN, Event.PROBE_FAILED): State.OPEN,
    (State.HALF_OPEN, Event.PROBE_ANSWERED): State.CLOSED,
}


class BreakerLimits(NamedTuple):
    """When it opens, and for how long."""

    failures: int = 10
    """In a row."""
    pause_s: float = 1.0
    longest_pause_s: float = 30.0


class Admission(NamedTuple):
    """Whether a question may be asked, and why."""

    ticket: int | None
    """To be handed back with what came of it; None: it may not be asked."""
    reason: str


class CircuitBreaker:
    """The breaker of one endpoint."""

    def __init__(self, limits: BreakerLimits | None = None) -> None:
        self._limits = limits or BreakerLimits()
        self._state = State.CLOSED
        self._period = 0
        """Changes with the state, so that late results can be told."""
        self._failures = 0
        self._pause_s = self._limits.pause_s
        self._opened_at = 0.0
        self._is_probing = False

    @property
    def state(self) -> State:
        """The state; an open one changes when it is asked for admission after its pause."""
        return self._state

    def refusal(self, now: float) -> str:
        """Say why nothing may be asked now; empty: something may."""
        if self._state is State.OPEN and now < self._opened_at + self._pause_s:
            return f"the backend failed {self._limits.failures} times in a row"
        if self._state is State.HALF_OPEN and self._is_probing:
            return "the backend failed, and one question is trying it"
        return ""

    def admit(self, now: float) -> Admission:
        """Let a question by, or not; what comes of it has to be told."""
        if reason := self.refusal(now):
            return Admission(None, reason)
        if self._state is State.OPEN:
            self._move(Event.PAUSE_OVER)
        self._is_probing = self._state is State.HALF_OPEN
        return Admission(self._period, self._state.value)

    def answered(self, ticket: int) -> None:
        """Take note of an answer."""
        if ticket != self._period:
            return
        self._failures = 0
        if self._state is State.HALF_OPEN:
            self._pause_s = self._limits.pause_s
            self._move(Event.PROBE_ANSWERED)

    def failed(self, ticket: int, now: float) -> None:
        """Take note of a failure."""
        if ticket != self._period:
            return
        if self._state is State.HALF_OPEN:
            self._pause_s = min(2 * self._pause_s, self._limits.longest_pause_s)
            self._open(now, Event.PROBE_FAILED)
            return
        self._failures += 1
        if self._failures >= self._limits.failures:
            self._open(now, Event.TRIP)

    def abandoned(self, ticket: int) -> None:
        """Take note that nobody waited for what came of it."""
        if ticket == self._period:
            self._is_probing = False

    def _open(self, now: float, event: Event) -> None:
        self._opened_at = now
        self._move(event)

    def _move(self, event: Event) -> None:
        self._state = TRANSITIONS[self._state, event]
        self._period += 1
        self._failures = 0
        self._is_probing = False
