"""What the nodes of an `InMemoryCluster` know of sessions; `sessions` has the rules."""

from __future__ import annotations

from dataclasses import dataclass, field

from realtime_node.cluster.session_store import KeptGrant, Owner, SessionState


@dataclass(slots=True)
class SessionRecord:
    """A record; times in seconds of the cluster's clock."""

    owner: Owner
    node: str
    state: SessionState
    ended_at: float | None = None
    claimed_at: float = 0
    subscriptions: dict[str, KeptGrant] = field(default_factory=dict)
    revoked: dict[str, float] = field(default_factory=dict)


class SessionTable:
    """The records and subscriptions that all nodes of the process share."""

    def __init__(self) -> None:
        self.records: dict[str, SessionRecord] = {}
        self.subscriptions: dict[str, dict[str, KeptGrant]] = {}
        self.revoked: dict[str, dict[str, float]] = {}
        """By user and channel ("": all): when; see `sessions`."""
        self.tokens = 0
