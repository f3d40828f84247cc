"""JSON Web Tokens as a team's backend would sign them for its users."""

from __future__ import annotations

import time
from typing import Any

import jwt

SECRET = "a-secret-long-enough-for-hs256-tokens"
OTHER_SECRET = "a-secret-that-no-server-of-these-tests-knows"


def token(*, secret: str = SECRET, lifetime_s: float | None = None, **claims: Any) -> str:
    """Return an HS256 token with these claims, expiring `lifetime_s` from now if it is given."""
    if lifetime_s is not None:
        claims["exp"] = int(time.time() + lifetime_s)
    return jwt.encode(claims, secret, algorithm="HS256")
