"""The cluster's permits that this node holds, leased a few at a time while somebody waits.

One task at most asks for them, and only for as many as can be used before they expire: an idle node
leases nothing, and takes nothing from the others. It asks again when its part of the rate has made
up for what it was given, or whoever asks first each time would leave nothing to the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from realtime_node.cluster.allowance import Allowance
from realtime_node.cluster.held_permits import HeldPermits
from realtime_node.supervision import guard, supervise

SHORTEST_PACE_S: Final = 0.02
"""Seconds between two questions at least."""


class Permits:
    """What one node holds of an allowance."""

    def __init__(
        self,
        allowance: Allowance,
        *,
        monotonic: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
        wanted: Callable[[], int],
        on_change: Callable[[], None],
    ) -> None:
        """Lease from `allowance` as many as are `wanted` when it is asked: usable within a second.

        `on_change` is called when it is worth looking again.
        """
        self._allowance = allowance
        self._monotonic = monotonic
        self._call_later = call_later
        self._wanted = wanted
        self._on_change = on_change
        self._held = HeldPermits()
        self._rate_per_s = 0.0
        self._ask_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._pause: asyncio.TimerHandle | None = None

    def held(self, now: float) -> int:
        """Return how many are in hand."""
        return self._held.count(now)

    def wait_s(self, count: int, now: float) -> float | None:
        """Return how long it takes to have had `count`; None: unknown."""
        missing = count - self.held(now)
        if missing <= 0:
            return 0.0
        return missing / self._rate_per_s if self._rate_per_s else None

    def use(self) -> None:
        """Use one of those in hand."""
        self._held.use()

    def wish(self) -> None:
        """Lease some as soon as may be, unless that is under way; `on_change` tells the end."""
        if self._task is not None or self._pause is not None:
            return
        pause_s = self._ask_at - self._monotonic()
        if pause_s > 0:
            self._pause = self._call_later(pause_s, self._paused)
        else:
            self._task = supervise(self._lease, name="connect-permits")

    def close(self) -> None:
        """Ask for no more."""
        if self._task is not None:
            self._task.cancel()
        if self._pause is not None:
            self._pause.cancel()

    async def _lease(self) -> None:
        await self._ask()
        self._task = None
        with guard("connect-permits"):
            self._on_change()

    async def _ask(self) -> None:
        wanted = self._wanted()  # by now all who came together are there
        if not wanted:
            return
        asked_at = self._monotonic()
        lease = await self._allowance.lease(wanted)
        self._held.take(lease, asked_at)
        self._rate_per_s = lease.rate_per_s
        pace_s = lease.permits / lease.rate_per_s if lease.rate_per_s else 0.0
        if not lease.permits:
            pace_s = lease.retry_after_s
        self._ask_at = asked_at + max(pace_s, SHORTEST_PACE_S)

    def _paused(self) -> None:
        self._pause = None
        self._on_change()
