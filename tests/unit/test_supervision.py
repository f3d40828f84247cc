"""Loops, jobs and callbacks outlive what they did not expect, and what failed is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import aiohttp
import pytest
import redis.exceptions

from realtime_node import failures
from realtime_node.errors import BackplaneError
from realtime_node.failures import (
    LOG_EVERY_S,
    LONGEST_ERROR,
    UNFIT_AFTER,
    WELL_AFTER_S,
    Failures,
    find_unfit,
    recording,
)
from realtime_node.supervision import guard, guarded, supervise
from tests.support.conditions import NEVER_S, eventually
from tests.support.failure_counts import FailureCounts, is_cancelled_elsewhere


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def counts() -> FailureCounts:
    """What was counted."""
    return FailureCounts()


@pytest.fixture
def clock() -> Clock:
    """The clock of the record."""
    return Clock()


@pytest.fixture(autouse=True)
def record(counts: FailureCounts, clock: Clock) -> Iterator[Failures]:
    """A record that is the current one."""
    record = Failures(counts, monotonic=clock)
    with recording(record):
        yield record


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let loops begin again at once."""
    monkeypatch.setattr("realtime_node.supervision.MAX_PAUSE_S", 0.0)
    monkeypatch.setattr("realtime_node.backoff.FIRST_S", 0.0)


@pytest.mark.parametrize("error", [ValueError("a bug"), "cancelled elsewhere"])
async def test_a_loop_that_raises_is_run_again(
    error: Exception | str, record: Failures, counts: FailureCounts
) -> None:
    """A bug, and a cancellation that nobody asked for, cost one turn."""
    turns: list[int] = []
    is_running = asyncio.Event()

    async def run() -> None:
        turns.append(len(turns))
        if len(turns) <= 2:
            if isinstance(error, Exception):
                raise error
            await is_cancelled_elsewhere()
        is_running.set()
        await asyncio.Event().wait()

    task = supervise(run, name="sweep")
    await asyncio.wait_for(is_running.wait(), NEVER_S)
    assert turns == [0, 1, 2]
    assert counts.restarts == {"sweep": 2}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not record.failing()


async def test_a_job_is_done_once_and_then_over(counts: FailureCounts) -> None:
    """A loop that returns has done what it had to."""

    async def run() -> None:
        await asyncio.sleep(0)

    await asyncio.wait_for(supervise(run, name="once"), NEVER_S)
    assert not counts.restarts


async def test_a_loop_is_failing_until_it_has_run_for_a_while(
    record: Failures, clock: Clock
) -> None:
    """Meanwhile it is told which, since when, and why."""
    may_run, is_running = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        if not may_run.is_set():
            raise ValueError("a bug")
        is_running.set()
        await asyncio.Event().wait()

    task = supervise(run, name="sweep")
    await asyncio.sleep(0)
    clock.now += 5
    (failing,) = record.failing()
    assert (failing.loop, failing.error, failing.failing_s) == ("sweep", "ValueError: a bug", 5.0)
    assert failing.is_own_fault
    may_run.set()
    await asyncio.wait_for(is_running.wait(), NEVER_S)
    assert record.failing()
    clock.now += WELL_AFTER_S
    assert not record.failing()
    task.cancel()


async def test_a_loop_that_fails_in_each_round_does_not_look_well_between(
    record: Failures, clock: Clock
) -> None:
    """As a heartbeat that waits for longer than others run until they are well again."""
    rounds = 0

    async def run() -> None:
        nonlocal rounds
        clock.now += WELL_AFTER_S + 1
        rounds += 1
        if rounds > 1:
            assert record.failing()
        raise ValueError("a bug")

    task = supervise(run, name="heartbeat", period_s=WELL_AFTER_S + 1)
    await eventually(lambda: rounds > UNFIT_AFTER)
    (failing,) = record.failing()
    assert failing.own_faults >= UNFIT_AFTER
    task.cancel()


async def test_loops_of_one_name_are_told_apart(record: Failures) -> None:
    """As those of several shards: one that ends says nothing of another."""

    async def run() -> None:
        raise ValueError("a bug")

    tasks = [supervise(run, name="heartbeat") for _ in range(2)]
    await asyncio.sleep(0)
    assert len(record.failing()) == 2
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    assert len(record.failing()) == 1
    tasks[1].cancel()
    await asyncio.wait(tasks)


