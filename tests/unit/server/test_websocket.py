"""One WebSocket on a fake transport, with a real session and the bytes of a real client."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from realtime_node.delivery.outbound import Outbound
from realtime_node.protocol import codes
from realtime_node.protocol.deflate import UNCOMPRESSED, Wire, deflate
from realtime_node.protocol.messages import Push
from realtime_node.server import websocket
from realtime_node.server.websocket import WebSocketConnection
from realtime_node.session.session import Session
from realtime_node.telemetry.metrics import total
from tests.support.conditions import eventually
from tests.support.failure_counts import counted_failures
from tests.support.fakes import (
    FakeNode,
    FakeTransport,
    entry,
    is_compressed,
    publication,
    settle,
)

if TYPE_CHECKING:
    from websockets.protocol import Event

MAX_BYTES = 1000


class Browser:
    """A client's end of the connection: it masks what it sends and parses what it gets."""

    def __init__(
        self, node: FakeNode, wire: Wire = UNCOMPRESSED, *, max_message_bytes: int = MAX_BYTES
    ) -> None:
        self.transport = FakeTransport()
        self.lost: list[WebSocketConnection] = []
        self.connection = WebSocketConnection(
            self.transport,
            node.services,
            max_message_bytes=max_message_bytes,
            on_lost=self.lost.append,
            wire=wire,
        )
        self.transport.set_protocol(self.connection)
        self.session = self.connection._session
        self._ws = Protocol(CLIENT, state=OPEN, max_size=None)
        if wire != UNCOMPRESSED:
            self._ws.extensions = [PerMessageDeflate(True, True, wire, 15)]
        self._read = 0

    def send(self, *frames: Frame) -> None:
        """Send frames in one piece."""
        self.send_bytes(b"".join(frame.serialize(mask=True) for frame in frames))

    def send_bytes(self, data: bytes) -> None:
        """Send anything."""
        self.connection.data_received(data)

    def say(self, **command: Any) -> None:
        """Send a command."""
        self.send(text(command))

    def frames(self) -> list[Frame]:
        """Frames received since the last look."""
        written = self.transport.written[self._read :]
        self._read = len(self.transport.written)
        events: list[Event] = []
        for data in written:
            self._ws.receive_data(data)
            events += self._ws.events_received()
        assert self._ws.parser_exc is None
        return [event for event in events if isinstance(event, Frame)]

    def messages(self) -> list[Any]:
        """Messages received since the last look."""
        return [
            json.loads(line)
            for frame in self.frames()
            if frame.opcode is Opcode.TEXT
            for line in bytes(frame.data).split(b"\n")
        ]

    def close_received(self) -> tuple[int, str] | None:
        """The close frame received since the last look, if it was the last one."""
        frames = self.frames()
        if not frames or frames[-1].opcode is not Opcode.CLOSE:
            return None
        close = Close.parse(bytes(frames[-1].data))
        return int(close.code), close.reason


def text(command: dict[str, Any]) -> Frame:
    """A command in a text frame."""
    return Frame(Opcode.TEXT, json.dumps(command).encode())


def goodbye(code: int = 1000) -> Frame:
    """A client's close frame."""
    return Frame(Opcode.CLOSE, Close(code, "").serialize())


@pytest.fixture
async def node() -> FakeNode:
    """A node that lets everybody in."""
    return FakeNode(client={"insecure": True, "queue_max_size": 3000})


@pytest.fixture
async def browser(node: FakeNode) -> AsyncIterator[Browser]:
    """A connected client; at the end its connection is lost, if it was not before."""
    browser = Browser(node)
    browser.say(id=1, connect={})
    await settle()
    assert browser.messages()[0]["id"] == 1
    yield browser
    if not browser.lost:
        browser.connection.connection_lost(None)


# --- messages ---------------------------------------------------------------------------------


async def test_message_in_pieces_of_any_size_is_one_message(browser: Browser) -> None:
    """A frame that arrives byte by byte is answered once."""
    for byte in text({"id": 2, "ping": {}}).serialize(mask=True):
        browser.send_bytes(bytes([byte]))
    await settle()
    assert browser.messages() == [{"id": 2, "ping": {}}]


