"""The conversations to record, by subject. Channels and users are used by one conversation only."""

from __future__ import annotations

from tests.contract.wire.scripts import (
    batch,
    connecting,
    history,
    limits,
    misuse,
    presence,
    publishing,
    recovery,
    server_api,
    server_side,
    subscribing,
)

CONVERSATIONS = [
    *connecting.CONVERSATIONS,
    *subscribing.CONVERSATIONS,
    *publishing.CONVERSATIONS,
    *history.CONVERSATIONS,
    *recovery.CONVERSATIONS,
    *presence.CONVERSATIONS,
    *server_side.CONVERSATIONS,
    *misuse.CONVERSATIONS,
    *limits.CONVERSATIONS,
    *server_api.CONVERSATIONS,
    *batch.CONVERSATIONS,
]