def test_what_redis_does_is_no_fault_of_the_node() -> None:
    """Another process of the same node would fare no better."""
    assert failures.is_own_fault(ValueError("a bug"))
    assert failures.is_own_fault(asyncio.CancelledError())
    assert not failures.is_own_fault(BackplaneError("nonsense"))
    assert not failures.is_own_fault(ConnectionResetError())
    assert not failures.is_own_fault(FileNotFoundError("ca.pem"))
    assert not failures.is_own_fault(redis.exceptions.ResponseError("UNKNOWN"))
    assert not failures.is_own_fault(aiohttp.ClientPayloadError("cut"))
    away = BackplaneError("away")
    assert not failures.is_own_fault(ExceptionGroup("all", [away, OSError()]))
    assert failures.is_own_fault(ExceptionGroup("all", [away, ValueError("a bug")]))


def test_own_faults_are_counted_in_a_row(record: Failures, clock: Clock) -> None:
    """A failure that is not the node's own ends the row; its time begins with its first."""
    for error in (ValueError("a"), BackplaneError("away"), ValueError("b"), KeyError("c")):
        clock.now += 1
        record.loop_failed("task", "inbox", error, retry_in_s=1)
    (loop,) = record.failing()
    assert (loop.failures, loop.failing_s) == (4, 3.0)
    assert (loop.own_faults, loop.own_fault_s) == (2, 1.0)
    assert find_unfit([loop]) is None
    record.loop_failed("task", "inbox", ValueError("d"), retry_in_s=1)
    assert find_unfit(record.failing()) == record.failing()[0]
    record.loop_failed("task", "inbox", BackplaneError("away"), retry_in_s=1)
    (loop,) = record.failing()
    assert (loop.own_faults, loop.own_fault_s, find_unfit([loop])) == (0, 0.0, None)


def test_an_error_is_told_in_one_line(record: Failures) -> None:
    """However long it is, and whatever it contains."""
    record.loop_failed("task", "inbox", ValueError("a\nb" + "c" * 1000), retry_in_s=1)
    (loop,) = record.failing()
    assert loop.error.startswith("ValueError: a bccc")
    assert len(loop.error) <= LONGEST_ERROR + 1


def test_a_failure_is_logged_with_its_traceback_but_not_each_time(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """What fails a thousand times a second does not fill the log."""

    def bug() -> None:
        raise KeyError("a bug")

    call = guarded(bug, where="look")
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            call()
        clock.now += LOG_EVERY_S
        call()
    assert [each.getMessage() for each in caplog.records] == [
        "look failed",
        "look failed (4 more since the last time)",
    ]
    assert all(each.exc_info for each in caplog.records)


def test_a_callback_that_raises_is_counted(counts: FailureCounts) -> None:
    """A cancellation too: nobody can ask a callback to end."""

    def cancelled() -> None:
        raise asyncio.CancelledError

    guarded(cancelled, where="look")()
    assert counts.errors == {"look": 1}


async def test_a_guarded_step_lets_only_what_was_asked_for_pass(counts: FailureCounts) -> None:
    """The task goes on behind whatever else the step raised."""
    has_survived = asyncio.Event()

    async def run() -> None:
        with guard("step"):
            await is_cancelled_elsewhere()
        with guard("step"):
            raise ValueError("a bug")
        has_survived.set()
        with guard("step"):
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await asyncio.wait_for(has_survived.wait(), NEVER_S)
    assert counts.errors == {"step": 2}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counts.errors == {"step": 2}


async def test_what_is_started_inside_is_noted_there(counts: FailureCounts) -> None:
    """Tasks and timers inherit the record of the node that started them."""
    other_counts = FailureCounts()
    done = asyncio.Event()

    def bug() -> None:
        done.set()
        raise ValueError("a bug")

    with recording(Failures(other_counts)):
        asyncio.get_running_loop().call_soon(guarded(bug, where="look"))
    await asyncio.wait_for(done.wait(), NEVER_S)
    assert other_counts.errors == {"look": 1}
    assert not counts.errors
