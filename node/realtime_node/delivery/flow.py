"""The rules by which a channel's messages flow: how they share frames, and who waits for them.

Pure data, in the units that `delivery` counts in. `session.channels` makes a `Flow` of each
namespace's settings; the hub asks for it once per channel.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class Policy(StrEnum):
    """What happens to a channel's messages for a client that does not take them."""

    QUEUE = "queue"
    """All wait, in order, up to a bound; beyond it the client is closed and recovers."""
    LATEST = "latest"
    """Only the newest of each key waits."""
    DROP = "drop"
    """They are skipped."""
    DISCONNECT = "disconnect"
    """The client is closed at the first of them."""


class SlowRule(msgspec.Struct, frozen=True, kw_only=True):
    """What may wait for one client in one channel."""

    policy: Policy = Policy.QUEUE
    max_messages: int = 1024
    max_bytes: int = 262_144
    max_age_s: float = 5.0
    """How long the oldest may wait; of a queue only, since what is kept elsewhere is fresh."""
    key: str = ""
    """The tag by which `LATEST` tells values apart; empty: a channel is one value."""


class BatchRule(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages share a frame."""

    interval_s: float = 0.0
    """Least time between two frames; 0: a frame per pass of the loop."""
    max_messages: int = 16
    """Beyond it a frame saves little and delays the first message in it."""
    max_bytes: int = 65_536
    """A single larger message still gets a frame, of its own."""


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """All rules of a channel."""

    slow: SlowRule = SlowRule()
    batch: BatchRule = BatchRule()
    stagger_s: float = 0.0
    """Time over which a frame reaches the subscribers of a large channel, cohort by cohort."""

    @property
    def conflates(self) -> bool:
        """Whether a newer message makes an older one of its key worthless."""
        return self.slow.policy is Policy.LATEST


PLAIN: Final = Flow()
"""The rules of a channel about which nothing was said."""
