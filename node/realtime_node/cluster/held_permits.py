"""The permits of an allowance that one holder has in its hands, and until when they count. Pure."""

from __future__ import annotations

from realtime_node.cluster.allowance import Lease


class HeldPermits:
    """What is left of the last lease."""

    def __init__(self) -> None:
        self._left = 0
        self._ends_at = 0.0

    def take(self, lease: Lease, asked_at: float) -> None:
        """Take a new lease in the place of what is left of the last."""
        self._left = lease.permits
        self._ends_at = asked_at + lease.life_s

    def count(self, now: float) -> int:
        """How many count."""
        return self._left if now < self._ends_at else 0

    def use(self) -> None:
        """Use one up."""
        self._left -= 1
