"""The lean client reads what servers send, however it is cut."""

from __future__ import annotations

import msgspec
import pytest

from tests.load.storm import wire
from tests.support import raw_websocket


def _server_frame(payload: bytes, opcode: int = raw_websocket.TEXT) -> bytes:
    return raw_websocket.frame(payload, opcode, masked=False)


@pytest.mark.parametrize("length", [0, 2, 125, 126, 65_535, 65_536])
def test_a_frame_is_read_once_it_is_complete(length: int) -> None:
    """Every form of a length is understood, and a frame that lacks a byte is not there yet."""
    payload = b"x" * length
    buffer = b"before" + _server_frame(payload)
    frame = wire.next_frame(buffer, 6)
    assert frame is not None
    assert (frame.opcode, buffer[frame.start : frame.end]) == (wire.Opcode.TEXT, payload)
    assert frame.end == len(buffer)
    for missing in (1, length, length + 1):
        if missing:
            assert wire.next_frame(buffer[:-missing], 6) is None


@pytest.mark.parametrize("payload", [b"{}", b"x" * 126, b"x" * 3_000])
def test_what_the_client_sends_is_what_another_would(payload: bytes) -> None:
    """Its frames differ from those of the tests' own client in the mask alone."""
    frame, other = wire.text_frame(payload), raw_websocket.frame(payload)
    head = len(other) - len(payload) - 4
    assert frame[:head] == other[:head]
    assert frame[head:] == bytes(4) + payload


def test_a_pong_is_the_answer_to_a_ping() -> None:
    """An empty object is answered by an empty object."""
    assert wire.text_frame(wire.PING) == wire.PONG


def test_messages_are_read_line_by_line() -> None:
    """A frame of several messages holds each in what it is for."""
    publication = {"offset": 7, "data": {"n": 3, "t": 99}}
    lines = [
        {"id": 1, "connect": {"client": "c", "version": "1", "ping": 25}},
        {"id": 2, "subscribe": {"epoch": "e", "offset": 6, "publications": [publication]}},
        {"push": {"channel": "load:1", "pub": publication}},
        {"push": {"channel": "load:1", "unsubscribe": {"code": 2500, "reason": "gap"}}},
        {"id": 2, "error": {"code": 111, "message": "later", "temporary": True}},
    ]
    connect, subscribe, push, unsubscribe, error = wire.read_messages(
        b"\n".join(map(msgspec.json.encode, lines))
    )
    assert connect.connect is not None
    assert subscribe.subscribe is not None
    assert subscribe.subscribe.epoch == "e"
    assert subscribe.subscribe.publications[0].data.n == 3
    assert push.push is not None
    assert push.push.pub is not None
    assert push.push.pub.offset == 7
    assert unsubscribe.push is not None
    assert unsubscribe.push.unsubscribe == wire.Unsubscribe(2500)
    assert error.error == wire.Error(111, temporary=True)


def test_an_upgrade_is_read_once_its_head_is_complete() -> None:
    """The status is told with where the frames begin; what is no HTTP has the status 0."""
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
    assert wire.read_upgrade(head[:-1]) is None
    assert wire.read_upgrade(head + b"\x81\x00") == (101, len(head))
    assert wire.read_upgrade(b"HTTP/1.1 503 Service Unavailable\r\n\r\n") == (503, 36)
    assert wire.read_upgrade(b"what is this?\r\n\r\n") == (0, 17)


def test_a_close_frame_has_a_code() -> None:
    """Without one it is that of no code."""
    assert wire.close_code((3001).to_bytes(2) + b"shutdown") == 3001
    assert wire.close_code(b"") == 1005
