"""The opening handshake: who is upgraded, and what others are told."""

from __future__ import annotations

import time
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from realtime_node.protocol.deflate import UNCOMPRESSED
from realtime_node.server.handshake import Accepted, Refused, is_allowed_origin, negotiate

RFC = {
    "Host": "server.example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
"""The request of RFC 6455, 1.3."""


def ask(
    changes: dict[str, str | None] | None = None,
    *,
    allowed: tuple[str, ...] = (),
    subprotocols: tuple[str, ...] = ("centrifuge-json",),
    offers: str = "",
    query: str = "",
) -> Accepted | Refused:
    """Negotiate the RFC's request with some headers changed, or removed (None)."""
    headers: CIMultiDict[str] = CIMultiDict(RFC)
    for name, value in (changes or {}).items():
        headers.popall(name, None)
        if value is not None:
            headers[name] = value
    return negotiate(
        headers,
        subprotocols=subprotocols,
        allowed_origins=allowed,
        extension_offers=offers,
        query=query,
    )


def test_answers_the_example_of_the_rfc() -> None:
    """The RFC's key gives the RFC's accept value, in a complete response."""
    answer = ask()
    assert isinstance(answer, Accepted)
    head, _, body = answer.response.partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    assert status == b"HTTP/1.1 101 Switching Protocols"
    assert set(headers) == {
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    }
    assert body == b""


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": "WebSocket", "Connection": "keep-alive, Upgrade"},
        {"Upgrade": "h2c, websocket", "Connection": "upgrade"},
        {"Origin": None},
    ],
)
def test_headers_may_be_written_in_many_ways(changes: dict[str, str | None]) -> None:
    """Case and company of the tokens do not matter."""
    assert isinstance(ask(changes), Accepted)


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"Upgrade": None}, 400, "this is a WebSocket endpoint"),
        ({"Upgrade": "h2c"}, 400, "this is a WebSocket endpoint"),
        ({"Upgrade": "xwebsocket"}, 400, "this is a WebSocket endpoint"),
        ({"Connection": None}, 400, "this is a WebSocket endpoint"),
        ({"Connection": "keep-alive"}, 400, "this is a WebSocket endpoint"),
        ({"Sec-WebSocket-Version": None}, 426, "has to be 13"),
        ({"Sec-WebSocket-Version": "8"}, 426, "has to be 13"),
        ({"Sec-WebSocket-Key": None}, 400, "16 bytes in base64"),
        ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400, "16 bytes in base64"),
        ({"Sec-WebSocket-Key": "no base64 at all!"}, 400, "16 bytes in base64"),
        ({"Sec-WebSocket-Key": "ключ"}, 400, "16 bytes in base64"),
        ({"Origin": "http://evil.example"}, 403, "http://evil.example"),
    ],
)
def test_refusal_says_what_is_wrong(
    changes: dict[str, str | None], status: int, reason: str
) -> None:
    """Whoever cannot be upgraded gets the status and a reason that a person can act on."""
    answer = ask(changes)
    assert isinstance(answer, Refused)
    assert answer.status == HTTPStatus(status)
    assert reason in answer.reason


@given(st.dictionaries(st.sampled_from([*RFC, "Origin", "Sec-WebSocket-Protocol"]), st.text()))
def test_any_headers_are_accepted_or_refused(changes: dict[str, str]) -> None:
    """No header makes the handshake fail in any other way, and every answer can be sent."""
    answer = ask(dict(changes))
    if isinstance(answer, Refused):
        assert answer.reason.encode()
    else:
        assert answer.response.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "\udcff", "null", ""])
def test_broken_origin_is_refused(origin: str) -> None:
    """An origin that is no URL is not ours, and its refusal can be sent."""
    answer = ask({"Origin": origin}, allowed=("https://example.com",))
    assert isinstance(answer, Refused)
    assert answer.status == HTTPStatus.FORBIDDEN
    assert answer.reason.encode()


# --- origins ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "allowed", "expected"),
    [
        ("http://node.example:8000", (), True),
        ("https://NODE.example:8000", (), True),
        ("http://node.example", (), False),
        ("http://node.example:8000.evil.example", (), False),
        ("https://example.com", ("https://example.com",), True),
        ("https://EXAMPLE.com", ("https://example.COM",), True),
        ("http://example.com", ("https://example.com",), False),
        ("https://example.com.evil.example", ("https://example.com",), False),
        ("https://a.example.com", ("https://*.example.com",), True),
        ("https://a.b.example.com", ("https://*.example.com",), True),
        ("https://example.com", ("https://*.example.com",), False),
        ("https://evil.example/.example.com", ("https://example.com",), False),
        ("https://example.com:3000", ("https://example.com:*",), True),
        ("http://[::1]:3000", ("http://[::1]:3000",), True),
        ("http://[::1]:3000", ("http://[::1]:*",), True),
        ("http://examplescom", ("http://example.com",), False),
        ("https://b.example", ("https://a.example", "https://b.example"), True),
        ("null", ("*",), True),
        ("null", ("https://example.com",), False),
        ("https://anything.example", ("*",), True),
    ],
)
def test_origin_is_ours_or_allowed(origin: str, allowed: tuple[str, ...], expected: bool) -> None:
    """Pages of this very host may connect, and those of allowed origins; `*` is any part."""
    assert is_allowed_origin(origin, "node.example:8000", allowed) is expected


