"""The door of a node: open, or cordoned while the node means to send its clients elsewhere.

A load balancer goes on choosing a node for a while after it was told not to, so the node refuses by
itself: an upgrade that comes while the door is cordoned is answered with 503 and a time to come
back, and every SDK backs off from that. What was let in before stays. When the last one was let in
is remembered: it tells a drain whether the balancers have understood.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Refusal(NamedTuple):
    """Why a client may not come in now, and when it is worth trying again."""

    reason: str
    retry_after_s: int
    """Whole seconds, at least one, as `Retry-After` is written."""


class Door:
    """Opens and closes; asked once for each arriving request."""

    def __init__(self, monotonic: Callable[[], float], random: Callable[[], float]) -> None:
        """Be open. `random` in [0, 1) spreads those who are sent away."""
        self._monotonic = monotonic
        self._random = random
        self._cordon: str | None = None
        self.accepted_total = 0
        """Requests that were let in since the node started."""
        self.accepted_at = monotonic()
        """When the last of them was, in seconds of the monotonic clock."""

    @property
    def is_cordoned(self) -> bool:
        """Whether nobody is let in."""
        return self._cordon is not None

    def cordon(self, reason: str) -> None:
        """Let nobody in from now on; `reason` is told to those who ask."""
        self._cordon = reason

    def uncordon(self) -> None:
        """Open again."""
        self._cordon = None

    def refusal(self) -> Refusal | None:
        """Return why nobody may come in, or None if the door is open."""
        if self._cordon is None:
            return None
        return Refusal(self._cordon, self.retry_after_s(_CORDONED_S))

    def accepted(self) -> None:
        """Note that a request was let in."""
        self.accepted_total += 1
        self.accepted_at = self._monotonic()

    def retry_after_s(self, about_s: int) -> int:
        """Return a time to come back: `about_s` or up to twice as much, not the same for all."""
        return about_s + int(self._random() * (about_s + 1))


_CORDONED_S = 1
"""Another node takes the client at once: it only has to be chosen."""
