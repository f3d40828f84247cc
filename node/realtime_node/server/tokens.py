"""Makes tokens, as a team's backend would: for `realtime-node dev`, and for tests.

A node only verifies; see `auth`.
"""

from __future__ import annotations

from collections.abc import Sequence

import jwt


def make_connection_token(
    secret: str, user: str, *, expires_at: int = 0, channels: Sequence[str] = (), **claims: object
) -> str:
    """Sign a connection token (HS256) for a user, "" for an anonymous one.

    `expires_at` in Unix seconds, 0: never. `channels` are subscribed from the server's side.
    """
    if channels:
        claims["channels"] = list(channels)
    return _sign(secret, {"sub": user, **claims}, expires_at)


def make_subscription_token(
    secret: str, user: str, channel: str, *, expires_at: int = 0, **claims: object
) -> str:
    """Sign a subscription token (HS256) that lets a user subscribe to a channel."""
    return _sign(secret, {"sub": user, "channel": channel, **claims}, expires_at)


def _sign(secret: str, claims: dict[str, object], expires_at: int) -> str:
    if expires_at:
        claims["exp"] = expires_at
    return jwt.encode(claims, secret, algorithm="HS256")
