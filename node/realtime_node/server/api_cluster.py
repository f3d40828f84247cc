"""What the methods of the HTTP API work on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from realtime_node.cluster.backplane import (
    Backplane,
)
from realtime_node.cluster.presence import PresenceStore
from realtime_node.cluster.session_store import SessionStore
from realtime_node.cluster.verdicts import VerdictStore
from realtime_node.config import ClientSettings
from realtime_node.session.channels import ChannelRules

_UNNOTICED_MS: Final = 60_000
"""How long a node may be dead before the others know."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the methods work on."""

    rules: ChannelRules
    backplane: Backplane
    presence: PresenceStore
    verdicts: VerdictStore
    sessions: SessionStore
    client: ClientSettings
    history_limit: int = 10_000
    """Publications that one call may return."""
    wall_clock: Callable[[], float] = time.time
    """Unix seconds, for ends that callers name."""

    @property
    def remembered_ms(self) -> int:
        """How long sessions without a connection have to learn what was taken; 0: there are none.

        Some time longer than they wait: nobody knows at once that a node is dead.
        """
        if not self.client.session.enabled:
            return 0
        return int(self.client.session.resume_window.total_seconds() * 1000) + _UNNOTICED_MS
