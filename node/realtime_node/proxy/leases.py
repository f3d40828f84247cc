"""What connected clients of this node lease: kept answers that live as long as they are here.

Leases belong to a proxy's questions, not to the objects that ask them. When changed settings
replace a proxy by one that asks the same, its leases go on with the new one (`Keeper.take_over`),
and those who hold them need not be told. Pure: the clock is passed in.

Bounds: one entry per connection or subscription that holds one.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice


class _Lease:
    __slots__ = ("due_at", "expire_at", "holders")

    def __init__(self) -> None:
        self.due_at: float = 0
        self.holders = 0
        self.expire_at: float = 0


class CacheLeases:
    """The leases of one proxy's answers, by key."""

    def __init__(self) -> None:
        """Begin with none."""
        self._leases: OrderedDict[bytes, _Lease] = OrderedDict()
        """In the order in which they are due, but for the fresh ones."""
        self._fresh: dict[bytes, None] = {}
        """What came since the last look: an answer that let a client in may be near its end."""

    def __len__(self) -> int:
        """Return how many answers are leased."""
        return len(self._leases)

    def hold(self, key: bytes, expire_at: float) -> None:
        """Keep an answer alive until it is released as often, or ends by itself."""
        lease = self._leases.get(key)
        if lease is None:
            lease = self._leases[key] = _Lease()
        lease.holders += 1
        lease.expire_at = expire_at
        self._fresh[key] = None

    def extend(self, key: bytes, expire_at: float) -> None:
        """Note that an answer that is leased has a new end."""
        if (lease := self._leases.get(key)) is not None:
            lease.expire_at = expire_at

    def release(self, key: bytes) -> None:
        """Hold an answer once less."""
        if (lease := self._leases.get(key)) is None:
            return
        lease.holders -= 1
        if lease.holders <= 0:
            del self._leases[key]
            self._fresh.pop(key, None)

    def due(self, now: float, most: int) -> list[tuple[bytes, float]]:
        """Return up to `most` answers that are to be prolonged, each with its end (0: none)."""
        due = list(islice(self._fresh, most))
        if not due:
            for key, lease in self._leases.items():
                if lease.due_at > now or len(due) == most:
                    break
                due.append(key)
        return [(key, self._leases[key].expire_at) for key in due]

    def prolonged(self, keys: list[bytes], due_at: float) -> None:
        """Note that answers live on, and when they are due again."""
        for key in keys:
            self._fresh.pop(key, None)
            if (lease := self._leases.get(key)) is not None:
                lease.due_at = due_at
                self._leases.move_to_end(key)

    def renew_all(self) -> None:
        """Have every answer prolonged next, whenever it was due."""
        self._fresh = dict.fromkeys(self._leases)
