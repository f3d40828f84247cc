"""What tokens say, and who verifies them.

`server.auth` implements `TokenVerifier` with JWTs; the session only reads claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from realtime_node.proxy.answers import Override
from realtime_node.session.subscription import Grant


class ServerSideSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription that a connection token brings along."""

    info: bytes | None = None
    """JSON, shown to others as `chan_info`."""
    data: bytes | None = None
    """JSON, given to the client with the subscription."""
    override: Override | None = None


class ConnectionClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection token says."""

    user: str = ""
    """Empty for an anonymous user."""
    expire_at: int = 0
    """Unix seconds; 0: the connection does not expire."""
    info: bytes | None = None
    """JSON, shown to others as `conn_info`."""
    channels: tuple[str, ...] = ()
    """Server-side subscriptions with nothing but the namespace's options."""
    subs: Mapping[str, ServerSideSubscription] = {}
    """Server-side subscriptions with their own info and data."""

    def server_side_grants(self) -> dict[str, Grant]:
        """Return the grant of each server-side subscription."""
        grants = {channel: Grant(server_side=True) for channel in self.channels}
        for channel, sub in self.subs.items():
            grants[channel] = Grant(
                server_side=True, chan_info=sub.info, data=sub.data, override=sub.override
            )
        return grants


ANONYMOUS: Final = ConnectionClaims()


class SubscriptionClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscription token says."""

    channel: str
    user: str = ""
    client: str = ""
    """Empty: for every client of the user."""
    expire_at: int = 0
    """Unix seconds; 0: the subscription does not expire."""
    info: bytes | None = None
    """JSON, shown to others as `chan_info`."""
    data: bytes | None = None
    """JSON, given to the client with the subscription."""


class TokenVerifier(Protocol):
    """Verifies tokens. Both methods raise `TokenExpiredError` or another `TokenError`."""

    def verify_connection_token(self, token: str, *, now: float) -> ConnectionClaims:
        """Return the claims of a connection token; `now` in Unix seconds."""

    def verify_subscription_token(self, token: str, *, now: float) -> SubscriptionClaims:
        """Return the claims of a subscription token; `now` in Unix seconds."""
