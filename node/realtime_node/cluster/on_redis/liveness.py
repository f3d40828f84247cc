"""Whether this node may say of another that it is dead.

A node is another's to judge only after its own heartbeats went through for a full lease without a
break. Whatever stopped them, a Redis that was away, a network, a pause of this process, may have
stopped the others' too: silence of Redis alone kills nobody, and no client vanishes from presence
because of it. Until then every node counts whose traces are there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

# Longer than any Redis has been running, and exact as a number in Lua.
_NO_LIMIT_MS: Final = 10**12


class Liveness:
    """Follows this node's own heartbeats."""

    def __init__(
        self,
        lease_s: float,
        heartbeat_interval_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lease_s = lease_s
        # With a longer break of ours, a node that was stopped with us may look dead before its next
        # heartbeat.
        self._break_s = lease_s - heartbeat_interval_s
        self._clock = clock
        self._since: float | None = None
        self._last = 0.0
        self._leased_until = float("-inf")

    def now(self) -> float:
        """The time that `beat` wants to know."""
        return self._clock()

    def beat(self, sent_at: float) -> None:
        """Note a heartbeat that went through."""
        self._leased_until = sent_at + self._lease_s
        now = self._clock()
        if self._since is None or now - self._last > self._break_s:
            self._since = now
        self._last = now

    def missed(self) -> None:
        """Note one that did not."""
        self._since = None

    def is_leased(self) -> bool:
        """Whether nobody can have declared this node dead yet."""
        return self._clock() < self._leased_until

    def may_judge(self) -> bool:
        """Whether others' silence is theirs and not ours."""
        now = self._clock()
        return (
            self._since is not None
            and now - self._since >= self._lease_s
            and now - self._last <= self._break_s
        )

    def silence_ms(self) -> int:
        """How long a node may have been silent and still counts."""
        return int(self._lease_s * 1000) if self.may_judge() else _NO_LIMIT_MS
