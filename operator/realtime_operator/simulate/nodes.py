"""A node as clients meet it: who is on it, who is at its door, whether it lets anybody in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What a node does, in the words of its /status."""

    SERVING = "serving"
    CORDONED = "cordoned"
    DRAINING = "draining"
    FORCING = "forcing"
    DRAINED = "drained"


@dataclass(eq=False, slots=True)
class Node:
    """A process with connections; whoever runs it (`operated`, `deployment`) changes its state."""

    name: str
    zone: str
    clients: int = 0
    """Connected."""
    queued: int = 0
    """Handshakes that wait at its door."""
    tokens: float = 0.0
    """Handshakes that may be let in at once, as of `tokens_at`."""
    tokens_at: int = 0
    """A step."""
    is_up: bool = False
    """Whether the process runs and can be reached."""
    phase: Phase = Phase.SERVING
    accepted_total: int = 0
    closed_total: int = 0
    """Closed by drains and sheds."""
    connects_per_s: float = 0.0
    """Let in lately, as it was last measured."""
    measured: tuple[float, int] | None = None
    """When that was, and `accepted_total` then."""
    deliveries: float = 0.0
    """Publications written to clients."""

    def measure(self, now: float, over_s: float) -> None:
        """See how many were let in per second, over so long at least."""
        since, accepted = self.measured or (now, self.accepted_total)
        if now >= since + over_s:
            self.connects_per_s = (self.accepted_total - accepted) / (now - since)
            self.measured = None
        if self.measured is None:
            self.measured = (now, self.accepted_total)

    @property
    def lets_in(self) -> bool:
        """Whether a handshake has a chance."""
        return self.is_up and self.phase is Phase.SERVING
