"""Runs tasks and callbacks so that an unexpected exception costs one turn of one of them.

Code handles the failures that it expects: an API server that is away, above all. What it does not
expect is a bug, and must not end a task that everything relies on while the operator goes on
looking healthy. A test over the source holds that every task and callback goes through one of:

- `supervise` for loops and for jobs that have to be done: run again after an exception, with
  growing pauses, until they return. A job takes what it works on off its list after it was done.
- `guarded` for callbacks of the event loop, and `guard` for a step that may fail alone: one
  action, one Event, the answer of one node.

A `CancelledError` that nobody asked for (a future that somebody else cancelled, awaited without
care) counts as an exception like any other: only `Task.cancel` ends a task.

The supervisor counts failures, and knows which loops fail now: `/readyz` and `/healthz` tell.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, NamedTuple, ParamSpec
from weakref import WeakSet

from prometheus_client import Counter

from realtime_operator.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

P = ParamSpec("P")

FIRST_PAUSE_S: Final = 1.0
"""The bound of the first pause; the bound doubles with each failure."""
MAX_PAUSE_S: Final = 30.0
WELL_AFTER_S: Final = 60.0
"""A loop that has run this long since it raised is well again; longer than any pause."""
LOG_EVERY_S: Final = 10.0
"""Between two tracebacks of the same place: a thousand nodes may fail in the same way."""
FORGOTTEN_AFTER_S: Final = 600.0
"""A place that has logged nothing for so long is forgotten: its cluster may be gone."""


class FailingLoop(NamedTuple):
    """A loop that raised, and has not run long enough since to be well again."""

    name: str
    subject: str
    """What it works on, such as a cluster; empty if there is one loop of its name."""
    failing_s: float
    """Seconds since it raised first."""
    error: str
    """The last exception, as `ValueError: …`."""

    def __str__(self) -> str:
        """Name the loop for people."""
        place = f"{self.name} of {self.subject}" if self.subject else self.name
        return f"{place} fails for {self.failing_s:.0f} s: {self.error}"


class _Failing:
    """The failures of one loop since it was well."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.error = ""
        self.resumed_at: float | None = None
        """When it was run again; None while it pauses."""
        self.count = 0


class Supervisor:
    """Runs the tasks and callbacks of one operator, and keeps the record of what failed.

    It keeps one entry for each loop that fails, and one for each place that has logged.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Count in `metrics`; `uniform` draws the jitter of pauses."""
        self._restarts: Counter = metrics.loop_restarts
        self._errors: Counter = metrics.callback_errors
        self._monotonic = monotonic
        self._uniform = uniform
        self.tasks: WeakSet[asyncio.Task[None]] = WeakSet()
        """All that run."""
        self._failing: dict[tuple[str, str], _Failing] = {}
        self._logged: dict[str, tuple[float, int]] = {}
        """When a place last logged a traceback, and how many were held back since."""

    def supervise(
        self,
        loop: Callable[[], Awaitable[object]],
        *,
        name: str,
        subject: str = "",
        ends_with: tuple[type[Exception], ...] = (),
    ) -> asyncio.Task[None]:
        """Run a loop or a job until it returns, is cancelled, or raises one of `ends_with`.

        `name` is a constant: it labels the metric. `subject` tells apart loops of one name.
        """
        running = asyncio.get_running_loop()
        task_name = f"{name} of {subject}" if subject else name
        run = self._run_until_done(loop, (name, subject), ends_with)
        task = running.create_task(run, name=task_name)
        self.tasks.add(task)
        return task

    def guarded(self, callback: Callable[P, object], *, where: str) -> Callable[P, None]:
        """Return a callback that notes what `callback` raises, and returns nothing.

        `where` is a constant: it labels the metric.
        """

        def call(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                callback(*args, **kwargs)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is noted
                self.note(where, error)

        return call

    def guard(self, where: str) -> Guard:
        """Note what the block raises and go on behind it, except for a cancellation asked for.

        `where` is a constant: it labels the metric.
        """
        return Guard(self, where)

    def note(self, where: str, error: BaseException) -> None:
        """Count and log what a callback or a step has raised."""
        self._errors.labels(where).inc()
        self._log(where, error, f"{where} failed")

    def failing(self) -> list[FailingLoop]:
        """Tell which loops fail now, the longest first."""
        now = self._monotonic()
        for place in [place for place, each in self._failing.items() if self._is_well(each)]:
            del self._failing[place]
        failing = [
            FailingLoop(*place, failing_s=now - each.since, error=each.error)
            for place, each in self._failing.items()
        ]
        return sorted(failing, key=lambda each: -each.failing_s)

    async def _run_until_done(
        self,
        loop: Callable[[], Awaitable[object]],
        place: tuple[str, str],
        ends_with: tuple[type[Exception], ...],
    ) -> None:
        try:
            while True:
                try:
                    await loop()
                except (Exception, asyncio.CancelledError) as error:
                    if is_asked_for(error) or isinstance(error, ends_with):
                        raise
                    pause_s = self._loop_failed(place, error)
                else:
                    return
                await asyncio.sleep(pause_s)
                self._failing[place].resumed_at = self._monotonic()
        finally:
            self._failing.pop(place, None)

    def _loop_failed(self, place: tuple[str, str], error: BaseException) -> float:
        """Note it; return after how many seconds to run the loop again."""
        name, subject = place
        self._restarts.labels(name).inc()
        failing = self._failing.get(place)
        if failing is None or self._is_well(failing):
            failing = self._failing[place] = _Failing(self._monotonic())
        bound_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failing.count, 10))
        pause_s = self._uniform(bound_s / 2, bound_s)
        failing.count += 1
        failing.error = f"{type(error).__name__}: {error}"
        failing.resumed_at = None
        told = f"{name} of {subject}" if subject else name
        self._log(told, error, f"{told} failed, and begins again in {pause_s:.1f} s")
        return pause_s

    def _is_well(self, failing: _Failing) -> bool:
        resumed_at = failing.resumed_at
        return resumed_at is not None and self._monotonic() - resumed_at >= WELL_AFTER_S

    def _log(self, place: str, error: BaseException, message: str) -> None:
        now = self._monotonic()
        self._logged = {
            each: known
            for each, known in self._logged.items()
            if now - known[0] < FORGOTTEN_AFTER_S
        }
        at, held_back = self._logged.get(place, (float("-inf"), 0))
        if now - at < LOG_EVERY_S:
            self._logged[place] = (at, held_back + 1)
            return
        self._logged[place] = (now, 0)
        more = f" ({held_back} more since the last time)" if held_back else ""
        logger.error("%s%s", message, more, exc_info=error)


class Guard:
    """Ends what a block raises, and has it noted."""

    def __init__(self, supervisor: Supervisor, where: str) -> None:
        """Made by `Supervisor.guard`."""
        self._supervisor = supervisor
        self._where = where

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(
        self, _kind: object, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        """Tell whether what the block raised ends here."""
        if not isinstance(error, Exception | asyncio.CancelledError) or is_asked_for(error):
            return False
        self._supervisor.note(self._where, error)
        return True


def is_asked_for(error: BaseException) -> bool:
    """Tell whether an error is the cancellation of the current task, which somebody asked for."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