@pytest.mark.parametrize(
    ("origin", "pattern", "expected"),
    [
        ("https://a.example.com", "*://a.*.com", True),
        ("https://a.example.com", "https://*.*.com", True),
        ("https://example.com", "https://*.*.com", False),
        ("https://a.b", "https://a*a.b", False),
        ("https://aa.b", "https://a*a.b", True),
        ("https://a.b", "*", True),
        ("https://a.b", "**", True),
        ("https://a.b.c", "*.b.*b*", False),
    ],
)
def test_a_pattern_may_have_many_wildcards(origin: str, pattern: str, expected: bool) -> None:
    """Each stands for any characters, none as well, and no character counts twice."""
    assert is_allowed_origin(origin, "node", (pattern,)) is expected


def test_a_long_origin_is_compared_in_no_time() -> None:
    """Patterns with several wildcards cost about as much as those with one."""
    began_at = time.thread_time()
    assert not is_allowed_origin("http" + "://." * 4_000, "node", ("http*://*.*.example.com",))
    assert time.thread_time() - began_at < 0.1


def test_missing_host_allows_nothing() -> None:
    """Without a Host header an origin without a host is not taken for ours."""
    assert not is_allowed_origin("null", "", ())
    assert not is_allowed_origin("", "", ())


# --- subprotocols -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "chosen", "confirmed"),
    [
        (None, "new", False),
        ("other", "new", False),
        ("old", "old", True),
        ("old, new", "new", True),
        ("other,  new ", "new", True),
    ],
)
def test_subprotocol_is_the_preferred_one_of_those_offered(
    offered: str | None, chosen: str, confirmed: bool
) -> None:
    """The server's order decides; what was not offered is used but not confirmed."""
    answer = ask({"Sec-WebSocket-Protocol": offered}, subprotocols=("new", "old"))
    assert isinstance(answer, Accepted)
    assert answer.subprotocol == chosen
    header = f"\r\nSec-WebSocket-Protocol: {chosen}\r\n".encode()
    assert (header in answer.response) is confirmed
    assert (b"Sec-WebSocket-Protocol" in answer.response) is confirmed


@pytest.mark.parametrize(
    ("offered", "query"),
    [
        ("centrifuge-protobuf", ""),
        ("other, centrifuge-protobuf", ""),
        (None, "format=protobuf"),
        (None, "a=b&cf_protocol=protobuf&c=d"),
    ],
)
def test_protobuf_is_refused_with_what_to_do(offered: str | None, query: str) -> None:
    """A client that speaks Protobuf alone learns so from the handshake, not from a close code."""
    answer = ask({"Sec-WebSocket-Protocol": offered}, query=query)
    assert isinstance(answer, Refused)
    assert answer.status == HTTPStatus.BAD_REQUEST
    assert "use an SDK that speaks JSON" in answer.reason


@pytest.mark.parametrize(
    ("offered", "query"),
    [
        ("centrifuge-protobuf, centrifuge-json", "format=protobuf"),
        (None, "format=json&cf_protocol=json"),
        (None, "platform=protobuf&format=protobufs"),
    ],
)
def test_who_also_speaks_json_is_upgraded(offered: str | None, query: str) -> None:
    """An offer of JSON wins over whatever else is offered."""
    assert isinstance(ask({"Sec-WebSocket-Protocol": offered}, query=query), Accepted)


# --- extensions -------------------------------------------------------------------------------


def test_compression_is_answered() -> None:
    """An offer that can be honoured has its answer in the response."""
    answer = ask(offers="x-other, permessage-deflate; server_max_window_bits=10")
    assert isinstance(answer, Accepted)
    assert answer.wire == 10
    assert (
        b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover;"
        b" client_no_context_takeover; server_max_window_bits=10\r\n"
    ) in answer.response
    assert answer.response.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "offers",
    ["", "permessage-deflate; mood=good", "permessage-deflate," * 1_000 + "x;;"],
    ids=["none", "unknown", "too long"],
)
def test_without_an_agreement_there_is_no_extension(offers: str) -> None:
    """The client is upgraded all the same."""
    answer = ask(offers=offers)
    assert isinstance(answer, Accepted)
    assert answer.wire == UNCOMPRESSED
    assert b"Extensions" not in answer.response


def test_malformed_extensions_are_refused() -> None:
    """RFC 6455, 9.1: what is not a list of extensions fails the connection."""
    answer = ask(offers="permessage-deflate;;")
    assert answer == Refused(HTTPStatus.BAD_REQUEST, "Sec-WebSocket-Extensions is malformed")
