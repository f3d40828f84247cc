"""Runs tasks and callbacks so that what they did not expect costs one turn of one of them.

A loop handles what it expects by itself: an outage of the store, above all. What it does not expect
is a bug of ours. A task that has ended by it would be missed by nobody, while the node goes on
looking healthy; so every task and every callback of the node is run by a function of this module
(a test over the source holds that):

- `supervise` for loops, and for jobs that have to be done: run again after an exception, with
  growing pauses, until they return. A job takes what it works on off its list after it was done.
- `guarded` for callbacks of the event loop, and `guard` for a step inside a loop whose failure
  shall not end the pass: the exception is counted and logged, and that is all.

A `CancelledError` that nobody asked for (a future that somebody else cancelled, awaited without
care) counts as an exception like any other: only `Task.cancel` ends a task.

Nothing here belongs around single messages or clients on the way of deliveries: guard the pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, ParamSpec

from realtime_node import failures
from realtime_node.backoff import Backoff

MAX_PAUSE_S: Final = 2.0
"""Between two tries of a loop that always fails: it neither fills the node, nor is it long gone
when the cause ends."""

P = ParamSpec("P")


def supervise(
    loop: Callable[[], Awaitable[None]], *, name: str, period_s: float = 0.0
) -> asyncio.Task[None]:
    """Run a loop or a job until it returns or its task is cancelled; again after it raised.

    `name` is a constant: it names the task, its log lines and its metric. `period_s` is how long
    the loop may pause between its rounds: one that fails in each round would look well meanwhile.
    """
    running = asyncio.get_running_loop()
    well_after_s = period_s + failures.WELL_AFTER_S
    return running.create_task(_run_until_done(loop, name, well_after_s), name=name)


def guarded(callback: Callable[P, object], *, where: str) -> Callable[P, None]:
    """Return a callback that notes what `callback` raises, and returns nothing.

    `where` is a constant: it names the callback's log lines and its metric.
    """

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            callback(*args, **kwargs)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is noted
            failures.current().callback_failed(where, error)

    return call


class guard:  # noqa: N801 - it reads as `with guard("…")`, beside `guarded`
    """Note what the block raises and go on behind it, but for a cancellation that was asked for."""

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        """`where` is a constant: it names the log lines and the metric."""
        self._where = where

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(
        self, _kind: object, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        """Tell whether what the block raised ends here."""
        if not isinstance(error, Exception | asyncio.CancelledError) or is_asked_for(error):
            return False
        failures.current().callback_failed(self._where, error)
        return True


def is_asked_for(error: BaseException) -> bool:
    """Tell whether an error is the cancellation of the current task, which somebody asked for."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _run_until_done(
    loop: Callable[[], Awaitable[None]], name: str, well_after_s: float
) -> None:
    record = failures.current()
    task = asyncio.current_task()
    running = asyncio.get_running_loop()
    backoff = Backoff(MAX_PAUSE_S)
    try:
        while True:
            began_at = running.time()
            try:
                return await loop()
            except (Exception, asyncio.CancelledError) as error:
                if is_asked_for(error):
                    raise
                if running.time() - began_at >= well_after_s:
                    backoff.reset()
                pause_s = backoff.next()
                record.loop_failed(task, name, error, retry_in_s=pause_s, well_after_s=well_after_s)
            await asyncio.sleep(pause_s)
            record.loop_restarted(task)
    finally:
        record.loop_ended(task)