async def test_fragments_are_put_together(browser: Browser) -> None:
    """A fragmented message is one message; control frames may come between its parts."""
    browser.send(Frame(Opcode.TEXT, b'{"id":2,', fin=False))
    browser.send(Frame(Opcode.CONT, b"", fin=False), Frame(Opcode.PING, b"hi"))
    browser.send(Frame(Opcode.CONT, b'"ping":{}}'))
    browser.send(text({"id": 3, "ping": {}}))
    await settle()
    frames = browser.frames()
    assert [frame.opcode for frame in frames] == [Opcode.PONG, Opcode.TEXT, Opcode.TEXT]
    assert [json.loads(bytes(frame.data))["id"] for frame in frames[1:]] == [2, 3]


async def test_message_that_begins_with_an_empty_fragment(browser: Browser) -> None:
    """An empty first fragment begins a message like any other."""
    browser.send(Frame(Opcode.TEXT, b"", fin=False), Frame(Opcode.CONT, b'{"id":2,"ping":{}}'))
    await settle()
    assert browser.messages() == [{"id": 2, "ping": {}}]


async def test_endless_fragments_take_no_memory(browser: Browser) -> None:
    """A client that never finishes a message does not make the node remember its pieces."""
    browser.send(Frame(Opcode.TEXT, b"x", fin=False))
    empty = Frame(Opcode.CONT, b"", fin=False).serialize(mask=True)
    for _ in range(100):
        browser.send_bytes(empty * 100)
    assert browser.connection._fragments == bytearray(b"x")


async def test_several_frames_in_one_read_are_answered_in_order(browser: Browser) -> None:
    """What arrives together is answered one after the other."""
    browser.send(*(text({"id": number, "ping": {}}) for number in range(2, 12)))
    await settle()
    assert [each["id"] for each in browser.messages()] == list(range(2, 12))


async def test_binary_frames_of_the_json_protocol_are_read(browser: Browser) -> None:
    """The payload decides, not the opcode."""
    browser.send(Frame(Opcode.BINARY, b'{"id":2,"ping":{}}'))
    await settle()
    assert browser.messages() == [{"id": 2, "ping": {}}]


# --- pings ------------------------------------------------------------------------------------


async def test_ping_is_answered_with_its_data(browser: Browser) -> None:
    """A WebSocket ping has its pong, an unsolicited WebSocket pong has nothing."""
    browser.send(Frame(Opcode.PONG, b"x"), Frame(Opcode.PING, b"data"))
    (pong,) = browser.frames()
    assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"data")


async def test_pongs_are_bounded_like_everything_else(browser: Browser) -> None:
    """A client that pings and does not read is slow, not a way to fill the node's memory."""
    browser.transport.stall()
    for _ in range(100):
        browser.send(Frame(Opcode.PING, b"x" * 125))
    assert browser.close_received() == (3008, "slow")
    assert browser.transport.buffered < 4000


async def test_pings_count_as_commands() -> None:
    """A client that pings without end is closed (3013), though it reads every pong."""
    browser = Browser(FakeNode(client={"insecure": True, "command_rate": 1, "command_burst": 10}))
    for _ in range(11):
        browser.send(Frame(Opcode.PING, b"x"))
    assert browser.close_received() == (3013, "too many requests")
    browser.connection.connection_lost(None)


# --- the end ----------------------------------------------------------------------------------


async def test_fragments_count_as_commands() -> None:
    """They may be empty, and without end."""
    browser = Browser(FakeNode(client={"insecure": True, "command_rate": 1, "command_burst": 50}))
    browser.say(id=1, connect={})
    await settle()
    browser.frames()
    browser.send(Frame(Opcode.TEXT, b"", fin=False))
    browser.send(*[Frame(Opcode.CONT, b"", fin=False)] * 100)
    await settle()
    assert browser.close_received() == (3013, "too many requests")


@pytest.mark.parametrize("wire", [UNCOMPRESSED, 15], ids=["plain", "compressed"])
async def test_bytes_count_as_commands(wire: Wire) -> None:
    """Of a message as it is read: a hundred bytes may become many thousands."""
    client = {"insecure": True, "command_rate": 1, "command_burst": 50}
    browser = Browser(FakeNode(client=client), wire, max_message_bytes=65_536)
    browser.say(id=1, connect={})
    await settle()
    browser.frames()
    long = b'{"id":2,"ping":{}}'.ljust(60_000)
    sent = (
        Frame(Opcode.TEXT, long).serialize(mask=True)
        if wire == UNCOMPRESSED
        else packed(deflate(long, 15, 6))
    )
    browser.send_bytes(sent)
    await settle()
    assert browser.messages() == [{"id": 2, "ping": {}}]
    for _ in range(10):
        browser.send_bytes(sent)
    await settle()
    assert browser.close_received() == (3013, "too many requests")


