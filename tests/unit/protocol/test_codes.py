"""The codes: each once, and in the range that makes an SDK do the right thing."""

from __future__ import annotations

import pytest

from realtime_node.protocol import codes
from realtime_node.protocol.codes import CloseCode, ErrorCode, UnsubscribeCode

COMES_BACK = {
    "CONNECTION_CLOSED": 3000,
    "SHUTDOWN": 3001,
    "INTERNAL_SERVER_ERROR": 3004,
    "CONNECTION_EXPIRED": 3005,
    "SUBSCRIPTION_EXPIRED": 3006,
    "SLOW": 3008,
    "WRITE_ERROR": 3009,
    "INSUFFICIENT_STATE": 3010,
    "FORCE_RECONNECT": 3011,
    "NO_PONG": 3012,
    "TOO_MANY_REQUESTS_CLOSE": 3013,
}
STAYS_AWAY = {
    "INVALID_TOKEN": 3500,
    "BAD_REQUEST": 3501,
    "STALE": 3502,
    "FORCE_DISCONNECT": 3503,
    "CONNECTION_LIMIT": 3504,
    "CHANNEL_LIMIT": 3505,
    "INAPPROPRIATE_PROTOCOL": 3506,
    "PERMISSION_DENIED_CLOSE": 3507,
    "NOT_AVAILABLE_CLOSE": 3508,
}
ERRORS = {
    "INTERNAL": 100,
    "UNAUTHORIZED": 101,
    "UNKNOWN_CHANNEL": 102,
    "PERMISSION_DENIED": 103,
    "METHOD_NOT_FOUND": 104,
    "ALREADY_SUBSCRIBED": 105,
    "LIMIT_EXCEEDED": 106,
    "BAD_COMMAND": 107,
    "NOT_AVAILABLE": 108,
    "TOKEN_EXPIRED": 109,
    "EXPIRED": 110,
    "TOO_MANY_REQUESTS": 111,
    "UNRECOVERABLE_POSITION": 112,
}
UNSUBSCRIBES = {
    "UNSUBSCRIBED_BY_SERVER": 2000,
    "UNSUBSCRIBED_INSUFFICIENT_STATE": 2500,
    "UNSUBSCRIBED_EXPIRED": 2501,
}


def named(kind: type[CloseCode | ErrorCode | UnsubscribeCode]) -> dict[str, int]:
    """The codes of one kind by their name in the module."""
    return {name: row.code for name, row in vars(codes).items() if isinstance(row, kind)}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(CloseCode, COMES_BACK | STAYS_AWAY), (ErrorCode, ERRORS), (UnsubscribeCode, UNSUBSCRIBES)],
)
def test_codes_are_the_protocols(
    kind: type[CloseCode | ErrorCode | UnsubscribeCode], expected: dict[str, int]
) -> None:
    """Every name has the number that the SDKs know, and no number has two names."""
    found = named(kind)
    assert {name: found.get(name) for name in expected} == expected
    assert len(set(found.values())) == len(found)


def test_closes_are_in_the_range_that_tells_clients_what_to_do() -> None:
    """Closes for good are in 3500-3999, all others in 3000-3499."""
    ends_for_good = {name for name, code in named(CloseCode).items() if 3500 <= code <= 3999}
    comes_back = {name for name, code in named(CloseCode).items() if 3000 <= code <= 3499}
    assert ends_for_good == set(STAYS_AWAY)
    assert ends_for_good | comes_back == set(named(CloseCode))


@pytest.mark.parametrize("kind", [CloseCode, UnsubscribeCode])
def test_reasons_fit_a_close_frame(kind: type[CloseCode | UnsubscribeCode]) -> None:
    """A control frame holds 125 bytes, two of which are the code."""
    reasons = [row.reason for row in vars(codes).values() if isinstance(row, kind)]
    assert reasons
    assert all(0 < len(reason.encode()) <= 123 for reason in reasons)
