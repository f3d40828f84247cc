"""The JSON codec: what is refused, what is left out, and what survives a round trip."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from realtime_node.errors import Disconnect
from realtime_node.protocol.json_codec import JsonCodec, clean_json
from realtime_node.protocol.messages import (
    ClientInfo,
    ConnectResult,
    EmptyResult,
    ErrorBody,
    HistoryResult,
    JoinLeave,
    PresenceResult,
    PresenceStatsResult,
    Publication,
    Push,
    RefreshResult,
    Reply,
    SubRefreshResult,
    SubscribePush,
    SubscribeResult,
    UnsubscribePush,
)

CODEC = JsonCodec()

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def as_json(message: Reply | Push) -> Any:
    """What a client reads."""
    if isinstance(message, Reply):
        return json.loads(CODEC.encode_reply(message))
    return json.loads(CODEC.encode_push(message))["push"]


def code_for(payload: bytes) -> int:
    """The close code that a payload earns, 0 if it is accepted."""
    try:
        CODEC.decode_commands(payload)
    except Disconnect as disconnect:
        return disconnect.code
    return 0


# --- commands ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\n \n",
        b"garbage",
        b"[]",
        b"1",
        b"null",
        b'"connect"',
        b"{",
        b'{"id":1,}',
        b'{"id":1}}',
        b'{"id":1}{"id":2}',
        b'{"id":"1"}',
        b'{"id":1.5}',
        b'{"id":-1}',
        b'{"id":4294967296}',
        b'{"id":1e400}',
        b'{"id":' + b"9" * 5000 + b"}",
        b'{"id":1,"connect":[]}',
        b'{"id":1,"connect":"yes"}',
        b'{"id":1,"subscribe":{"channel":7}}',
        b'{"id":1,"subscribe":{"channel":"a","recover":1}}',
        b'{"id":1,"subscribe":{"channel":"a","offset":-1}}',
        b'{"id":1,"subscribe":{"channel":"a","offset":9223372036854775808}}',
        b'{"id":1,"history":{"channel":"a","limit":2147483648}}',
        b'{"id":1,"history":{"channel":"a","limit":' + b"9" * 40 + b"}}",
        b'{"id":1,"connect":{"subs":{"a":1}}}',
        b'{"id":1,"publish":{"channel":"a","data":}}',
        b'{"id":1,"publish":{"channel":"a","data":[1,]}}',
        b'{"id":1,"publish":{"channel":"a","data":01}}',
        b'{"id":1,"publish":{"channel":"a","data":nan}}',
        b'{"id":1,"publish":{"channel":"a","data":"\t"}}',
        b'{"id":1,"publish":{"channel":"a","data":"\xff"}}',
        b'{"id":1,"publish":{"channel":"a","data":"\xed\xa0\x80"}}',
        b'{"id":1,"publish":{"channel":"a","data":{"a":\n1}}}',
        b'{"id":1,"publish":{"channel":"a","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"id":1,"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"id":1,"ping":{}}\ngarbage',
        b"\xef\xbb\xbf{}",
        b"\x00",
    ],
    ids=lambda payload: repr(payload if len(payload) < 90 else payload[:25] + payload[-5:]),
)
def test_malformed_frame_is_a_bad_request(payload: bytes) -> None:
    """Whatever is not a series of commands closes the connection with 3501."""
    assert code_for(payload) == 3501


@given(st.binary(max_size=200))
def test_any_bytes_are_commands_or_a_bad_request(payload: bytes) -> None:
    """No bytes raise anything but a close with 3501."""
    assert code_for(payload) in {0, 3501}


@given(json_values)
def test_any_json_is_a_command_or_a_bad_request(value: object) -> None:
    """No JSON, however wrongly typed, raises anything but a close with 3501."""
    assert code_for(json.dumps({"id": 1, "publish": value}).encode()) in {0, 3501}
    assert code_for(json.dumps({"id": 1, "connect": {"subs": {"a": value}}}).encode()) in {0, 3501}
    assert code_for(json.dumps(value).encode()) in {0, 3501}


@given(st.integers(min_value=0))
def test_truncated_frame_is_a_bad_request(cut: int) -> None:
    """A frame that was cut off anywhere is refused as a whole."""
    whole = b'{"id":1,"subscribe":{"channel":"a","offset":12,"data":{"a":[1,"b"]}}}'
    assert code_for(whole[: cut % len(whole)]) == 3501


def test_reads_the_lines_of_a_frame_in_order() -> None:
    """Several commands come in one frame, a line each; blank lines do not count."""
    commands = CODEC.decode_commands(b'\n{"id":1,"connect":{}}\r\n\n {"id":2,"ping":{}} \n{}\n')
    assert [command.id for command in commands] == [1, 2, 0]
    assert commands[0].connect is not None
    assert commands[1].ping is not None


def test_unknown_fields_are_skipped() -> None:
    """A newer SDK may send fields that this node does not know."""
    (command,) = CODEC.decode_commands(b'{"id":1,"new":{"a":[]},"subscribe":{"channel":"a","x":1}}')
    assert command.subscribe is not None
    assert command.subscribe.channel == "a"


@given(json_values)
def test_published_data_is_never_looked_into(data: object) -> None:
    """The bytes of a client's `data` arrive as they were sent."""
    sent = msgspec.json.encode(data)
    (command,) = CODEC.decode_commands(b'{"id":1,"publish":{"channel":"a","data": ' + sent + b" }}")
    assert command.publish is not None
    assert isinstance(command.publish.data, Raw)
    assert bytes(command.publish.data) == sent


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (rb'"\ud83d"', rb'"\ufffd"'),
        (rb'"\ude00\ud83d"', rb'"\ufffd\ufffd"'),
        (rb'"\uD83D\ud83d\ude00"', rb'"\ufffd\ud83d\ude00"'),
        (rb'"\ud83d\ude00"', rb'"\ud83d\ude00"'),
        (rb'"\\ud83d"', rb'"\\ud83d"'),
        (rb'"\\\ud83d"', rb'"\\\ufffd"'),
    ],
)
def test_half_a_character_is_replaced(sent: bytes, kept: bytes) -> None:
    """A text cut within an emoji is delivered with U+FFFD; whole characters stay."""
    (command,) = CODEC.decode_commands(b'{"id":1,"publish":{"channel":"a","data":' + sent + b"}}")
    assert command.publish is not None
    assert isinstance(command.publish.data, Raw)
    assert bytes(command.publish.data) == kept == clean_json(sent)


