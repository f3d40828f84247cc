"""The node's memory for what waits for slow clients.

A frame that waits for three hundred clients is one frame in memory, so it is counted once, however
many hold it, and is gone when the last one let go. What a single holding costs is counted with
each, and so are bytes that belong to one client alone. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

HOLDING_BYTES: Final = 192
"""What a holder's own notes about a frame weigh: a place in a queue, a time of arrival."""


class Shared:
    """Bytes that may wait for many clients at once."""

    __slots__ = ("data", "holders")

    def __init__(self, data: bytes) -> None:
        """Begin without holders: nothing waits, and nothing is counted."""
        self.data = data
        self.holders = 0


class Budget:
    """Counts what waits, and tells when it is too much."""

    __slots__ = ("_on_exceeded", "bytes", "limit_bytes")

    def __init__(self, limit_bytes: int, on_exceeded: Callable[[], None]) -> None:
        """Call `on_exceeded` with every growth that ends above `limit_bytes`."""
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self._on_exceeded = on_exceeded

    def hold(self, shared: Shared) -> None:
        """Note one more holder."""
        shared.holders += 1
        self.charge(HOLDING_BYTES + len(shared.data) if shared.holders == 1 else HOLDING_BYTES)

    def release(self, shared: Shared) -> None:
        """Note one holder less."""
        shared.holders -= 1
        self.bytes -= HOLDING_BYTES if shared.holders else HOLDING_BYTES + len(shared.data)

    def charge(self, size: int) -> None:
        """Count bytes that belong to one client alone; a negative size takes them back."""
        self.bytes += size
        if size > 0 and self.bytes > self.limit_bytes:
            self._on_exceeded()
