"""A chore: what is pending with the store, done a few at a time until nothing is left.

One task does it, and only while there is something. What failed, for the store or unexpectedly,
stays pending with its owner and is tried again after a pause; so an outage costs a question a
second for each of the few.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

from realtime_node import failures
from realtime_node.supervision import supervise

CONCURRENCY: Final = 64
RETRY_AFTER: Final = 1.0
"""Seconds until the store is asked again after it failed."""

Step = Coroutine[None, None, bool]
"""Does one thing; False, or an exception, if it has to be done again."""


class Chore:
    """Does what `next_steps` gives, up to so many at once, until that is nothing."""

    def __init__(self, name: str, next_steps: Callable[[int], Sequence[Step]]) -> None:
        """`name` is a constant; a step that did not return True leaves its thing to be done."""
        self._name = name
        self._next_steps = next_steps
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Begin, unless it is being done."""
        if self._task is None:
            self._task = supervise(self._work_off, name=self._name)

    async def drain(self) -> None:
        """Return when everything pending so far is done."""
        if self._task is not None:
            await self._task

    async def close(self) -> None:
        """Stop doing it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work_off(self) -> None:
        while steps := self._next_steps(CONCURRENCY):
            done = await asyncio.gather(*steps, return_exceptions=True)
            for each in done:
                if isinstance(each, BaseException):
                    failures.current().callback_failed(self._name, each)
            if not all(each is True for each in done):
                await asyncio.sleep(RETRY_AFTER)
        self._task = None
