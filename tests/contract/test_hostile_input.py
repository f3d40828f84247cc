"""Whatever is sent to a node, it answers with what is documented and goes on serving the others.

A real node gets, in a whole run, more than ten thousand inputs that no SDK sends: bytes that are no
HTTP, frames against the rules of WebSocket, text that is no JSON, commands that are cut off, too
large, nested too deeply, of wrong types or out of order, and the like for the HTTP API. Each has to
end in an error reply or a close code of the protocol. After each kind of input a fresh client is
served, a client that was there all along is still there, and the node's memory is what it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime_node.protocol import codes
from tests.support.node_process import COMMAND, NodeProcess
from tests.support.raw_websocket import (
    BINARY,
    CLOSE,
    HANDSHAKE,
    PING,
    TEXT,
    Outcome,
    RawWebSocket,
    frame,
)
from tests.support.selection import examples
from tests.support.tokens import SECRET, token

if TYPE_CHECKING:
    from collections.abc import Iterator

API_KEY: Final = "hostile"
LIMIT_BYTES: Final = 65_536
_HUGE_BODY_BYTES: Final = 64 << 20
MEMORY_RATIO: Final = 1.10
"""What the node's resident memory may grow by over one kind of input, once it is warm."""

_BAD_REQUEST: Final = codes.BAD_REQUEST.code
_PROTOCOL_ERROR, _UNSUPPORTED, _NOT_UTF8, _TOO_BIG = 1002, 1003, 1007, 1009
_FRAMING_CODES: Final = {_PROTOCOL_ERROR, _UNSUPPORTED, _NOT_UTF8, _TOO_BIG, _BAD_REQUEST}
_ERRORS: Final = {
    row.code
    for row in vars(codes).values()
    if isinstance(row, codes.ErrorCode) and row != codes.INTERNAL
}
_CLOSES: Final = {
    row.code
    for row in vars(codes).values()
    if isinstance(row, codes.CloseCode) and row != codes.INTERNAL_SERVER_ERROR
}

_CONNECT: Final = b'{"id":1,"connect":{}}'
_BYSTANDER: Final = "bystander"
_LAST_ID: Final = 4_000_000_000
_LAST: Final = b'{"id":4000000000,"rpc":{"method":"last"}}'

_SETTINGS: Final[dict[str, Any]] = {
    "http_api": {"key": API_KEY},
    "client": {"insecure": True, "token": {"hmac_secret_key": SECRET}},
    "websocket": {"message_size_limit": LIMIT_BYTES},
    "log": {"level": "error"},
    "channel": {
        "namespaces": [
            {
                "name": "hostile",
                "history_size": 10,
                "history_ttl": "60s",
                "force_recovery": True,
                "presence": True,
                "join_leave": True,
            }
        ]
    },
}