@given(st.text(st.characters(categories=["Cs", "L"]), max_size=8))
def test_texts_of_javascript_are_accepted(text: str) -> None:
    """Whatever JSON.stringify makes of a text, its author stays connected."""
    assert code_for(json.dumps({"id": 1, "send": {"data": text}}).encode()) == 0


# --- replies and pushes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "wire"),
    [
        (Reply(id=1, ping=EmptyResult()), {"id": 1, "ping": {}}),
        (
            Reply(id=2, error=ErrorBody(code=103, message="permission denied")),
            {"id": 2, "error": {"code": 103, "message": "permission denied"}},
        ),
        (
            Reply(id=2, error=ErrorBody(code=100, message="internal", temporary=True)),
            {"id": 2, "error": {"code": 100, "message": "internal", "temporary": True}},
        ),
        (
            Reply(id=3, connect=ConnectResult(client="c", version="v", ping=25, pong=True)),
            {"id": 3, "connect": {"client": "c", "version": "v", "ping": 25, "pong": True}},
        ),
        (Reply(id=4, subscribe=SubscribeResult()), {"id": 4, "subscribe": {}}),
        (
            Reply(id=4, subscribe=SubscribeResult(recoverable=True, epoch="e", positioned=True)),
            {"id": 4, "subscribe": {"recoverable": True, "epoch": "e", "positioned": True}},
        ),
        (
            Reply(id=5, history=HistoryResult()),
            {"id": 5, "history": {"publications": [], "epoch": "", "offset": 0}},
        ),
        (Reply(id=6, presence=PresenceResult()), {"id": 6, "presence": {"presence": {}}}),
        (
            Reply(id=6, presence=PresenceResult(presence={"c": ClientInfo(client="c")})),
            {"id": 6, "presence": {"presence": {"c": {"user": "", "client": "c"}}}},
        ),
        (
            Reply(id=7, presence_stats=PresenceStatsResult()),
            {"id": 7, "presence_stats": {"num_clients": 0, "num_users": 0}},
        ),
        (Reply(id=8, refresh=RefreshResult()), {"id": 8, "refresh": {}}),
        (
            Reply(id=9, sub_refresh=SubRefreshResult(expires=True, ttl=5)),
            {"id": 9, "sub_refresh": {"expires": True, "ttl": 5}},
        ),
    ],
)
def test_reply_leaves_out_zero_values(reply: Reply, wire: object) -> None:
    """Zero values are left out, except those that readers of presence and history expect."""
    assert as_json(reply) == wire


