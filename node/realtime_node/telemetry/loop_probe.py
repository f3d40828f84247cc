"""How the event loop fares: how late it is, and how much of its time it works.

A callback every 100 ms sees by how much it came late, which is how long anybody's bytes wait
before they are looked at, and how much processor time the loop's thread has used since. A single
long stop (a debugger, a machine that was suspended) is not a loop that is always late: a sample
counts for two seconds at most and moves the average by a fifth, so one alone makes it 0.4 s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from realtime_node.supervision import guarded

EVERY_S: Final = 0.1
WEIGHT: Final = 0.2
"""Of the newest sample in an average: about half of one is younger than three samples."""
LONGEST_S: Final = 2.0
"""Seconds of lateness that a sample counts for in the average."""
WINDOW: Final = 50
"""Samples in which the worst is looked for: five seconds of a loop that is in time."""


class LoopProbe:
    """Measures the running loop from `start` to `stop`."""

    def __init__(self, monotonic: Callable[[], float], cpu: Callable[[], float]) -> None:
        """`cpu` counts the seconds of processor time that this thread has used."""
        self._monotonic = monotonic
        self._cpu = cpu
        self._lags: deque[float] = deque(maxlen=WINDOW)
        self._timer: asyncio.TimerHandle | None = None
        self._sampled_at = 0.0
        self._cpu_then = 0.0
        self._cpu_at_start = 0.0
        self.lag_s = 0.0
        """How late callbacks are, on average; 0 in a loop that is in time."""
        self.busy = 0.0
        """The part of its time that the loop works, 0 to 1, on average over half a second."""

    @property
    def worst_lag_s(self) -> float:
        """How late the latest of the last few seconds was."""
        return max(self._lags, default=0.0)

    @property
    def busy_s_total(self) -> float:
        """Seconds that the loop has worked since `start`: an average over any time follows."""
        return self._cpu() - self._cpu_at_start

    def start(self) -> None:
        """Begin to measure."""
        self._sampled_at = self._monotonic()
        self._cpu_then = self._cpu_at_start = self._cpu()
        self._again()

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def sample(self) -> None:
        """Take a sample; the timer does."""
        now, cpu = self._monotonic(), self._cpu()
        passed_s = now - self._sampled_at
        if passed_s <= 0:
            return
        lag_s = max(passed_s - EVERY_S, 0.0)
        busy = min((cpu - self._cpu_then) / passed_s, 1.0)
        self.lag_s += WEIGHT * (min(lag_s, LONGEST_S) - self.lag_s)
        self.busy += WEIGHT * (busy - self.busy)
        self._lags.append(lag_s)
        self._sampled_at, self._cpu_then = now, cpu

    def _again(self) -> None:
        ring = guarded(self._ring, where="loop-probe")
        self._timer = asyncio.get_running_loop().call_later(EVERY_S, ring)

    def _ring(self) -> None:
        try:
            self.sample()
        finally:
            self._again()
