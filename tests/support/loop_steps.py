"""Counts what is done in one pass of the event loop, so that a test can say how much that may be.

Time says little on a busy machine; a number of members that are walked, or of bytes that are made,
is the same everywhere. `Steps.count` stands for one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_MEMBERS: Final = 1_000
"""Members that one pass may walk."""
MOST_BYTES: Final = 64 * 1024
"""Bytes that one pass may encode or decode."""


class Steps:
    """What was counted, by passes of the loop."""

    def __init__(self) -> None:
        self.most = 0
        """In any one pass."""
        self.total = 0
        self._now = 0
        self._handle: asyncio.Handle | None = None

    def count(self, number: int = 1) -> None:
        """Count something that the present pass does."""
        self.total += number
        self._now += number
        self.most = max(self.most, self._now)

    def begin_pass(self) -> None:
        """Begin to count anew; the loop calls this once in each pass."""
        self._now = 0
        self._handle = asyncio.get_running_loop().call_soon(self.begin_pass)

    def stop(self) -> None:
        """Ask the loop for no more calls."""
        if self._handle is not None:
            self._handle.cancel()


@contextlib.contextmanager
def counted_steps() -> Iterator[Steps]:
    """Count within a block, by passes of the running loop."""
    steps = Steps()
    steps.begin_pass()
    try:
        yield steps
    finally:
        steps.stop()