@pytest.mark.parametrize(
    ("push", "wire"),
    [
        (
            Push(channel="a", pub=Publication(data=Raw(b"1"))),
            {"channel": "a", "pub": {"data": 1}},
        ),
        (
            Push(
                channel="a",
                pub=Publication(data=Raw(b"{}"), offset=3, tags={"k": "v"}, info=ClientInfo()),
            ),
            {
                "channel": "a",
                "pub": {
                    "data": {},
                    "offset": 3,
                    "tags": {"k": "v"},
                    "info": {"user": "", "client": ""},
                },
            },
        ),
        (
            Push(channel="a", join=JoinLeave(info=ClientInfo(client="c", conn_info=Raw(b"[]")))),
            {"channel": "a", "join": {"info": {"user": "", "client": "c", "conn_info": []}}},
        ),
        (
            Push(channel="a", unsubscribe=UnsubscribePush(code=2500, reason="insufficient state")),
            {"channel": "a", "unsubscribe": {"code": 2500, "reason": "insufficient state"}},
        ),
        (Push(channel="a", subscribe=SubscribePush()), {"channel": "a", "subscribe": {}}),
    ],
)
def test_push_leaves_out_zero_values(push: Push, wire: object) -> None:
    """Zero values are left out; who a client is stands complete."""
    assert as_json(push) == wire


def test_ping_is_the_empty_message() -> None:
    """The server's ping is `{}`, as every SDK expects."""
    assert json.loads(CODEC.server_ping) == {}


@given(st.lists(json_values, min_size=1, max_size=5))
def test_joined_messages_are_read_line_by_line(values: list[object]) -> None:
    """Any pushes joined to one payload come out of it one per line, unchanged."""
    pushes = [
        CODEC.encode_push(Push(channel="a\nb", pub=Publication(data=Raw(data))))
        for data in map(msgspec.json.encode, values)
    ]
    lines = CODEC.join(pushes).split(b"\n")
    assert [json.loads(line)["push"]["pub"]["data"] for line in lines] == values


# --- data that comes through the HTTP API -----------------------------------------------------


@given(json_values, st.sampled_from([None, 1, "\t"]))
@example({"a": "\r\n\u2028"}, 2)
def test_cleaned_json_is_one_line_of_the_same_value(
    value: object, indent: str | int | None
) -> None:
    """JSON of any layout becomes one line that means the same."""
    for newline in ("\n", "\r\n", "\r"):
        text = json.dumps(value, indent=indent, ensure_ascii=False).replace("\n", newline)
        cleaned = clean_json(text.encode())
        assert b"\n" not in cleaned
        assert b"\r" not in cleaned
        assert json.loads(cleaned) == value


@given(json_values)
def test_one_line_of_json_is_kept_as_it_is(value: object) -> None:
    """JSON without line breaks is not touched."""
    data = json.dumps(value).encode()
    assert clean_json(data) == data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (b"{,}", "malformed"),
        (b"1 2", "trailing"),
        (b'"\xff"', "utf-8"),
        (b'"\xed\xa0\x80"', "utf-8"),
        (b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"[\n" * 5000 + b"]" * 5000, "nested too deeply"),
        (b'"\n"', "invalid character"),
    ],
    ids=lambda case: repr(case[:20]) if isinstance(case, bytes) else case,
)
def test_what_is_not_json_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    """Broken, not UTF-8 and endlessly nested data raise a ValueError that says so."""
    with pytest.raises(ValueError, match=reason):
        clean_json(data)


@given(st.binary(max_size=50))
def test_any_bytes_are_cleaned_or_refused(data: bytes) -> None:
    """No bytes raise anything but ValueError, and what passes is JSON for every reader."""
    try:
        cleaned = clean_json(data)
    except ValueError:
        return
    json.loads(cleaned.decode())