@pytest.mark.parametrize("burst", [1, 2, 3, 10])
async def test_the_largest_message_may_always_be_sent(burst: int) -> None:
    """However small the burst is."""
    client = {"insecure": True, "command_rate": 1, "command_burst": burst}
    node = FakeNode(client=client)
    browser = Browser(node, max_message_bytes=65_536)
    browser.say(id=1, connect={})
    await settle()
    node.clock.advance(burst)
    browser.send_bytes(Frame(Opcode.TEXT, b'{"id":2,"ping":{}}'.ljust(65_536)).serialize(mask=True))
    await settle()
    assert browser.messages()[-1] == {"id": 2, "ping": {}}


async def test_refused_frames_are_counted() -> None:
    """By the code that the connection was closed with, once each."""
    node = FakeNode(client={"insecure": True})
    for frame in (
        Frame(Opcode.TEXT, b"x" * (MAX_BYTES + 1)),
        Frame(Opcode.CONT, b""),
        Frame(Opcode.CONT, b"x"),
        goodbye(),
    ):
        browser = Browser(node)
        browser.send(frame)
        browser.send(frame)
    samples = next(iter(node.metrics.session.frames_refused.collect())).samples
    counts = {each.labels["code"]: each.value for each in samples if each.name.endswith("_total")}
    assert counts == {"1009": 1, "1002": 2}


async def test_close_by_the_client_is_echoed(browser: Browser, node: FakeNode) -> None:
    """The client's code comes back, the session ends at once, and the transport is closed."""
    browser.send(goodbye(1001))
    assert browser.close_received() == (1001, "")
    assert browser.transport.end == "closed"
    assert node.registry.num_clients == 0


async def test_close_without_a_code_is_echoed_without_one(browser: Browser) -> None:
    """An empty close frame is answered by an empty one."""
    browser.send(Frame(Opcode.CLOSE, b""))
    (frame,) = browser.frames()
    assert (frame.opcode, frame.data) == (Opcode.CLOSE, b"")
    assert browser.transport.end == "closed"


async def test_close_by_us_waits_for_the_clients_goodbye(browser: Browser) -> None:
    """The close frame goes out, the transport stays until the client answered."""
    browser.session.close(codes.SHUTDOWN)
    assert browser.close_received() == (3001, "shutdown")
    assert browser.transport.end == ""
    browser.send(goodbye(3001))
    assert browser.transport.end == "closed"
    assert browser.frames() == []


async def test_nothing_is_written_after_a_close(browser: Browser, node: FakeNode) -> None:
    """Neither replies nor pings nor pongs follow a close frame."""
    browser.send(text({"id": 2, "ping": {}}))
    browser.session.close(codes.SHUTDOWN)
    browser.send(text({"id": 3, "ping": {}}), Frame(Opcode.PING, b"x"))
    await settle()
    node.pass_time(60)
    frames = browser.frames()
    assert [frame.opcode for frame in frames] == [Opcode.CLOSE]


async def test_data_after_the_clients_close_is_ignored(browser: Browser, node: FakeNode) -> None:
    """What a client sends behind its own close frame is not executed."""
    browser.send(goodbye(), text({"id": 2, "publish": {"channel": "a", "data": 1}}))
    browser.send(text({"id": 3, "publish": {"channel": "a", "data": 1}}))
    await settle()
    assert node.backplane.published == []


