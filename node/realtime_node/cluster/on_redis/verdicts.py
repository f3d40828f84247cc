"""Verdicts on Redis: a hash per verdict, a counter of revocations, and the last of each user.

All live in the first partition, as messages to all nodes do, so that one script sees a verdict and
its user's revocation together. Bounds: a verdict's life, and `maxmemory`, beyond which no more are
kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from realtime_node.cluster.verdicts import REVOCATION_MS, Found, Prolongation

from .commands import Commands
from .keys import Keys
from .replies import Reply, data, number, ok
from .runner import Call, Runner, always
from .script import (
    VERDICT_FIND,
    VERDICT_FORGET,
    VERDICT_KEEP,
    VERDICT_PROLONG,
    VERDICT_REVOKE,
)

_PARTITION: Final = 0


class RedisVerdicts:
    """Implements `VerdictStore`."""

    def __init__(
        self,
        keys: Keys,
        runner: Runner,
        *,
        reads: Sequence[Commands],
        writes: Sequence[Commands],
    ) -> None:
        """`reads` and `writes` are by partition."""
        names = keys.partition(_PARTITION)
        self._verdicts, self._revocations, self._revoked = (
            names.verdicts,
            names.revocations,
            names.revoked,
        )
        self._runner = runner
        self._reads = reads[_PARTITION]
        self._writes = writes[_PARTITION]

    async def find(self, key: bytes) -> Found:
        """See `VerdictStore.find`."""
        call: Call = (self._verdict(key), self._revocations), (self._revoked,)
        return await self._runner.run(self._reads, VERDICT_FIND, always(call), read=_found)

    async def keep(self, key: bytes, verdict: bytes, *, user: str, stamp: int, ttl_ms: int) -> None:
        """See `VerdictStore.keep`."""
        call: Call = (
            (self._verdict(key), self._revocations, self._of(user)),
            (user, stamp, verdict, ttl_ms),
        )
        await self._runner.run(self._writes, VERDICT_KEEP, always(call), read=ok, may_repeat=True)

    async def prolong(self, prolongations: Sequence[Prolongation]) -> None:
        """See `VerdictStore.prolong`."""
        call: Call = (
            [self._verdict(each.key) for each in prolongations],
            (self._revoked, *(each.ttl_ms for each in prolongations)),
        )
        await self._runner.run(
            self._writes, VERDICT_PROLONG, always(call), read=ok, may_repeat=True
        )

    async def forget(self, key: bytes) -> None:
        """See `VerdictStore.forget`."""
        call: Call = (self._verdict(key),), ()
        await self._runner.run(self._writes, VERDICT_FORGET, always(call), read=ok, may_repeat=True)

    async def revoke(self, user: str) -> None:
        """See `VerdictStore.revoke`."""
        call: Call = (self._revocations, self._of(user)), (REVOCATION_MS,)
        await self._runner.run(self._writes, VERDICT_REVOKE, always(call), read=ok, may_repeat=True)

    def _verdict(self, key: bytes) -> bytes:
        return self._verdicts + key.hex().encode()

    def _of(self, user: str) -> bytes:
        return self._revoked + user.encode()


def _found(reply: Reply) -> Found:
    _, stamp, *verdict = reply
    return Found(data(verdict[0]) if verdict else None, number(stamp))
