"""A token bucket for each address that clients come from.

Only so many addresses are remembered, and the least recently seen one is forgotten first: its
bucket counts as full then. So whoever has more addresses than that is not held back here, but by
the node's own rate.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from realtime_node.admission.token_bucket import Rate, spend, wait_s

MOST_ADDRESSES: Final = 65_536
"""About 10 MiB."""


class AddressBuckets:
    """The buckets of a node's clients."""

    def __init__(self, rate: Rate, *, most: int = MOST_ADDRESSES) -> None:
        """Give every address `rate`; remember `most` of them."""
        self._rate = rate
        self._most = most
        self._full_at: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        """Addresses that are remembered."""
        return len(self._full_at)

    def wait_s(self, key: bytes, now: float) -> float:
        """Return how long an address has to wait for a token; 0: it has one."""
        return wait_s(self._full_at.get(key, 0.0), 1, self._rate, now)

    def spend(self, key: bytes, now: float) -> None:
        """Take a token that is there."""
        full_at = spend(self._full_at.get(key, 0.0), 1, self._rate, now)
        if full_at is None:
            return
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