async def test_protocol_error_of_ours_is_told_and_ends_the_session(
    browser: Browser, node: FakeNode
) -> None:
    """What is no command closes with 3501 over an orderly WebSocket."""
    browser.send(Frame(Opcode.TEXT, b"garbage"))
    assert browser.close_received() == (3501, "bad request")
    assert node.registry.num_clients == 0


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (Frame(Opcode.TEXT, b"x" * (MAX_BYTES + 1)).serialize(mask=True), 1009),
        (Frame(Opcode.TEXT, b"x" * (MAX_BYTES + 1)).serialize(mask=True)[:14], 1009),
        (
            Frame(Opcode.TEXT, b"x" * MAX_BYTES, fin=False).serialize(mask=True)
            + Frame(Opcode.CONT, b"x").serialize(mask=True),
            1009,
        ),
        (Frame(Opcode.TEXT, b"{}").serialize(mask=False), 1002),
        (b"\xf1\x80\x00\x00\x00\x00", 1002),
        (b"\x83\x80\x00\x00\x00\x00", 1002),
        (Frame(Opcode.CONT, b"x").serialize(mask=True), 1002),
        (Frame(Opcode.TEXT, b"x", fin=False).serialize(mask=True) * 2, 1002),
        (b"\x89\xfe\x00\x7e" + b"\x00" * (4 + 126), 1002),
        (Frame(Opcode.CLOSE, b"\x00").serialize(mask=True), 1002),
        (Frame(Opcode.CLOSE, b"\x03\xed").serialize(mask=True), 1002),
        (Frame(Opcode.CLOSE, b"\x03\xe8\xff").serialize(mask=True), 1007),
    ],
    ids=[
        "too large",
        "too large by its header",
        "too large in fragments",
        "not masked",
        "reserved bits",
        "unknown opcode",
        "continuation of nothing",
        "message within a message",
        "long control frame",
        "half a close code",
        "close code of nobody",
        "reason is not UTF-8",
    ],
)
async def test_broken_frames_end_the_connection(
    browser: Browser, node: FakeNode, data: bytes, code: int
) -> None:
    """A client that breaks RFC 6455 is told why; session and transport end."""
    browser.send_bytes(data)
    close = browser.close_received()
    assert close is not None
    assert close[0] == code
    assert browser.transport.end == "closed"
    assert node.registry.num_clients == 0
    browser.send_bytes(data)
    assert browser.frames() == []


async def test_largest_message_is_taken(browser: Browser) -> None:
    """A message of exactly the limit is read."""
    command = b'{"id":2,"ping":{}}'
    browser.send(Frame(Opcode.TEXT, command + b" " * (MAX_BYTES - len(command))))
    await settle()
    assert browser.messages() == [{"id": 2, "ping": {}}]


