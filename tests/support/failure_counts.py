"""Counts what loops and callbacks raised unexpectedly, in place of a node's metrics."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from realtime_node.failures import Failures, recording


class FailureCounts:
    """Implements `failures.FailureMetrics`."""

    def __init__(self) -> None:
        self.restarts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def restarted(self, loop: str) -> None:
        """Count a restart of a loop."""
        self.restarts[loop] += 1

    def callback_failed(self, where: str) -> None:
        """Count a callback that raised."""
        self.errors[where] += 1


@contextmanager
def counted_failures() -> Iterator[FailureCounts]:
    """Count what is raised inside, and by what is started inside."""
    counts = FailureCounts()
    with recording(Failures(counts)):
        yield counts


async def is_cancelled_elsewhere() -> None:
    """Raise a CancelledError that nobody asked this task for."""
    other = asyncio.get_running_loop().create_future()
    other.cancel()
    await other