def hostile(usual: int) -> settings:
    """Return the settings of a test that sends so many inputs; the same ones in every run."""
    return settings(
        max_examples=examples(usual),
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that is warm: it has had some of everything."""
    process = NodeProcess(_SETTINGS, tmp_path_factory.mktemp("hostile"), command=COMMAND)
    asyncio.run(process.start())
    try:
        for n in range(300):
            _after_connect(process, b'{"id":2,"subscribe":{"channel":"hostile:%d"}}' % (n % 10))
            _after_connect(process, b"garbage" * (n + 1))
            _api(process, "publish", b'{"channel":"hostile:x","data":"%s"}' % (b"x" * n * 50))
        _api(process, "publish", b" " * _HUGE_BODY_BYTES)
        yield process
    finally:
        asyncio.run(process.stop())


@pytest.fixture
def unharmed(node: NodeProcess) -> Iterator[None]:
    """Check what has to be true after a test whatever it sent."""
    before = node.resident_bytes()
    with RawWebSocket(node.port) as bystander:
        # A user of its own: whoever is anonymous may be unsubscribed by the inputs.
        connect = {"connect": {"token": token(sub="bystander")}}
        bystander.send_text(_encode(1, connect), _encode(2, {"subscribe": {"channel": _BYSTANDER}}))
        assert "subscribe" in bystander.outcome(until_id=2).messages[-1]
        yield
        assert node.is_running, node.log()
        assert asyncio.run(node.is_ready())
        fresh = _after_connect(node, _encode(2, {"publish": {"channel": _BYSTANDER, "data": 7}}))
        assert {"id": 2, "publish": {}} in fresh.messages
        heard = bystander.outcome(until_push=_BYSTANDER)
        assert heard.messages[-1]["push"]["pub"]["data"] == 7
    after = node.resident_bytes()
    assert after < before * MEMORY_RATIO, f"from {before >> 20} to {after >> 20} MiB"


def _after_connect(node: NodeProcess, *frames: bytes) -> Outcome:
    """Connect, send each of `frames` as a text frame, and read what comes until all is answered."""
    with RawWebSocket(node.port) as client:
        client.send(b"".join(frame(text) for text in (_CONNECT, *frames, _LAST)))
        return client.outcome(until_id=_LAST_ID)


def _api(
    node: NodeProcess, method: str, body: bytes, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Call the HTTP API and return the status and the decoded answer."""
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
    with contextlib.closing(connection):
        connection.request(
            "POST", f"/api/{method}", body, {"X-API-Key": API_KEY, **(headers or {})}
        )
        response = connection.getresponse()
        answer = response.read()
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, json.loads(answer) if is_json else answer


def _assert_documented(outcome: Outcome) -> None:
    """Assert that every reply is a result or an error of the protocol, and the end has its code."""
    for message in outcome.messages:
        if "error" in message:
            assert message["error"]["code"] in _ERRORS, message
    if outcome.ended:
        assert outcome.close_code in _CLOSES, outcome


# --- Values ------------------------------------------------------------------------------------

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)
_CHANNELS = st.sampled_from(["hostile:a", "hostile:b", "nowhere:a", "plain", "$private", ""])
_POSITIONS = st.fixed_dictionaries(
    {"offset": st.integers(0, 20), "epoch": st.sampled_from(["", "wrong"])}
)
_REQUESTS: Final[dict[str, st.SearchStrategy[dict[str, Any]]]] = {
    "connect": st.just({}),
    "subscribe": st.fixed_dictionaries(
        {"channel": _CHANNELS},
        optional={
            "recover": st.booleans(),
            "epoch": st.sampled_from(["", "wrong"]),
            "offset": st.integers(0, 20),
            "token": st.sampled_from(["", "not.a.token"]),
        },
    ),
    "unsubscribe": st.fixed_dictionaries({"channel": _CHANNELS}),
    "publish": st.fixed_dictionaries({"channel": _CHANNELS}, optional={"data": _JSON}),
    "history": st.fixed_dictionaries(
        {"channel": _CHANNELS},
        optional={
            "limit": st.integers(-5, 2**31 - 1),
            "since": _POSITIONS,
            "reverse": st.booleans(),
        },
    ),
    "presence": st.fixed_dictionaries({"channel": _CHANNELS}),
    "presence_stats": st.fixed_dictionaries({"channel": _CHANNELS}),
    "ping": st.just({}),
    "rpc": st.fixed_dictionaries({}, optional={"method": st.text(max_size=5), "data": _JSON}),
    "refresh": st.fixed_dictionaries({"token": st.sampled_from(["", "not.a.token"])}),
    "sub_refresh": st.fixed_dictionaries(
        {"channel": _CHANNELS, "token": st.sampled_from(["", "not.a.token"])}
    ),
}
_METHODS = st.sampled_from(sorted(_REQUESTS))
_NOT_CONNECT = st.sampled_from(sorted(_REQUESTS.keys() - {"connect"}))


