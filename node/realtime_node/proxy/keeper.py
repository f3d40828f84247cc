"""Keeps the verdicts of connected clients alive, for when many come back at once.

A verdict would otherwise end soon after the client connected, and a node that dies after an hour
would send all its clients to the backend. A node prolongs, in batches, what its connections and
subscriptions hold; when it dies the verdicts go on for the rest of their life.

Bounds: one entry per connection or subscription that holds one; `BATCH` verdicts per exchange, one
exchange at a time. A node that cannot keep up lets verdicts end, and the backend is asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Final

from realtime_node.cluster.verdicts import Prolongation, VerdictStore
from realtime_node.errors import BackplaneError
from realtime_node.proxy.cached import life_ms
from realtime_node.supervision import supervise

logger = logging.getLogger(__name__)

BATCH: Final = 128
TICK_S: Final = 0.5


class _Held:
    __slots__ = ("due_at", "expire_at", "holders")

    def __init__(self, due_at: float) -> None:
        self.due_at = due_at
        self.holders = 0
        self.expire_at: float = 0


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
        self._store = store
        self._life_s = life_s
        self._interval_s = interval_s
        self._monotonic = monotonic
        self._wall_clock = wall_clock
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        """In the order in which they are due."""
        self._fresh: dict[bytes, None] = {}
        """What came since the last look: a verdict that let a client in may be near its end."""
        self._is_failing = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return how many are held."""
        return len(self._held)

    def start(self) -> None:
        """Begin to prolong."""
        self._task = supervise(self._run, name="verdict-keeper")

    async def close(self) -> None:
        """Stop; verdicts live for the rest of their time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def hold(self, key: bytes, expire_at: float) -> None:
        """Keep a verdict alive until it is released as often, or ends by itself."""
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = _Held(self._monotonic() + self._interval_s)
        held.holders += 1
        held.expire_at = expire_at
        self._fresh[key] = None

    def extend(self, key: bytes, expire_at: float) -> None:
        """Note that a verdict that is held has a new end."""
        if (held := self._held.get(key)) is not None:
            held.expire_at = expire_at

    def release(self, key: bytes) -> None:
        """Hold a verdict once less."""
        if (held := self._held.get(key)) is None:
            return
        held.holders -= 1
        if held.holders <= 0:
            del self._held[key]
            self._fresh.pop(key, None)

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
            except Exception:
                logger.exception("unexpected error: verdicts of connected clients are prolonged on")

    async def prolong_due(self) -> None:
        """Prolong everything whose time has come; raises `BackplaneError` and goes on later."""
        while batch := self._due():
            wall = self._wall_clock()
            lives = [
                Prolongation(key, ttl_ms)
                for key in batch
                if (ttl_ms := life_ms(self._life_s, self._held[key].expire_at, wall)) > 0
            ]
            if lives:
                await self._store.prolong(lives)
            due_at = self._monotonic() + self._interval_s
            for key in batch:
                self._fresh.pop(key, None)
                if (held := self._held.get(key)) is not None:
                    held.due_at = due_at
                    self._held.move_to_end(key)

    def _due(self) -> list[bytes]:
        now = self._monotonic()
        due = list(islice(self._fresh, BATCH))
        if due:
            return due
        for key, held in self._held.items():
            if held.due_at > now or len(due) == BATCH:
                break
            due.append(key)
        return due
