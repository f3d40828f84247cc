"""An event loop whose time passes by itself: whenever everybody waits, it is as late as the next.

For code that lives on one task and timers, and would take minutes. Nothing may do real I/O on it.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


class _NoWaiting(selectors.SelectSelector):
    """Moves the loop's clock where the loop would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Look at what is ready, and let the time pass in which nothing would be."""
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits, and for no time"
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop with a clock that is nobody's."""

    def __init__(self) -> None:
        self._waits = _NoWaiting()
        super().__init__(self._waits)

    def time(self) -> float:
        """The loop's own time."""
        return self._waits.now


def run_in_virtual_time(body: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end; takes no longer than what it computes."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(body)
