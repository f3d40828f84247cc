"""The guard before an endpoint: how many at once, who waits, who is refused, what is counted."""

from __future__ import annotations

import asyncio
import logging

import pytest

from realtime_node.errors import BackendError
from realtime_node.proxy.backend import Headers
from realtime_node.proxy.circuit_breaker import BreakerLimits, CircuitBreaker
from realtime_node.proxy.guard import GuardedBackend, GuardLimits
from realtime_node.telemetry.metrics import Metrics
from tests.support.fakes import FakeClock, settle


class Slow:
    """A backend that answers when the test lets it, and counts how many ask at once."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[bytes]] = []
        self.most = 0

    async def call(self, body: bytes, headers: Headers) -> bytes:
        """See `Backend.call`."""
        del body, headers
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        self.most = max(self.most, len(self.waiting))
        try:
            return await future
        finally:
            self.waiting.remove(future)

    async def close(self) -> None:
        """Nothing to close."""


class Guarded:
    """A guard and what it stands before."""

    def __init__(self, *, concurrency: int = 2, queue_limit: int = 3, wait_s: float = 60) -> None:
        self.clock = FakeClock()
        self.slow = Slow()
        self.metrics = Metrics()
        self.guard = GuardedBackend(
            "connect proxy default",
            self.slow,
            GuardLimits(concurrency, queue_limit, wait_s),
            CircuitBreaker(BreakerLimits(failures=2)),
            self.metrics.proxy.of("connect", "default"),
            now=self.clock,
        )

    def ask(self) -> asyncio.Task[bytes]:
        """A question under way."""
        return asyncio.create_task(self.guard.call(b"{}", ()))

    async def fail(self, outcome: str = "unreachable", status: int = 0) -> str:
        """Ask, let it fail, and return how it did."""
        before = list(self.slow.waiting)
        task = self.ask()
        await settle()
        for future in self.slow.waiting:
            if future not in before:
                future.set_exception(BackendError("no", outcome, status=status))
        with pytest.raises(BackendError) as raised:
            await task
        return raised.value.outcome

    def count(self, outcome: str) -> float:
        """How many questions came to this."""
        sample = f'proxy_requests_total{{event="connect",outcome="{outcome}",proxy="default"}}'
        lines = self.metrics.expose().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if sample in line)

    def shows(self, sample: str) -> bool:
        """Whether a sample is among what is exposed."""
        return any(sample in line for line in self.metrics.expose().decode().splitlines())


async def test_no_more_than_allowed_ask_at_once() -> None:
    """The others wait for their turn, in order, and all are answered."""
    guarded = Guarded()
    tasks = [guarded.ask() for _ in range(5)]
    await settle()
    assert len(guarded.slow.waiting) == 2
    assert guarded.shows('proxy_waiting{event="connect",proxy="default"} 3.0')
    while guarded.slow.waiting:
        guarded.slow.waiting[0].set_result(b"yes")
        await settle()
    assert await asyncio.gather(*tasks) == [b"yes"] * 5
    assert guarded.slow.most == 2
    assert guarded.count("ok") == 5
    assert guarded.shows('proxy_under_way{event="connect",proxy="default"} 0.0')


async def test_one_more_than_may_wait_is_refused_at_once() -> None:
    """A full queue answers without waiting."""
    guarded = Guarded()
    tasks = [guarded.ask() for _ in range(5)]
    await settle()
    with pytest.raises(BackendError, match="3 questions wait already"):
        await guarded.guard.call(b"{}", ())
    assert guarded.count("queue_full") == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert guarded.count("abandoned") == 2


async def test_nobody_waits_for_longer_than_allowed() -> None:
    """A turn that does not come is an error."""
    guarded = Guarded(concurrency=1, wait_s=0.01)
    first = guarded.ask()
    await settle()
    with pytest.raises(BackendError, match="not its turn"):
        await guarded.guard.call(b"{}", ())
    guarded.slow.waiting[0].set_result(b"yes")
    assert await first == b"yes"


async def test_a_client_that_leaves_makes_room() -> None:
    """Cancelled questions, waiting or asked, hold no place."""
    guarded = Guarded(concurrency=1)
    tasks = [guarded.ask() for _ in range(3)]
    await settle()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    last = guarded.ask()
    await settle()
    guarded.slow.waiting[0].set_result(b"yes")
    assert await last == b"yes"


async def test_an_open_circuit_answers_at_once_and_closes_again() -> None:
    """After failures nobody is let by for a while; then one is, and then all are."""
    guarded = Guarded()
    assert await guarded.fail() == "unreachable"
    assert await guarded.fail("status", 503) == "status"
    assert guarded.shows('state="open"} 1.0')
    assert await guarded.fail() == "circuit_open"
    assert guarded.slow.waiting == []
    guarded.clock.advance(1.0)
    task = guarded.ask()
    await settle()
    assert await guarded.fail() == "circuit_open"
    guarded.slow.waiting[0].set_result(b"yes")
    assert await task == b"yes"
    assert guarded.shows('state="closed"} 1.0')
    assert guarded.count("circuit_open") == 2


async def test_those_who_wait_when_it_opens_are_answered_at_once() -> None:
    """A queue does not go on asking a backend that was found to fail."""
    guarded = Guarded()
    tasks = [guarded.ask() for _ in range(5)]
    await settle()
    for future in list(guarded.slow.waiting):
        future.set_exception(BackendError("no", "timeout"))
    await settle()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [error.outcome for error in outcomes if isinstance(error, BackendError)] == [
        "timeout",
        "timeout",
        "circuit_open",
        "circuit_open",
        "circuit_open",
    ]


@pytest.mark.parametrize(
    ("outcome", "status"), [("status", 404), ("status", 500), ("malformed", 0), ("too_large", 0)]
)
async def test_a_backend_that_answers_wrongly_is_alive(outcome: str, status: int) -> None:
    """What only one question may be to blame for does not open the circuit for all."""
    guarded = Guarded()
    for _ in range(5):
        assert await guarded.fail(outcome, status) == outcome


async def test_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """However many clients meet a dead backend: one warning of it, and one of the circuit."""
    caplog.set_level(logging.WARNING)
    guarded = Guarded()
    for _ in range(10):
        await guarded.fail()
    assert len(caplog.records) == 2
