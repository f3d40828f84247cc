"""What outlives a client's connection: sessions, and subscriptions made through the HTTP API."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from realtime_node.config.section import Bytes, Contradiction, LivingDuration, Section

LONGEST_WINDOW = timedelta(minutes=30)
"""A dead node is remembered for an hour."""


class SessionSettings(Section):
    """Sessions for clients that ask for one, see docs/sessions.md."""

    enabled: bool = False
    """Give sessions to clients that ask in the `data` of their connect. A client with a session
    costs one more question to Redis when it connects."""

    resume_window: LivingDuration = timedelta(minutes=2)
    """How long a session waits for its client, from the end of its connection or the death of its
    node on; at least \"15s\", at most \"30m\"."""

    max_size: Bytes = 65_536
    """What a session may hold: what its client is known by, and what tokens, proxies and the HTTP
    API granted it. What does not fit is granted anew when the client is back."""

    max_departures: Annotated[int, Field(ge=0, le=10_000_000)] = 100_000
    """Clients, once per channel, that may be away and still present (`presence_grace`) on this
    node. Beyond that they leave at once."""

    def contradictions(self) -> Iterable[Contradiction]:
        """A node is silent for up to ten seconds before anybody takes it for dead."""
        if not timedelta(seconds=15) <= self.resume_window <= LONGEST_WINDOW:
            yield Contradiction("resume_window", 'it has to be from "15s" to "30m"')


class ApiSubscriptionSettings(Section):
    """Subscriptions that backends make through the HTTP API (`subscribe`)."""

    kept: bool = False
    """Keep them for the user until they are ended or expire, on every connection and node.
    Otherwise they end with the connection, as in Centrifugo. Costs one more question to Redis for
    every client with a user that connects."""

    limit: Annotated[int, Field(ge=1, le=10_000)] = 128
    """Channels that are kept for one user, and for one session; further ones are refused (106)."""
