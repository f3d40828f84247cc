"""Keeps the verdicts of connected clients alive, for when many come back at once.

A verdict would otherwise end soon after the client connected, and a node that dies after an hour
would send all its clients to the backend. A node prolongs, in batches, what its connections and
subscriptions hold; when it dies the verdicts go on for the rest of their life.

What they hold is in `leases`. Bounds: `BATCH` verdicts per exchange, one exchange at a time. A node
that cannot keep up lets verdicts end, and the backend is asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from realtime_node.cluster.verdicts import Prolongation, VerdictStore
from realtime_node.errors import BackplaneError
from realtime_node.proxy.cached import life_ms
from realtime_node.proxy.leases import CacheLeases
from realtime_node.supervision import supervise

logger = logging.getLogger(__name__)

BATCH: Final = 128
TICK_S: Final = 0.5


class Keeper:
    """The verdicts of one proxy that clients of this node hold."""

    def __init__(
        self,
        store: VerdictStore,
        *,
        life_s: float,
        interval_s: float,
        monotonic: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        """Give verdicts `life_s` every `interval_s`."""
        self.leases = CacheLeases()
        self._store = store
        self._life_s = life_s
        self._interval_s = interval_s
        self._monotonic = monotonic
        self._wall_clock = wall_clock
        self._is_failing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to prolong."""
        self._task = supervise(self._run, name="verdict-keeper")

    async def close(self) -> None:
        """Stop; verdicts live for the rest of their time."""
        self._stop()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def take_over(self, former: Keeper) -> None:
        """Go on with the leases of a proxy that asked the same, which prolongs nothing any more."""
        former._stop()
        self.leases = former.leases
        if (former._life_s, former._interval_s) != (self._life_s, self._interval_s):
            self.leases.renew_all()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self.prolong_due()
                self._is_failing = False
            except BackplaneError as error:
                level = logging.DEBUG if self._is_failing else logging.WARNING
                self._is_failing = True
                logger.log(level, "verdicts of connected clients are not prolonged: %s", error)

    async def prolong_due(self) -> None:
        """Prolong everything whose time has come; raises `BackplaneError` and goes on later."""
        while batch := self.leases.due(self._monotonic(), BATCH):
            try:
                await self._prolong(batch)
            except BackplaneError:
                raise
            except Exception:
                self._put_behind(batch)  # whatever is wrong with it, it holds up no other
                raise
            self._put_behind(batch)

    async def _prolong(self, batch: list[tuple[bytes, float]]) -> None:
        wall = self._wall_clock()
        lives = [
            Prolongation(key, ttl_ms)
            for key, expire_at in batch
            if (ttl_ms := life_ms(self._life_s, expire_at, wall)) > 0
        ]
        if lives:
            await self._store.prolong(lives)

    def _put_behind(self, batch: list[tuple[bytes, float]]) -> None:
        due_at = self._monotonic() + self._interval_s
        self.leases.prolonged([key for key, _ in batch], due_at)