@st.composite
def _commands(draw: st.DrawFn, methods: st.SearchStrategy[str] = _METHODS) -> dict[str, Any]:
    method = draw(methods)
    return {method: draw(_REQUESTS[method])}


def _encode(number: int, command: dict[str, Any]) -> bytes:
    return json.dumps({"id": number, **command}).encode()


# The type of a field that a value is not of; null is left out, as it may stand for nothing.
_NOT_TEXT: st.SearchStrategy[Any] = st.booleans() | st.integers() | st.lists(_SCALARS) | st.just({})
_NOT_A_FLAG: st.SearchStrategy[Any] = st.text() | st.integers() | st.lists(_SCALARS) | st.just({})
_NOT_A_COUNT: st.SearchStrategy[Any] = (
    st.text() | st.booleans() | st.lists(_SCALARS) | st.just({}) | st.just(1.5)
)
_NOT_AN_OFFSET = _NOT_A_COUNT | st.integers(max_value=-1) | st.integers(min_value=2**64)
_NOT_AN_OBJECT = st.text() | st.booleans() | st.integers() | st.lists(_SCALARS)

_WRONG: Final = st.one_of(
    *(
        st.builds(
            lambda value, method=method, field=field: {method: {"channel": "a", field: value}},
            wrong,
        )
        for method, field, wrong in (
            ("subscribe", "channel", _NOT_TEXT),
            ("subscribe", "token", _NOT_TEXT),
            ("subscribe", "recover", _NOT_A_FLAG),
            ("subscribe", "offset", _NOT_AN_OFFSET),
            ("subscribe", "epoch", _NOT_TEXT),
            ("unsubscribe", "channel", _NOT_TEXT),
            ("publish", "channel", _NOT_TEXT),
            ("history", "channel", _NOT_TEXT),
            ("history", "limit", _NOT_A_COUNT),
            ("history", "since", _NOT_AN_OBJECT),
            ("history", "reverse", _NOT_A_FLAG),
            ("presence", "channel", _NOT_TEXT),
            ("rpc", "method", _NOT_TEXT),
            ("refresh", "token", _NOT_TEXT),
        )
    ),
    st.builds(lambda method, value: {method: value}, _METHODS, _NOT_AN_OBJECT),
)


# --- The client protocol -----------------------------------------------------------------------