async def test_stalled_client_is_cut_off(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that never answers our close is aborted when its time is up."""
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", 0)
    browser.session.close(codes.SLOW)
    assert browser.transport.end == ""
    await settle()
    assert browser.transport.end == "aborted"


async def test_connection_that_is_gone_is_not_cut_off(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer of a close ends with the connection."""
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", 0)
    browser.session.close(codes.SLOW)
    browser.connection.connection_lost(None)
    await settle()
    assert browser.transport.end == ""


async def test_client_that_is_not_read_from_can_still_say_goodbye(
    browser: Browser, node: FakeNode
) -> None:
    """A close of ours resumes reading: the client's close frame has to be seen."""
    with node.backplane.hold("publish"):
        for number in range(200):
            browser.say(id=number + 2, publish={"channel": "a", "data": 1})
        was_read = browser.transport.is_reading_now
        browser.session.close(codes.SHUTDOWN)
        assert (was_read, browser.transport.is_reading_now) == (False, True)
    await settle()


async def test_lost_connection_lets_go_of_everything(browser: Browser, node: FakeNode) -> None:
    """When the transport is gone nothing of the client is left, and nothing is written."""
    browser.say(id=2, subscribe={"channel": "a"})
    await settle()
    written = len(browser.transport.written)
    browser.connection.connection_lost(ConnectionResetError())
    assert browser.lost == [browser.connection]
    assert (node.registry.num_clients, node.hub.num_channels) == (0, 0)
    browser.session.close(codes.SHUTDOWN)
    assert len(browser.transport.written) == written


async def test_a_lost_connection_leaves_nothing_for_the_collector(node: FakeNode) -> None:
    """Its parts are freed as soon as nobody holds them: the collector comes by rarely."""
    lost = Browser(node)
    lost.say(id=1, connect={})
    await settle()
    parser = weakref.ref(lost.connection._ws)  # which holds itself, and is what weighs most
    gc.disable()
    try:
        lost.connection.connection_lost(None)
        del lost
        assert parser() is None
    finally:
        gc.enable()


async def test_a_bug_in_reading_costs_one_client_its_connection(
    browser: Browser, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What parsing raises is counted; the client is told, and cut off if it stays."""
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", 0.01)
    with counted_failures() as counts:
        with monkeypatch.context() as patch:
            patch.setattr(node.services.codec, "decode_commands", _fails)
            browser.say(id=2, ping={})
        assert browser.close_received() == (3004, "internal server error")
        await eventually(lambda: browser.transport.end)
    assert counts.errors == {"session": 1}
    other = Browser(node)
    other.say(id=1, connect={})
    await settle()
    assert other.messages()[0]["id"] == 1
    other.connection.connection_lost(None)


async def test_a_bug_in_congestion_is_counted(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop sees no exception of these callbacks either."""
    monkeypatch.setattr(Outbound, "pause", _fails)
    monkeypatch.setattr(Outbound, "resume", _fails)
    with counted_failures() as counts:
        browser.connection.pause_writing()
        browser.connection.resume_writing()
    assert counts.errors == {"websocket": 2}


@pytest.mark.parametrize(("owner", "method"), [(Session, "ended"), (Outbound, "lost")])
async def test_a_bug_in_the_end_of_a_connection_leaves_nothing_open(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, owner: type[object], method: str
) -> None:
    """Whatever raises, the endpoint learns that the connection is gone, and its parts are freed."""
    with counted_failures() as counts, monkeypatch.context() as patch:
        patch.setattr(owner, method, _fails)
        browser.connection.connection_lost(None)
    assert browser.lost == [browser.connection]
    assert not hasattr(browser.connection, "_session")
    assert counts.errors == {"websocket": 1}
    browser.session.ended()


def _fails(*_: object) -> None:
    raise ValueError("a bug")


async def test_slow_client_is_told_and_closed(browser: Browser, node: FakeNode) -> None:
    """A client whose buffer is full gets 3008 behind what was already written."""
    browser.say(id=2, subscribe={"channel": "a"})
    await settle()
    browser.transport.stall()
    for number in range(200):
        await node.backplane.publish("a", publication(number), node.services.rules.rule("a").stream)
        await node.backplane.deliver()
        if node.registry.num_clients == 0:
            break
    assert browser.close_received() == (3008, "slow")
    assert browser.transport.buffered < 4000
    assert node.hub.num_channels == 0


# --- compression ------------------------------------------------------------------------------


@pytest.fixture
async def compressing(node: FakeNode) -> AsyncIterator[Browser]:
    """A connected client that has agreed to compression."""
    browser = Browser(node, wire=15)
    browser.say(id=1, connect={})
    await settle()
    assert browser.messages()[0]["id"] == 1
    yield browser
    if not browser.lost:
        browser.connection.connection_lost(None)


def packed(payload: bytes, *, fin: bool = True) -> bytes:
    """A frame of a client that marks its payload as compressed."""
    frame = Frame(Opcode.TEXT, payload, fin=fin).serialize(mask=True)
    return bytes([frame[0] | 0x40]) + frame[1:]


async def test_compressed_commands_are_read(compressing: Browser) -> None:
    """A client compresses what it likes; both kinds are answered in order."""
    compressing.send_bytes(packed(deflate(b'{"id":2,"ping":{}}', 15, 1)))
    compressing.say(id=3, ping={})
    await settle()
    assert [each["id"] for each in compressing.messages()] == [2, 3]


async def test_a_compressed_command_comes_in_fragments(compressing: Browser) -> None:
    """A compressed message may be cut anywhere, with a ping in between, which is never packed."""
    data = deflate(b'{"id":2,"ping":{}}', 15, 1)
    compressing.send_bytes(packed(data[:5], fin=False))
    compressing.send(Frame(Opcode.PING, b"data"), Frame(Opcode.CONT, data[5:]))
    await settle()
    pong, reply = compressing.frames()
    assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"data")
    assert json.loads(bytes(reply.data)) == {"id": 2, "ping": {}}


async def test_replies_are_compressed_for_who_reads_that(
    browser: Browser, compressing: Browser
) -> None:
    """A reply of the client's own is packed by the same rule as a channel's frame."""
    for client in (browser, compressing):
        client.session.send_push(Push(channel="a", pub=publication("reply " * 50)))
    plain, small = (client.transport.written[-1] for client in (browser, compressing))
    assert (is_compressed(plain), is_compressed(small)) == (False, True)
    assert len(small) < len(plain)
    assert browser.messages() == compressing.messages()


async def test_shared_frames_mix_with_replies(
    node: FakeNode, browser: Browser, compressing: Browser
) -> None:
    """Frames that all share and replies in between are read in one conversation, by everybody."""
    data = {"text": "all work and no play " * 20}
    for client in (browser, compressing):
        client.say(id=2, subscribe={"channel": "a"})
    await settle()
    for number in range(3, 6):
        await node.hub.receive([entry("a", data, sequence=number)])
        for client in (browser, compressing):
            client.say(id=number, ping={})
        await settle()
    for client in (browser, compressing):
        _, *later = client.messages()
        assert [each["push"]["pub"]["data"] for each in later if "push" in each] == [data] * 3
        assert [each["id"] for each in later if "id" in each] == [3, 4, 5]
    assert total(node.metrics.compression.frames) >= 3


async def test_a_close_is_never_compressed(compressing: Browser) -> None:
    """Control frames go as they are."""
    compressing.session.close(codes.SHUTDOWN)
    assert compressing.transport.written[-1][0] == 0x88
    assert compressing.close_received() == (3001, "shutdown")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (packed(deflate(bytes(MAX_BYTES + 1), 15, 9)), 1009),
        (packed(deflate(bytes(1 << 24), 15, 9))[:8], 1009),
        (packed(deflate(bytes(500 << 10), 15, 9)), 1009),
        (
            packed(deflate(bytes(MAX_BYTES), 15, 9), fin=False)
            + Frame(Opcode.CONT, deflate(b"x", 15, 9)).serialize(mask=True),
            1009,
        ),
        (packed(b"\xff\xff\xff"), 1002),
        (
            packed(deflate(b"{", 15, 9), fin=False)
            + bytes([0xC0])
            + Frame(Opcode.CONT, b"\xff\xff").serialize(mask=True)[1:],
            1002,
        ),
        (bytes([0xC9]) + Frame(Opcode.PING, b"x").serialize(mask=True)[1:], 1002),
        (packed(b""), 3501),
        (packed(deflate(b'{"id":2,"ping":{}}', 15, 1)[:-9]), 3501),
    ],
    ids=[
        "a byte too large",
        "a packed message larger than a message may be",
        "a bomb",
        "a bomb in fragments",
        "garbage",
        "a marked continuation",
        "a marked ping",
        "nothing at all",
        "a truncated command",
    ],
)
async def test_hostile_compression_ends_the_connection(
    compressing: Browser, node: FakeNode, data: bytes, code: int
) -> None:
    """Who sends a bomb is told 1009, and who sends no compressed data 1002; the session ends."""
    compressing.send_bytes(data)
    await settle()
    close = compressing.close_received()
    assert close is not None
    assert close[0] == code
    assert node.registry.num_clients == 0


async def test_compression_that_was_not_agreed_on_is_an_error(browser: Browser) -> None:
    """The bit is reserved for those who have negotiated it."""
    browser.send_bytes(packed(deflate(b'{"id":2,"ping":{}}', 15, 1)))
    close = browser.close_received()
    assert close is not None
    assert close[0] == 1002


@pytest.mark.parametrize(
    ("code", "stays"),
    [(1000, False), (1001, True), (None, True)],
    ids=["a goodbye", "a page that is left", "a lost connection"],
)
async def test_a_goodbye_is_told_from_a_loss(code: int | None, *, stays: bool) -> None:
    """Only who says goodbye is gone at once; a page that is left may be loading anew."""
    node = FakeNode(
        client={"insecure": True, "session": {"enabled": True}},
        channel={"without_namespace": {"presence": True, "presence_grace": "10s"}},
    )
    browser = Browser(node)
    browser.say(id=1, connect={"data": {"session": True}})
    browser.say(id=2, subscribe={"channel": "a"})
    await settle()
    if code is not None:
        browser.send(goodbye(code))
    browser.connection.connection_lost(None)
    await settle()
    assert bool(node.presence.present["a"]) is stays
