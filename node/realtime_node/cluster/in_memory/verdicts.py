"""Verdicts of one process. Bound: `limit` verdicts and `limit` revocations, the oldest go first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from realtime_node.cluster.verdicts import REVOCATION_MS, Found, Prolongation


class _Kept(NamedTuple):
    verdict: bytes
    user: str
    stamp: int
    ends_at: float


class InMemoryVerdicts:
    """Implements `VerdictStore`."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, limit: int = 100_000
    ) -> None:
        """`clock` in seconds."""
        self._clock = clock
        self._limit = limit
        self._count = 0
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._revoked: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._floor = 0
        """Verdicts with a lower stamp count as revoked: their revocations had to make room."""

    async def find(self, key: bytes) -> Found:
        """See `VerdictStore.find`."""
        kept = self._kept.get(key)
        if kept is None or kept.ends_at <= self._clock() or self._is_revoked(kept.user, kept.stamp):
            self._kept.pop(key, None)
            return Found(None, self._count)
        return Found(kept.verdict, self._count)

    async def keep(self, key: bytes, verdict: bytes, *, user: str, stamp: int, ttl_ms: int) -> None:
        """See `VerdictStore.keep`."""
        if self._is_revoked(user, stamp):
            return
        self._kept[key] = _Kept(verdict, user, stamp, self._clock() + ttl_ms / 1000)
        self._kept.move_to_end(key)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    async def prolong(self, prolongations: Sequence[Prolongation]) -> None:
        """See `VerdictStore.prolong`."""
        for key, ttl_ms in prolongations:
            if (await self.find(key)).verdict is not None:
                self._kept[key] = self._kept[key]._replace(ends_at=self._clock() + ttl_ms / 1000)

    async def forget(self, key: bytes) -> None:
        """See `VerdictStore.forget`."""
        self._kept.pop(key, None)

    async def revoke(self, user: str) -> None:
        """See `VerdictStore.revoke`."""
        now = self._clock()
        self._count += 1
        self._revoked[user] = self._count, now + REVOCATION_MS / 1000
        self._revoked.move_to_end(user)
        while True:
            count, ends_at = next(iter(self._revoked.values()))
            if ends_at > now and len(self._revoked) <= self._limit:
                return
            if ends_at > now:
                self._floor = count
            self._revoked.popitem(last=False)

    def _is_revoked(self, user: str, stamp: int) -> bool:
        return stamp < max(self._revoked.get(user, (0, 0.0))[0], self._floor)
