"""A chore: what is pending with the store, done a few at a time until nothing is left.

One task does it, and only while there is something. What failed stays pending with its owner, and
the store is asked again after a pause; so an outage costs a question a second for each of the few.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

CONCURRENCY: Final = 64
RETRY_AFTER: Final = 1.0
"""Seconds until the store is asked again after it failed."""

Step = Coroutine[None, None, bool]
"""Does one thing; False if it has to be done again."""


class Chore:
    """Does what `next_steps` gives, up to so many at once, until that is nothing."""

    def __init__(self, next_steps: Callable[[int], Sequence[Step]]) -> None:
        self._next_steps = next_steps
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Begin, unless it is being done."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work_off())

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
        try:
            while steps := self._next_steps(CONCURRENCY):
                done = await asyncio.gather(*steps)
                if not all(done):
                    await asyncio.sleep(RETRY_AFTER)
        finally:
            self._task = None
