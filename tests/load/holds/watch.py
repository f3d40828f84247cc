"""How long an event loop was held: the longest time between two looks at its sockets.

A callback that schedules itself anew runs once in each pass of the loop; between two of its runs
lie one look for I/O and everything that was ready then. So the longest gap is the longest time for
which nobody's bytes were looked at, whether one callback took it or many in one pass did: for a
client there is no difference. The loop never sleeps while it is watched, and takes each event as
soon as it is there.

Error: a pass with nothing to do takes about 10 µs, which every gap includes. The wall clock also
counts what other programs did on this core meanwhile, so the processor time of the loop's thread is
taken beside it; on a quiet machine both say the same. Collections of garbage count where they
happen; a node provokes few (`cli.GC_THRESHOLDS`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass
class Hold:
    """The longest hold while a loop was watched, by either clock."""

    wall_ms: float = 0.0
    cpu_ms: float = 0.0
    passes: int = 0


class LoopWatch:
    """Watches the running loop from `start` to `stop`."""

    def __init__(
        self,
        *,
        wall_s: Callable[[], float] = time.perf_counter,
        cpu_s: Callable[[], float] = time.thread_time,
    ) -> None:
        """`cpu_s` is the processor time of the thread that the loop runs in."""
        self.hold = Hold()
        self._wall_s = wall_s
        self._cpu_s = cpu_s
        self._wall_then = 0.0
        self._cpu_then = 0.0
        self._handle: asyncio.Handle | None = None

    def start(self) -> None:
        """Begin with the present moment."""
        self._wall_then, self._cpu_then = self._wall_s(), self._cpu_s()
        self._handle = asyncio.get_running_loop().call_soon(self.beat)

    def stop(self) -> None:
        """Watch no more; what the present pass has taken by now still counts."""
        self.look()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def beat(self) -> None:
        """Note the gap since the last time; the loop calls this in each pass."""
        self.look()
        self.hold.passes += 1
        self._handle = asyncio.get_running_loop().call_soon(self.beat)

    def look(self) -> None:
        """Note how much time has passed since the last look."""
        wall, cpu = self._wall_s(), self._cpu_s()
        hold = self.hold
        hold.wall_ms = max(hold.wall_ms, 1e3 * (wall - self._wall_then))
        hold.cpu_ms = max(hold.cpu_ms, 1e3 * (cpu - self._cpu_then))
        self._wall_then, self._cpu_then = wall, cpu


@contextlib.contextmanager
def watched() -> Iterator[Hold]:
    """Watch the running loop while the block runs; the hold is complete behind it."""
    watch = LoopWatch()
    watch.start()
    try:
        yield watch.hold
    finally:
        watch.stop()
