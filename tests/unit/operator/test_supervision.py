"""Every task and callback of the operator is supervised, and outlives what it did not expect."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, Final

import kopf
import pytest

import realtime_operator
from realtime_operator.handlers import budget_changed, child_changed, cluster_changed, pod_changed
from realtime_operator.supervision import LOG_EVERY_S, MAX_PAUSE_S, WELL_AFTER_S, Supervisor
from realtime_operator.telemetry.metrics import Metrics
from tests.support.conditions import NEVER_S
from tests.support.failure_counts import is_cancelled_elsewhere
from tests.support.unsupervised import unsupervised_calls

EXCEPTIONS: Final = {
    "supervision.py, Supervisor.supervise: create_task": "this is what supervises",
    "apply/orders.py, Orders.begin: create_task": "awaited by `finish`, raised there",
}
"""What may go without `supervision`, and why. A row that is not needed any more fails the test."""


def test_every_task_and_callback_of_the_operator_is_supervised() -> None:
    """No task ends, and no callback raises, without being run again, counted or awaited."""
    found = unsupervised_calls(Path(realtime_operator.__file__).parent)
    assert found == sorted(EXCEPTIONS), "use supervise, guarded or guard of the Supervisor"


class Clock:
    """A clock that stands until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of the supervisor."""
    return Clock()


@pytest.fixture
def metrics() -> Metrics:
    """What counts."""
    return Metrics()


@pytest.fixture
def supervisor(clock: Clock, metrics: Metrics) -> Supervisor:
    """A supervisor whose loops begin again at once."""
    return Supervisor(metrics, monotonic=clock, uniform=lambda _low, _high: 0.0)


def count(metrics: Metrics, line: str) -> bool:
    """Tell whether an instrument says so."""
    return f"realtime_operator_{line}" in metrics.expose().decode()


@pytest.mark.parametrize("is_bug", [True, False])
async def test_a_loop_that_raises_is_run_again(
    is_bug: bool,
    supervisor: Supervisor,
    metrics: Metrics,
) -> None:
    """A bug, and a cancellation that nobody asked for, cost one turn; a real one ends it."""
    turns: list[None] = []
    is_running = asyncio.Event()

    async def run() -> None:
        turns.append(None)
        if len(turns) <= 2:
            if is_bug:
                raise ValueError("a bug")
            await is_cancelled_elsewhere()
        is_running.set()
        await asyncio.Event().wait()

    task = supervisor.supervise(run, name="watch")
    await asyncio.wait_for(is_running.wait(), NEVER_S)
    assert count(metrics, 'loop_restarts_total{loop="watch"} 2.0')
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not supervisor.failing()


async def test_an_error_that_is_meant_to_ends_a_loop(supervisor: Supervisor) -> None:
    """Such as a lost lease; and one that returns is done."""

    async def run() -> None:
        raise KeyError("the end")

    with pytest.raises(KeyError):
        await supervisor.supervise(run, name="lease", ends_with=(KeyError,))

    async def end() -> None:
        await asyncio.sleep(0)

    await asyncio.wait_for(supervisor.supervise(end, name="once"), NEVER_S)


async def test_pauses_grow_up_to_a_bound_and_are_drawn(clock: Clock) -> None:
    """From half of the bound to all of it: clusters that fail together do not come together."""
    drawn: list[tuple[float, float]] = []
    has_failed_often = asyncio.Event()

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        if len(drawn) == 8:
            has_failed_often.set()
        return 0.0

    async def run() -> None:
        raise ValueError("a bug")

    task = Supervisor(Metrics(), monotonic=clock, uniform=draw).supervise(run, name="watch")
    await asyncio.wait_for(has_failed_often.wait(), NEVER_S)
    task.cancel()
    await asyncio.wait([task])
    assert [high for _, high in drawn[:6]] == [1, 2, 4, 8, 16, MAX_PAUSE_S]
    assert all(low == high / 2 for low, high in drawn)


async def test_a_loop_is_failing_until_it_has_run_for_a_while(
    supervisor: Supervisor, clock: Clock
) -> None:
    """Meanwhile it is told which, of what, since when, and why."""
    is_well, has_resumed = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        if not is_well.is_set():
            raise ValueError("a bug")
        has_resumed.set()
        await asyncio.Event().wait()

    task = supervisor.supervise(run, name="reconcile", subject="team/chat")
    await asyncio.sleep(0)
    clock.now += 5
    (failing,) = supervisor.failing()
    assert str(failing) == "reconcile of team/chat fails for 5 s: ValueError: a bug"
    is_well.set()
    await asyncio.wait_for(has_resumed.wait(), NEVER_S)
    assert supervisor.failing()
    clock.now += WELL_AFTER_S
    assert not supervisor.failing()
    task.cancel()
    await asyncio.wait([task])


async def test_a_step_lets_only_what_was_asked_for_pass(
    supervisor: Supervisor, metrics: Metrics
) -> None:
    """The task goes on behind whatever else the step raised."""
    has_survived = asyncio.Event()

    async def run() -> None:
        with supervisor.guard("action"):
            await is_cancelled_elsewhere()
        with supervisor.guard("action"):
            raise ValueError("a bug")
        has_survived.set()
        with supervisor.guard("action"):
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await asyncio.wait_for(has_survived.wait(), NEVER_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert count(metrics, 'callback_errors_total{where="action"} 2.0')


def test_a_failure_is_logged_with_its_traceback_but_not_each_time(
    supervisor: Supervisor, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """What fails at a thousand nodes does not fill the log."""

    def bug() -> None:
        raise KeyError("a bug")

    call = supervisor.guarded(bug, where="end of a cluster")
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            call()
        clock.now += LOG_EVERY_S
        call()
    assert [each.getMessage() for each in caplog.records] == [
        "end of a cluster failed",
        "end of a cluster failed (4 more since the last time)",
    ]
    assert all(each.exc_info for each in caplog.records)


class FailingKeepers:
    """Raises at the first call of each kind, and records those after it."""

    def __init__(self) -> None:
        """Nothing was called."""
        self.woken: list[str] = []
        self._has_failed = False

    def wake(self, _namespace: str, name: str, *_: object) -> None:
        """Fail once."""
        if not self._has_failed:
            self._has_failed = True
            raise ValueError("a bug")
        self.woken.append(name)

    def look_after(self, namespace: str, name: str) -> None:
        """Fail once as well."""
        self.wake(namespace, name)


@pytest.mark.parametrize("handler", [budget_changed, child_changed, cluster_changed, pod_changed])
async def test_an_event_whose_handler_raised_is_not_taken_for_handled(
    handler: Any, supervisor: Supervisor, metrics: Metrics
) -> None:
    """The same event, when it comes again, is news."""
    keepers = FailingKeepers()
    labels = {"realtimecluster.dev/cluster": "chat"}
    memo = kopf.Memo(keepers=keepers, supervisor=supervisor)
    for _ in range(2):
        await handler(
            type="MODIFIED",
            name="chat",
            namespace="team",
            meta={"generation": 1},
            body={"kind": "Service", "metadata": {"name": "chat", "resourceVersion": "1"}},
            labels=labels,
            resource=kopf.Resource("", "v1", "services"),
            memo=memo,
        )
    assert keepers.woken == ["chat"]
    assert count(metrics, 'callback_errors_total{where="handler of an event"} 1.0')
