"""Turns: one client's work, done in order by one task.

Most clients ask for nothing most of the time, so a `Turns` exists only while there is work, and its
session drops it when `run` returns.

Full: a client with more than `MAX_WAITING` pieces of work is not read from until half are done.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

MAX_WAITING: Final = 128
WORK_PER_PASS: Final = 64
"""Pieces of work, of those that wait for nothing, after which the loop goes on with other things: a
client may send thousands of commands in one frame."""

Work = Callable[[], Awaitable[None]]


class Source(Protocol):
    """Where a client's work comes from."""

    def pause_reading(self) -> None:
        """Let no more work come."""

    def resume_reading(self) -> None:
        """Let work come again."""


class Turns:
    """A queue and the task that empties it."""

    __slots__ = ("_is_paused", "_queue", "_source", "_waited_for", "task")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._queue: deque[Work] = deque()
        self._is_paused = False
        self._waited_for: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return how many pieces of work wait."""
        return len(self._queue)

    def add(self, work: Work) -> None:
        """Do `work` when everything before it is done."""
        self._queue.append(work)
        if self._waited_for is not None:
            self._waited_for.cancel()
        if len(self._queue) > MAX_WAITING and not self._is_paused:
            self._is_paused = True
            self._source.pause_reading()

    async def run(self) -> None:
        """Do all work, then return; what a piece of work raises ends the rest."""
        done = 0
        while self._queue:
            await self._queue.popleft()()
            done += 1
            if done % WORK_PER_PASS == 0:
                await asyncio.sleep(0)
            if self._is_paused and len(self._queue) <= MAX_WAITING // 2:
                self._is_paused = False
                self._source.resume_reading()

    def stop(self) -> None:
        """Do nothing more; also ends the work under way, unless that is what calls here."""
        self._queue.clear()
        if self.task is not None and self.task is not asyncio.current_task():
            # One that has not begun never comes to let go of it by itself.
            task, self.task = self.task, None
            task.cancel()

    async def wait_idly(self, event: asyncio.Future[None], timeout_s: float) -> None:
        """Wait for `event` as long as nothing else is to do; it is cancelled if it did not come."""
        if not self._queue:
            self._waited_for = event
            try:
                await asyncio.wait((event,), timeout=timeout_s)
            finally:
                self._waited_for = None
        event.cancel()
