"""What stands before an endpoint: how much is asked at once, who waits, and when nobody is let by.

Bounds: `concurrency` questions are under way, `queue_limit` wait for `queue_timeout_s` at most; the
next is refused at once, and so is everybody while the circuit is open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, NamedTuple, Protocol

from realtime_node.errors import BackendError
from realtime_node.proxy.backend import Backend, Headers
from realtime_node.proxy.circuit_breaker import CircuitBreaker, State

logger = logging.getLogger(__name__)

_AWAY: Final = frozenset({"timeout", "unreachable"})
_AWAY_STATUSES: Final = frozenset(
    {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
"""Failures of the backend as a whole. Any other, a 500 too, may be due to one client's question,
and one client must not be able to shut the door to all."""


class GuardInstruments(Protocol):
    """Where a guard counts; `telemetry.metrics` implements it."""

    def finished(self, outcome: str, seconds: float) -> None:
        """Count a question by what became of it."""

    def under_way(self, change: int) -> None:
        """Note that more or fewer are under way."""

    def waiting(self, change: int) -> None:
        """Note that more or fewer wait."""

    def circuit(self, state: str) -> None:
        """Note the state of the circuit."""


class GuardLimits(NamedTuple):
    """How much at once."""

    concurrency: int
    queue_limit: int
    queue_timeout_s: float


class GuardedBackend:
    """Implements `Backend` before another."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        name: str,
        backend: Backend,
        limits: GuardLimits,
        breaker: CircuitBreaker,
        instruments: GuardInstruments,
        *,
        now: Callable[[], float],
    ) -> None:
        """`name` is for the log; `now` in seconds of a monotonic clock."""
        self._name = name
        self._backend = backend
        self._limits = limits
        self._breaker = breaker
        self._instruments = instruments
        self._now = now
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._waiting = 0
        self._shown = State.CLOSED
        self._is_failing = False

    async def call(self, body: bytes, headers: Headers) -> bytes:
        """See `Backend.call`; raises `BackendError` too when it is not asked at all."""
        self._demand_closed(self._breaker.refusal(self._now()))
        await self._enter()
        try:
            return await self._ask(body, headers)
        finally:
            self._slots.release()

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._backend.close()

    async def _enter(self) -> None:
        if self._slots.locked() and self._waiting >= self._limits.queue_limit:
            self._refuse("queue_full", f"{self._waiting} questions wait already")
        self._count_waiting(1)
        try:
            async with asyncio.timeout(self._limits.queue_timeout_s):
                await self._slots.acquire()
        except TimeoutError:
            self._refuse("queue_full", f"not its turn in {self._limits.queue_timeout_s:g} s")
        finally:
            self._count_waiting(-1)

    async def _ask(self, body: bytes, headers: Headers) -> bytes:
        ticket, reason = self._breaker.admit(began := self._now())
        if ticket is None:
            self._demand_closed(reason)
            raise AssertionError("a refusal has its reason")
        self._show()
        outcome = "abandoned"
        self._instruments.under_way(1)
        try:
            answer = await self._backend.call(body, headers)
        except BackendError as error:
            outcome = error.outcome
            if outcome in _AWAY or error.status in _AWAY_STATUSES:
                self._breaker.failed(ticket, self._now())
            else:
                self._breaker.answered(ticket)
            self._tell(error)
            raise
        else:
            outcome = "ok"
            self._breaker.answered(ticket)
            self._is_failing = False
            return answer
        finally:
            if outcome == "abandoned":
                self._breaker.abandoned(ticket)
            self._instruments.under_way(-1)
            self._instruments.finished(outcome, self._now() - began)
            self._show()

    def _demand_closed(self, refusal: str) -> None:
        if refusal:
            self._refuse("circuit_open", refusal)

    def _refuse(self, outcome: str, reason: str) -> None:
        self._instruments.finished(outcome, 0.0)
        raise BackendError(f"{self._name} is not asked: {reason}", outcome)

    def _count_waiting(self, change: int) -> None:
        self._waiting += change
        self._instruments.waiting(change)

    def _tell(self, error: BackendError) -> None:
        """Write a failure into the log: the first after an answer, and not thousands."""
        level = logging.DEBUG if self._is_failing else logging.WARNING
        self._is_failing = True
        logger.log(level, "%s: %s", self._name, error)

    def _show(self) -> None:
        state = self._breaker.state
        if state is self._shown:
            return
        # A probe that fails, twice a minute in a long outage, is no news.
        if State.CLOSED in (state, self._shown):
            logger.warning("%s: the circuit is %s", self._name, state.value)
        self._shown = state
        self._instruments.circuit(state.value)
