"""Keys of questions: the same for the same credentials, another for any others, none for none."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from realtime_node.proxy.credentials import key_of
from realtime_node.proxy.messages import ConnectRequest, SubscribeRequest

COOKIE = (("cookie", "sid=1"),)


def _connect(**fields: Any) -> ConnectRequest:
    return ConnectRequest(**{"client": "c1", "name": "js", **fields})


def test_a_client_that_comes_back_has_the_same_key() -> None:
    """Its id, the order of its headers and ids of single requests do not matter."""
    key = key_of("p", _connect(), (*COOKIE, ("user-agent", "x"), ("x-request-id", "1")))
    again = key_of(
        "p", _connect(client="c2"), (("x-request-id", "2"), ("user-agent", "x"), *COOKIE)
    )
    assert key == again
    assert key is not None
    assert len(key) == 32


@pytest.mark.parametrize(
    ("proxy", "request_", "headers"),
    [
        ("other", _connect(), COOKIE),
        ("p", _connect(name="go"), COOKIE),
        ("p", _connect(data=Raw(b"1")), COOKIE),
        ("p", _connect(channels=("a",)), COOKIE),
        ("p", _connect(), (("cookie", "sid=2"),)),
        ("p", _connect(), (*COOKIE, ("cookie", "sid=1"))),
        ("p", _connect(), (("cooki", "esid=1"),)),
        ("p", _connect(), (*COOKIE, ("x-real-ip", "10.0.0.1"))),
    ],
)
def test_any_other_question_has_another_key(
    proxy: str, request_: ConnectRequest, headers: tuple[tuple[str, str], ...]
) -> None:
    """Whatever the backend is told makes a difference."""
    assert key_of(proxy, request_, headers) != key_of("p", _connect(), COOKIE)


@pytest.mark.parametrize(
    "headers", [(), (("user-agent", "x"), ("x-real-ip", "10.0.0.1")), (("cookie", ""),)]
)
def test_without_credentials_there_is_no_key(headers: tuple[tuple[str, str], ...]) -> None:
    """Where a client is and what program it runs do not say who it is."""
    assert key_of("p", _connect(), headers) is None
    assert key_of("p", _connect(data=Raw(b'{"ticket": 1}')), headers) is not None


def test_subscribing_needs_a_user_or_credentials() -> None:
    """User and channel are enough; an anonymous user is not one."""

    def subscribe(user: str, channel: str = "a") -> bytes | None:
        request = SubscribeRequest(client="c", user=user, channel=channel)
        return key_of("p", request, ())

    assert subscribe("ann") is not None
    assert len({subscribe("ann"), subscribe("bob"), subscribe("ann", "b")}) == 3
    assert subscribe("") is None
