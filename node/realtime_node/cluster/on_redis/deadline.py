"""A deadline that is fair to a process that was paused.

A process that is stopped for a while (SIGSTOP, a virtual machine that is moved, a loop that was
held) finds its timer due and its answer in the socket at the same moment. An event loop may run the
timer first; then what was answered in time counts as unanswered. So a timer that comes late looks
again after the loop had time to read.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

from realtime_node.supervision import guarded

LATE_S: Final = 0.1
"""A timer that is this late shows that the loop did not run."""
GRACE_S: Final = 0.25
"""What the loop is then given to read what waits in the socket."""


class until:  # noqa: N801 - it reads as `async with until(deadline):`
    """Raise `TimeoutError` when the block has not ended at a deadline."""

    __slots__ = ("_deadline", "_limit", "_loop", "_timer")

    def __init__(self, deadline: float) -> None:
        """`deadline` is in the loop's time."""
        self._deadline = deadline
        self._limit = asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle

    async def __aenter__(self) -> None:
        """Begin the block."""
        await self._limit.__aenter__()
        judge = guarded(self._judge, where="redis-deadline")
        self._timer = self._loop.call_at(self._deadline, judge)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the clock; what it cancelled becomes a `TimeoutError`."""
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, traceback)

    def _judge(self) -> None:
        now = self._loop.time()
        self._limit.reschedule(now + GRACE_S if now - self._deadline > LATE_S else now)
