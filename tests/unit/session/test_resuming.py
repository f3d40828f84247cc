"""What a client asks for and is told of its session, and how its connection ended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import UNSET, Raw

from realtime_node.protocol.codes import CloseCode
from realtime_node.session.resuming import NEW, Ending, ending_of, state_of, told, wish
from realtime_node.session.subscription import Grant

ID = "AbCdEfGhIjKlMnOpQr-_09"


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        (b'{"session": true}', NEW),
        (b'{"session": ""}', NEW),
        (b'{"session": "new", "a": 1}', NEW),
        (b'{"session": "' + ID.encode() + b'"}', ID),
        (b'{"session": "' + ID.encode() + b'x"}', NEW),
        (b'{"session": "../../other keys  "}', NEW),
        (b'{"session": false}', None),
        (b'{"session": null}', None),
        (b'{"session": {"id": 1}}', None),
        (b"{}", None),
        (b"[]", None),
        (b"7", None),
    ],
)
def test_a_wish_is_read_from_the_data(data: bytes, asked: str | None) -> None:
    """`session` in an object is the wish; what cannot be an id is the wish for a new one."""
    assert wish(Raw(data)) == asked


def test_no_data_is_no_wish() -> None:
    """A connect without data asks for nothing."""
    assert wish(UNSET) is None


@pytest.mark.parametrize(
    ("data", "beside"),
    [
        (None, {}),
        (b'{"a": [1, {"b": 2}]}', {"a": [1, {"b": 2}]}),
        (b'{"session": "theirs"}', {}),
        (b"[1]", {"data": [1]}),
    ],
)
def test_the_reply_tells_of_the_session(data: bytes | None, beside: dict[str, Any]) -> None:
    """It stands beside what else an object has; what is no object is in `data`."""
    reply = told(UNSET if data is None else Raw(data), ID, resumed=True)
    assert json.loads(bytes(reply)) == {"session": ID, "resumed": True, **beside}


@pytest.mark.parametrize(
    ("code", "meant", "ending"),
    [
        (3001, False, Ending.LOST),
        (3499, False, Ending.LOST),
        (3500, False, Ending.FOR_GOOD),
        (3999, True, Ending.FOR_GOOD),
        (4499, False, Ending.LOST),
        (4500, False, Ending.FOR_GOOD),
        (3011, True, Ending.GOODBYE),
    ],
)
def test_a_code_says_how_a_connection_ended(code: int, *, meant: bool, ending: Ending) -> None:
    """Where SDKs do not come back the session ends; what the API asks for is meant."""
    assert ending_of(CloseCode(code, ""), meant=meant) is ending


def test_what_is_kept_fits() -> None:
    """The first grants are kept, and smaller ones behind one that does not fit."""
    grants = {"a": Grant(), "b": Grant(data=b"x" * 100), "c": Grant(server_side=True)}
    state, left_out = state_of("c1", Raw(b"12345"), 7.5, grants.items(), max_bytes=5 + 2 * 25)
    assert (state.client, state.conn_info, state.expires_at) == ("c1", b"12345", 7.5)
    assert state.grants.keys() == {"a", "c"}
    assert left_out == 1
