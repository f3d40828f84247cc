"""The end of a node takes every step, whatever the others do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from realtime_node.composition.teardown import LEAST_S, Step, share_s, tear_down
from tests.support.conditions import NEVER_S
from tests.support.failure_counts import counted_failures, is_cancelled_elsewhere

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Ends:
    """Steps that note that they were taken."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def step(
        self, name: str, then: Callable[[], Awaitable[None]] | None = None, *, weight: float = 1
    ) -> Step:
        """Make one that goes on with `then`."""

        async def run() -> None:
            self.taken.append(name)
            if then is not None:
                await then()

        return Step(name, run, weight)


async def raises() -> None:
    """Be a bug."""
    raise ValueError("a bug")


async def hangs() -> None:
    """Take for ever."""
    await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no step that hangs keep the test."""
    monkeypatch.setattr("realtime_node.composition.teardown.LEAST_S", 0.01)


@pytest.mark.parametrize("then", [raises, is_cancelled_elsewhere])
async def test_every_step_is_taken_whatever_another_raises(
    then: Callable[[], Awaitable[None]],
) -> None:
    """One that raises is counted by its name, and the next one is taken."""
    ends = Ends()
    steps = [ends.step("first", then), ends.step("second", then), ends.step("third")]
    with counted_failures() as counts:
        await tear_down(steps, NEVER_S)
    assert ends.taken == ["first", "second", "third"]
    assert counts.errors == {"shutdown-first": 1, "shutdown-second": 1}


async def test_every_step_is_taken_though_others_hang(caplog: pytest.LogCaptureFixture) -> None:
    """That is told, and no bug."""
    ends = Ends()
    steps = [ends.step("first", hangs), ends.step("second", hangs), ends.step("third")]
    with counted_failures() as counts:
        await asyncio.wait_for(tear_down(steps, 0.05), NEVER_S)
    assert ends.taken == ["first", "second", "third"]
    assert counts.errors == {}
    assert "shutdown: second takes too long, and is left" in caplog.text


async def test_steps_need_not_be_coroutines() -> None:
    """What is done at once is done."""
    taken: list[str] = []
    await tear_down([Step("first", lambda: taken.append("first"))], NEVER_S)
    assert taken == ["first"]


async def test_a_step_that_hangs_takes_its_share_only() -> None:
    """The heavier one behind it has the time that its weight says."""
    ends = Ends()
    left: list[float] = []
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 0.4

    async def measure() -> None:
        left.append(deadline - loop.time())

    with counted_failures():
        await tear_down([ends.step("first", hangs), ends.step("second", measure, weight=3)], 0.4)
    assert left[0] > 0.1  # of 0.3, on a machine that is not quiet


async def test_an_end_that_is_cancelled_hurries_and_takes_every_step() -> None:
    """Whoever cancels it sees that it was."""
    ends = Ends()
    steps = [ends.step("first", hangs), ends.step("second", hangs), ends.step("third")]
    with counted_failures() as counts:
        ending = asyncio.create_task(tear_down(steps, NEVER_S))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert ends.taken == ["first"]
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(ending, NEVER_S)
    assert ends.taken == ["first", "second", "third"]
    assert counts.errors == {}


@pytest.mark.parametrize(
    ("weights", "left_s", "share"),
    [((1.0,), 8.0, 8.0), ((1.0, 3.0), 8.0, 2.0), ((3.0, 1.0), 8.0, 6.0)],
)
def test_time_is_shared_by_weight(weights: tuple[float, ...], left_s: float, share: float) -> None:
    """What is left is divided among a step and those behind it."""
    assert share_s(weights, left_s) == share


def test_a_step_always_has_a_moment() -> None:
    """Also when the time is over."""
    assert share_s((1.0, 1.0), -5.0) < LEAST_S  # which `hurry` made smaller
    assert share_s((1.0, 1.0), -5.0) > 0
