"""Time, timers and guests that a test of admission turns by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from realtime_node.cluster.allowance import Lease
from tests.support.fakes import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_node.admission.admit import Refusal


class FakeTimer(asyncio.TimerHandle):
    """A call that is made when the test lets its time come."""

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.due_at = when
        self.call = call
        self.is_cancelled = False

    def cancel(self) -> None:
        """Never make it."""
        self.is_cancelled = True


class World:
    """A clock with timers, which ring when it passes them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._timers: list[FakeTimer] = []

    def call_later(self, delay_s: float, call: Callable[[], None]) -> FakeTimer:
        """Ring after so many seconds."""
        timer = FakeTimer(self.clock() + delay_s, call)
        self._timers.append(timer)
        return timer

    @property
    def timers(self) -> list[FakeTimer]:
        """Those that will ring, the next one first."""
        self._timers = [timer for timer in self._timers if not timer.is_cancelled]
        return sorted(self._timers, key=lambda timer: timer.due_at)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and every timer ring at its moment."""
        end = self.clock.now + seconds
        while (timers := self.timers) and timers[0].due_at <= end:
            self.clock.now = max(self.clock.now, timers[0].due_at)
            timers[0].is_cancelled = True
            timers[0].call()
        self.clock.now = end


class FakeGuest:
    """A handshake that remembers what became of it, and when."""

    def __init__(self, world: World, name: int = 0) -> None:
        self._world = world
        self.name = name
        self.came_at = world.clock()
        self.is_gone = False
        self.entered_at: float | None = None
        self.refused_at: float | None = None
        self.refusal: Refusal | None = None

    def enter(self) -> None:
        """See `Guest.enter`."""
        assert not self.is_done
        self.entered_at = self._world.clock()

    def turn_away(self, refusal: Refusal) -> None:
        """See `Guest.turn_away`."""
        assert not self.is_done
        self.refused_at = self._world.clock()
        self.refusal = refusal

    @property
    def is_done(self) -> bool:
        """Whether it waits no more."""
        return self.entered_at is not None or self.refused_at is not None


class FakeAllowance:
    """Gives what the test put in, and remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.leases: list[Lease] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def lease(self, wanted: int) -> Lease:
        """See `Allowance.lease`."""
        self.asked.append(wanted)
        await self.answers.wait()
        return self.leases.pop(0) if self.leases else Lease(0, retry_after_s=0.1)