@pytest.mark.usefixtures("unharmed")
class TestTextFrames:
    """Messages that arrive as they should and are not what they should be."""

    @given(text=st.text(max_size=200).filter(lambda text: text.strip("\n\r\t {}")))
    @hostile(1500)
    def test_text_that_is_no_command_is_a_bad_request(self, node: NodeProcess, text: str) -> None:
        """Arbitrary text closes the connection with 3501."""
        outcome = _after_connect(node, text.encode())
        assert outcome.close_code == _BAD_REQUEST, outcome

    @given(value=_JSON.filter(lambda value: value != {}))
    @hostile(1000)
    def test_json_that_is_no_command_is_a_bad_request(self, node: NodeProcess, value: Any) -> None:
        """So does JSON of any other shape."""
        outcome = _after_connect(node, json.dumps(value).encode())
        assert outcome.close_code == _BAD_REQUEST, outcome

    @given(command=_commands(), cut=st.floats(0, 1, exclude_max=True))
    @hostile(1500)
    def test_a_truncated_command_is_a_bad_request(
        self, node: NodeProcess, command: dict[str, Any], cut: float
    ) -> None:
        """And a command that is cut off anywhere."""
        whole = _encode(2, command)
        outcome = _after_connect(node, whole[: int(len(whole) * cut)])
        assert outcome.close_code == _BAD_REQUEST, outcome

    @given(command=_WRONG)
    @hostile(1500)
    def test_a_value_of_the_wrong_type_is_a_bad_request(
        self, node: NodeProcess, command: dict[str, Any]
    ) -> None:
        """And a command with a field of another type than the protocol's."""
        outcome = _after_connect(node, _encode(2, command))
        assert outcome.close_code == _BAD_REQUEST, outcome

    @given(
        bad=st.binary(min_size=1, max_size=50).filter(lambda data: not _is_utf8(data)),
        binary=st.booleans(),
    )
    @hostile(500)
    def test_bytes_that_are_no_text_close_the_connection(
        self, node: NodeProcess, bad: bytes, *, binary: bool
    ) -> None:
        """What is not UTF-8 never gets to a subscriber."""
        command = b'{"id":2,"publish":{"channel":"bystander","data":"' + bad + b'"}}'
        with RawWebSocket(node.port) as client:
            client.send(frame(_CONNECT) + frame(command, BINARY if binary else TEXT))
            client.send_text(_LAST)
            assert client.outcome(until_id=_LAST_ID).close_code in {_BAD_REQUEST, _NOT_UTF8}

    @pytest.mark.parametrize("brackets", [b"[]", b'{"a":}'], ids=["lists", "objects"])
    @pytest.mark.parametrize("depth", [10, 100, 1_000, 5_000, 10_000])
    @pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
    def test_deep_nesting_is_answered(
        self, node: NodeProcess, brackets: bytes, depth: int, *, closed: bool
    ) -> None:
        """Nesting never exhausts a stack: a command is answered, or is a bad request."""
        opening, closing = brackets[:-1], brackets[-1:]
        value = opening * depth + b"0" + closing * (depth if closed else 0)
        for command in (b'{"id":2,"rpc":{"data":%s}}', b'{"id":2,"publish":%s}', b"%s"):
            outcome = _after_connect(node, command % value)
            _assert_documented(outcome)
            assert closed or outcome.close_code == _BAD_REQUEST

    @pytest.mark.parametrize("size", [LIMIT_BYTES + 1, 1 << 20, 16 << 20])
    @pytest.mark.parametrize("fragmented", [True, False], ids=["in fragments", "in one frame"])
    def test_a_huge_message_closes_the_connection(
        self, node: NodeProcess, size: int, *, fragmented: bool
    ) -> None:
        """Beyond `websocket.message_size_limit`, in however many frames, the code is 1009."""
        for _ in range(5):
            with RawWebSocket(node.port) as client:
                client.send_text(_CONNECT)
                client.outcome(until_id=1)
                if fragmented:
                    part = b" " * (LIMIT_BYTES // 4)
                    client.send(frame(part, TEXT, fin=False))
                    for _ in range(size // len(part)):
                        client.send(frame(part, 0, fin=False))
                else:
                    client.send(frame(b" " * size))
                assert client.outcome().close_code == _TOO_BIG

    def test_the_largest_message_is_served(self, node: NodeProcess) -> None:
        """A message of exactly the limit is none too many."""
        shell = b'{"id":2,"rpc":{"data":"%s"}}'
        outcome = _after_connect(node, shell % (b"x" * (LIMIT_BYTES - len(shell) + 2)))
        assert outcome.messages[1] == {"id": 2, "error": {"code": 108, "message": "not available"}}


@pytest.mark.usefixtures("unharmed")
class TestOrder:
    """Good commands at the wrong time."""

    @given(commands=st.lists(_commands(_NOT_CONNECT), min_size=1, max_size=12))
    @hostile(500)
    def test_every_command_is_answered_in_order(
        self, node: NodeProcess, commands: list[dict[str, Any]]
    ) -> None:
        """In whatever order, each is answered under its id, until one closes the connection."""
        numbers = range(2, len(commands) + 2)
        outcome = _after_connect(node, *map(_encode, numbers, commands))
        _assert_documented(outcome)
        replies = [message["id"] for message in outcome.messages if "id" in message]
        expected = [1, *numbers, _LAST_ID]
        assert replies == expected[: len(replies)]
        assert outcome.ended or replies == expected

    @given(commands=st.lists(_commands(_NOT_CONNECT), min_size=1, max_size=4))
    @hostile(500)
    def test_nothing_comes_before_connect(
        self, node: NodeProcess, commands: list[dict[str, Any]]
    ) -> None:
        """A client that does not begin with connect is closed with 3501 and told nothing."""
        with RawWebSocket(node.port) as client:
            client.send_text(*map(_encode, range(1, 6), commands))
            assert client.outcome() == ([], _BAD_REQUEST, True)

    @given(
        before=st.lists(_commands(st.sampled_from(["ping", "presence", "rpc"])), max_size=3),
        second=st.sampled_from([b'{"id":9,"connect":{}}', b"{}", b"", b'{"id":9}']),
    )
    @hostile(300)
    def test_what_may_come_once_comes_once(
        self, node: NodeProcess, before: list[dict[str, Any]], second: bytes
    ) -> None:
        """A second connect, a pong that was not asked for, nothing at all: 3501."""
        with_channel = [c for c in before if c.get("presence", {}).get("channel") != ""]
        outcome = _after_connect(node, *map(_encode, range(2, 6), with_channel), second)
        assert outcome.close_code == _BAD_REQUEST, outcome


# --- WebSocket and HTTP ------------------------------------------------------------------------


@pytest.mark.usefixtures("unharmed")
class TestFrames:
    """Frames that WebSocket forbids, and bytes that are none."""

    @given(data=st.binary(min_size=1, max_size=300))
    @hostile(1000)
    def test_random_bytes_after_the_upgrade_end_the_connection(
        self, node: NodeProcess, data: bytes
    ) -> None:
        """Bytes that are no frames, or an unfinished one, end with a code or with the bytes."""
        with RawWebSocket(node.port) as client:
            client.send_text(_CONNECT)
            client.outcome(until_id=1)
            client.send(data)
            client.finish()
            outcome = client.outcome()
            assert outcome.ended
            assert outcome.close_code in {*_FRAMING_CODES, *range(1000, 1006), None, *_CLOSES}

    @given(
        payload=st.binary(max_size=200),
        opcode=st.integers(0, 15),
        fin=st.booleans(),
        reserved=st.integers(0, 7),
        masked=st.booleans(),
        claimed_length=st.none() | st.integers(0, 2**63 - 1),
    )
    @hostile(1000)
    def test_frames_against_the_rules_end_the_connection(  # noqa: PLR0913 - a frame has so much
        self,
        node: NodeProcess,
        *,
        payload: bytes,
        opcode: int,
        fin: bool,
        reserved: int,
        masked: bool,
        claimed_length: int | None,
    ) -> None:
        """Reserved bits and opcodes, missing masks, wrong lengths: 1002, or another reason."""
        with RawWebSocket(node.port) as client:
            client.send_text(_CONNECT)
            client.outcome(until_id=1)
            client.send(
                frame(
                    payload,
                    opcode,
                    fin=fin,
                    reserved=reserved,
                    masked=masked,
                    claimed_length=claimed_length,
                )
            )
            client.finish()
            outcome = client.outcome()
            assert outcome.ended
            is_whole = claimed_length is None or claimed_length <= len(payload)
            if is_whole and (reserved or not masked or opcode in {3, 7, 11, 15}):
                assert outcome.close_code == _PROTOCOL_ERROR

    @pytest.mark.parametrize(
        "frames",
        [
            frame(b"", 0),
            frame(b'{"id":2,"rpc":{}}', fin=False) + frame(b'{"id":3,"rpc":{}}'),
            frame(b"x" * 126, PING),
            frame(b"", PING, fin=False),
            frame(b"\x00", CLOSE),
            frame(b"\x03\xed", CLOSE),
            frame(b"\x03\xe8\xff\xff", CLOSE),
        ],
        ids=[
            "a continuation of nothing",
            "a message within a message",
            "a ping too long",
            "a ping in fragments",
            "a close of one byte",
            "a close with a code that is not sent",
            "a close with a reason that is no text",
        ],
    )
    def test_a_broken_rule_has_its_code(self, node: NodeProcess, frames: bytes) -> None:
        """The rules that clients break most."""
        with RawWebSocket(node.port) as client:
            client.send(frame(_CONNECT) + frames)
            assert client.outcome().close_code in {_PROTOCOL_ERROR, _NOT_UTF8}

    def test_control_frames_between_fragments_are_answered(self, node: NodeProcess) -> None:
        """A ping in the middle of a fragmented command harms neither."""
        half, rest = b'{"id":2,"rp', b'c":{"method":"x"}}'
        with RawWebSocket(node.port) as client:
            client.send(frame(_CONNECT) + frame(half, fin=False))
            client.send(frame(b"ping", PING) + frame(rest, 0) + frame(_LAST))
            replies = client.outcome(until_id=_LAST_ID).messages
            assert [reply["id"] for reply in replies] == [1, 2, _LAST_ID]

    @pytest.mark.parametrize("step", [1, 2, 3, 7])
    def test_bytes_may_come_in_any_pieces(self, node: NodeProcess, step: int) -> None:
        """Frames that arrive byte by byte are whole in the end."""
        data = frame(_CONNECT) + frame(_LAST)
        with RawWebSocket(node.port) as client:
            for start in range(0, len(data), step):
                client.send(data[start : start + step])
            assert [m["id"] for m in client.outcome(until_id=_LAST_ID).messages] == [1, _LAST_ID]

    def test_frames_sent_with_the_handshake_are_not_lost(self, node: NodeProcess) -> None:
        """A client that does not wait for the upgrade is served as well."""
        with RawWebSocket(node.port, handshake=False) as client:
            client.send(HANDSHAKE + frame(_CONNECT) + frame(_LAST))
            assert client.head().startswith(b"HTTP/1.1 101 ")
            replies = client.outcome(until_id=_LAST_ID).messages
            assert [reply["id"] for reply in replies] == [1, _LAST_ID]

    @given(data=st.binary(min_size=1, max_size=300))
    @hostile(500)
    def test_bytes_that_are_no_http_are_refused(self, node: NodeProcess, data: bytes) -> None:
        """Whatever comes before an upgrade, the connection ends, if at all answered with 400."""
        with RawWebSocket(node.port, handshake=False) as client:
            client.send(data + b"\r\n\r\n")
            client.finish()
            answer = client.response()
            assert not answer or answer.startswith(b"HTTP/1."), answer

    @given(
        removed=st.sets(
            st.sampled_from(
                [b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n", b"Version: 13\r\n"]
            ),
            min_size=1,
        ),
        junk=st.binary(max_size=30).map(lambda data: data.hex().encode()),
    )
    @hostile(200)
    def test_a_broken_handshake_is_refused(
        self, node: NodeProcess, removed: set[bytes], junk: bytes
    ) -> None:
        """A request that is no upgrade is a client's error in HTTP."""
        request = HANDSHAKE
        for line in removed:
            request = request.replace(line, b"X-Junk: " + junk + b"\r\n")
        with RawWebSocket(node.port, handshake=False) as client:
            client.send(request)
            assert client.head().startswith(b"HTTP/1.1 4")


# --- The HTTP API ------------------------------------------------------------------------------

_ABOUT_CHANNELS = [
    "publish",
    "broadcast",
    "history",
    "history_remove",
    "presence",
    "presence_stats",
]
_ABOUT_USERS = ["subscribe", "unsubscribe", "disconnect"]
_API_METHODS = st.sampled_from([*_ABOUT_CHANNELS, *_ABOUT_USERS, "info", "batch"])

_OF_PUBLISHING = ["channel", "channels", "data", "b64data", "tags", "idempotency_key"]
_OF_READING = ["limit", "since", "reverse", "recover_since"]
_OF_USERS = ["user", "client", "disconnect", "whitelist", "info"]
_API_FIELDS = st.sampled_from([*_OF_PUBLISHING, *_OF_READING, *_OF_USERS, "commands", "parallel"])


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _assert_documented_answer(status: int, answer: Any) -> None:
    assert status in {200, 400}, (status, answer)
    if status == 200 and "error" in answer:
        assert answer["error"]["code"] in _ERRORS, answer


@pytest.mark.usefixtures("unharmed")
class TestHttpApi:
    """What a backend should not send."""

    @given(method=_API_METHODS, body=st.binary(max_size=200))
    @hostile(500)
    def test_random_bytes_are_malformed(self, node: NodeProcess, method: str, body: bytes) -> None:
        """Bytes that are no JSON object are answered with 400."""
        status, _ = _api(node, method, b"\x00" + body)
        assert status == 400

    @given(method=_API_METHODS, body=st.dictionaries(_API_FIELDS, _JSON, max_size=6))
    @hostile(1500)
    def test_any_object_is_answered(
        self, node: NodeProcess, method: str, body: dict[str, Any]
    ) -> None:
        """Objects with fields of any type are answered with a result, an error or 400."""
        _assert_documented_answer(*_api(node, method, json.dumps(body).encode()))

    @given(data=_JSON, channel=st.sampled_from(["hostile:echo", "echo"]))
    @hostile(500)
    def test_any_json_is_delivered_as_it_is(
        self, node: NodeProcess, data: Any, channel: str
    ) -> None:
        """Whatever JSON is published, subscribers get just that, in frames that they can read."""
        with RawWebSocket(node.port) as client:
            subscribe = json.dumps({"id": 2, "subscribe": {"channel": channel}}).encode()
            client.send_text(_CONNECT, subscribe)
            client.outcome(until_id=2)
            body = json.dumps({"channel": channel, "data": data}, indent=1).encode()
            status, answer = _api(node, "publish", body)
            assert (status, "result" in answer) == (200, True)
            heard = client.outcome(until_push=channel)
            assert heard.messages[-1]["push"]["pub"]["data"] == data

    @pytest.mark.parametrize("depth", [10, 1_000, 100_000])
    def test_deep_nesting_is_answered(self, node: NodeProcess, depth: int) -> None:
        """Nesting never exhausts a stack."""
        nested = b"[" * depth + b"]" * depth
        for body in (nested, b'{"channel":"plain","data":%s}' % nested, b"[" * depth):
            _assert_documented_answer(*_api(node, "publish", body))

    def test_a_huge_body_is_refused(self, node: NodeProcess) -> None:
        """Beyond the limit of a request's size the answer is 413."""
        for _ in range(5):
            status, _ = _api(node, "publish", b" " * _HUGE_BODY_BYTES)
            assert status == 413

    @pytest.mark.parametrize("key", [API_KEY, "guessed"])
    def test_a_compressed_body_is_refused_as_it_is(self, node: NodeProcess, key: str) -> None:
        """A megabyte that would become 200 costs a megabyte, whoever sends it, and to any path."""
        bomb = gzip.compress(b" " * (200 << 20), compresslevel=6)
        headers = {"X-API-Key": key, "Content-Encoding": "gzip"}
        began_at = node.cpu_s()
        for method in ("publish", "nothing", "../livez") * 4:
            assert _api(node, method, bomb, headers)[0] == 415
        assert node.cpu_s() - began_at < 1.0
        assert _api(node, "publish", b"no gzip", headers)[0] == 415

    @given(key=st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=50))
    @hostile(200)
    def test_a_wrong_key_is_refused(self, node: NodeProcess, key: str) -> None:
        """Whatever is in the header, only the key lets in."""
        status, _ = _api(node, "info", b"{}", {"X-API-Key": key})
        assert status == 401 if key.isprintable() else status in {400, 401}
