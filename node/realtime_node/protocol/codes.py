"""Every code of the Centrifuge protocol that this node sends, with what a client does on it.

Close codes 3000-3499 and 4000-4499 make an SDK reconnect with its back-off, 3500-3999 and
4500-4999 end the client for good. Unsubscribe codes below 2500 end a subscription, those from
2500 make the SDK subscribe again. Rows are unpacked into the exceptions of `errors`.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class CloseCode(NamedTuple):
    """A WebSocket close code and the reason written beside it."""

    code: int
    reason: str


class ErrorCode(NamedTuple):
    """The code and message of an error reply."""

    code: int
    message: str


class UnsubscribeCode(NamedTuple):
    """The code and reason of an unsubscribe push."""

    code: int
    reason: str


# What a client sees of a connection that ended without a close frame; it comes back.
ABNORMAL: Final = 1006

# Closes after which the client comes back.
CONNECTION_CLOSED: Final = CloseCode(3000, "connection closed")
SHUTDOWN: Final = CloseCode(3001, "shutdown")
INTERNAL_SERVER_ERROR: Final = CloseCode(3004, "internal server error")
CONNECTION_EXPIRED: Final = CloseCode(3005, "connection expired")
SUBSCRIPTION_EXPIRED: Final = CloseCode(3006, "subscription expired")
SLOW: Final = CloseCode(3008, "slow")
WRITE_ERROR: Final = CloseCode(3009, "write error")
INSUFFICIENT_STATE: Final = CloseCode(3010, "insufficient state")
FORCE_RECONNECT: Final = CloseCode(3011, "force reconnect")
NO_PONG: Final = CloseCode(3012, "no pong")
TOO_MANY_REQUESTS_CLOSE: Final = CloseCode(3013, "too many requests")

# Closes after which it does not.
INVALID_TOKEN: Final = CloseCode(3500, "invalid token")
BAD_REQUEST: Final = CloseCode(3501, "bad request")
STALE: Final = CloseCode(3502, "stale")
FORCE_DISCONNECT: Final = CloseCode(3503, "force disconnect")
CONNECTION_LIMIT: Final = CloseCode(3504, "connection limit")
CHANNEL_LIMIT: Final = CloseCode(3505, "channel limit")
INAPPROPRIATE_PROTOCOL: Final = CloseCode(3506, "inappropriate protocol")
PERMISSION_DENIED_CLOSE: Final = CloseCode(3507, "permission denied")
NOT_AVAILABLE_CLOSE: Final = CloseCode(3508, "not available")

# Errors in a reply.
INTERNAL: Final = ErrorCode(100, "internal server error")
UNAUTHORIZED: Final = ErrorCode(101, "unauthorized")
UNKNOWN_CHANNEL: Final = ErrorCode(102, "unknown channel")
PERMISSION_DENIED: Final = ErrorCode(103, "permission denied")
METHOD_NOT_FOUND: Final = ErrorCode(104, "method not found")
ALREADY_SUBSCRIBED: Final = ErrorCode(105, "already subscribed")
LIMIT_EXCEEDED: Final = ErrorCode(106, "limit exceeded")
BAD_COMMAND: Final = ErrorCode(107, "bad request")
NOT_AVAILABLE: Final = ErrorCode(108, "not available")
TOKEN_EXPIRED: Final = ErrorCode(109, "token expired")
EXPIRED: Final = ErrorCode(110, "expired")
TOO_MANY_REQUESTS: Final = ErrorCode(111, "too many requests")
UNRECOVERABLE_POSITION: Final = ErrorCode(112, "unrecoverable position")

# Unsubscribe pushes.
UNSUBSCRIBED_BY_SERVER: Final = UnsubscribeCode(2000, "server unsubscribe")
UNSUBSCRIBED_INSUFFICIENT_STATE: Final = UnsubscribeCode(2500, "insufficient state")
UNSUBSCRIBED_EXPIRED: Final = UnsubscribeCode(2501, "expired")


KNOWN: Final = frozenset(
    row.code
    for row in tuple(globals().values())
    if isinstance(row, CloseCode | ErrorCode | UnsubscribeCode)
) | {ABNORMAL}
"""Every code of this module. Backends may answer with codes of their own, any number of them."""


def label_of(code: int) -> str:
    """Return a code as the label of a metric: itself if this module has it, else `other`.

    A label that a backend chooses would grow the metrics without bound.
    """
    return str(code) if code in KNOWN else "other"
