"""How late a loop is, and how busy."""

from __future__ import annotations

import asyncio
import time

import pytest

from realtime_node.telemetry.loop_probe import EVERY_S, LoopProbe
from tests.support.conditions import eventually
from tests.support.fakes import FakeClock


class Loop:
    """A loop whose samples are taken when the test says so."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.cpu = FakeClock(0)
        self.probe = LoopProbe(self.clock, self.cpu)
        self.probe._sampled_at = self.clock()

    def turn(self, late_s: float, busy: float = 0.0, times: int = 1) -> None:
        """Let samples come so late while the loop worked for a part of the time."""
        for _ in range(times):
            self.clock.advance(EVERY_S + late_s)
            self.cpu.advance((EVERY_S + late_s) * busy)
            self.probe.sample()


def test_a_loop_in_time() -> None:
    """No lag, and the share of its time that it works."""
    loop = Loop()
    loop.turn(0, busy=0.3, times=50)
    assert loop.probe.lag_s == pytest.approx(0, abs=1e-9)
    assert loop.probe.busy == pytest.approx(0.3, abs=0.01)


def test_work_is_counted_from_the_start() -> None:
    """Of a burst the average of the moment tells much, the counter how much it was."""
    loop = Loop()
    loop.turn(0, times=95)
    loop.turn(0, busy=1.0, times=5)
    assert loop.probe.busy > 0.6
    assert loop.probe.busy_s_total == pytest.approx(0.5)


def test_a_loop_that_is_always_late() -> None:
    """The average comes to the truth within a few samples."""
    loop = Loop()
    loop.turn(0.6, busy=1.0, times=10)
    assert loop.probe.lag_s == pytest.approx(0.6, rel=0.15)
    assert loop.probe.worst_lag_s == pytest.approx(0.6)
    assert loop.probe.busy == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize("stop_s", [2.0, 600.0])
def test_one_long_stop_is_no_overload(stop_s: float) -> None:
    """However long it was, it weighs 0.4 s and is soon forgotten; the worst is kept for a while."""
    loop = Loop()
    loop.turn(0, times=10)
    loop.turn(stop_s)
    assert loop.probe.lag_s == pytest.approx(0.4)
    loop.turn(0, times=10)
    assert loop.probe.lag_s < 0.05
    assert loop.probe.worst_lag_s == pytest.approx(stop_s)
    loop.turn(0, times=50)
    assert loop.probe.worst_lag_s == pytest.approx(0, abs=1e-9)


def test_a_clock_that_stands_still_is_no_sample() -> None:
    """Nothing is divided by no time."""
    loop = Loop()
    loop.probe.sample()
    assert loop.probe.busy == 0


async def test_a_real_loop_that_works_is_seen_working() -> None:
    """Busy and late are measured where the loop runs, and no longer after the end."""
    probe = LoopProbe(time.monotonic, time.thread_time)
    probe.start()

    def work() -> None:
        until = time.thread_time() + 0.15
        while time.thread_time() < until:
            pass
        timer[0] = asyncio.get_running_loop().call_soon(work)

    timer = [asyncio.get_running_loop().call_soon(work)]
    await eventually(lambda: probe.busy > 0.05 and probe.lag_s > 0.02)
    timer[0].cancel()
    probe.stop()
    assert probe._timer is None
