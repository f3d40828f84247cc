"""Answers that are shared: whatever becomes of a question, nobody waits for ever."""

from __future__ import annotations

import asyncio
from unittest import mock

import pytest

from realtime_node.cluster.in_memory.verdicts import InMemoryVerdicts
from realtime_node.errors import BackendError
from realtime_node.proxy.answers import ConnectVerdict
from realtime_node.proxy.cached import Cached
from tests.support.fakes import UNIX_START, FakeClock, settle


class Backend:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()
        self.error: BaseException | None = None

    async def ask(self) -> ConnectVerdict:
        """Be asked."""
        self.asked += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        return ConnectVerdict(user="ann")


@pytest.fixture
def cached() -> Cached[ConnectVerdict]:
    """Answers of a backend."""
    clock = FakeClock()
    return Cached(
        ConnectVerdict,
        InMemoryVerdicts(clock=clock),
        mock.Mock(),
        life_s=60,
        wall_clock=lambda: UNIX_START + clock(),
    )


async def ask(cached: Cached[ConnectVerdict], backend: Backend) -> ConnectVerdict | None:
    """Ask what all of a test ask."""
    return await cached.ask(b"k", backend.ask, lambda verdict: verdict.user)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("a bug"), ValueError),
        (BackendError("500", "status"), BackendError),
        (asyncio.CancelledError(), BackendError),
    ],
)
async def test_what_a_question_raises_is_told_to_all_who_wait(
    cached: Cached[ConnectVerdict], error: BaseException, told: type[Exception]
) -> None:
    """Also a cancellation that nobody asked for; and the next one asks anew."""
    backend = Backend()
    backend.error = error
    waiting = [asyncio.create_task(ask(cached, backend)) for _ in range(3)]
    await settle()
    backend.answers.set()
    for task in waiting:
        with pytest.raises(told):
            await task
    assert backend.asked == 1
    backend.error = None
    assert await ask(cached, backend) == ConnectVerdict(user="ann")
    await settle()
    assert not cached._under_way
    assert not cached._tasks


async def test_who_leaves_does_not_take_the_answer_along(cached: Cached[ConnectVerdict]) -> None:
    """The others who wait for it get it."""
    backend = Backend()
    first, second = (asyncio.create_task(ask(cached, backend)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    backend.answers.set()
    assert await second == ConnectVerdict(user="ann")
    assert backend.asked == 1


async def test_closing_leaves_nobody_waiting(cached: Cached[ConnectVerdict]) -> None:
    """Who waits is told that there will be no answer."""
    backend = Backend()
    waiting = asyncio.create_task(ask(cached, backend))
    await settle()
    await cached.close()
    with pytest.raises(BackendError):
        await waiting
    assert not cached._under_way
