"""What `/status` shows of drains and sheds."""

from __future__ import annotations

import msgspec


class DrainStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a node is on its way to being empty."""

    phase: str
    reason: str
    """Why, in the words of whoever asked."""
    id: str
    """Another for each drain; empty while there is none."""
    remaining: int
    """Clients still to be closed."""
    rate_per_s: float
    """Closes per second at this moment."""
    eta_s: float | None
    """Seconds until nobody is left, at this rate; null if that cannot be told."""
    deadline_in_s: float | None
    """Seconds until the deadline; null if there is none."""
    closed_total: int
    """Clients closed by drains and sheds since the node started."""


class Shed(msgspec.Struct, frozen=True, kw_only=True):
    """Clients of a serving node that are to go elsewhere."""

    count: int
    """How many were asked for."""
    remaining: int
    rate_per_s: float
    """As it was asked for; infinite, which JSON calls null: as fast as the budget allows."""
