"""Frames as a WebSocket client would parse them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from realtime_node.protocol.framing import message_frame


def parsed(data: bytes) -> list[tuple[Opcode, bool, bytes]]:
    """What a client reads."""
    client = Protocol(CLIENT, state=OPEN, max_size=None)
    client.receive_data(data)
    assert client.parser_exc is None
    return [
        (frame.opcode, frame.fin, bytes(frame.data))
        for frame in client.events_received()
        if isinstance(frame, Frame)
    ]


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_length_is_written_in_the_shortest_form(length: int, header: bytes) -> None:
    """Lengths use 7, 16 or 64 bits as RFC 6455 says, and nothing is masked."""
    payload = b"x" * length
    assert message_frame(payload, is_text=True) == header + payload


@pytest.mark.parametrize("length", [0, 200, 70_000])
def test_a_compressed_payload_is_marked(length: int) -> None:
    """Compression shows in one bit of the first byte, and in nothing else."""
    payload = b"x" * length
    plain = message_frame(payload, is_text=True)
    marked = message_frame(payload, is_text=True, is_compressed=True)
    assert (plain[0], marked[0], marked[1:]) == (0x81, 0xC1, plain[1:])


def test_binary_payloads_have_their_own_opcode() -> None:
    """A codec that is not text writes binary frames."""
    assert parsed(message_frame(b"\x00", is_text=False)) == [(Opcode.BINARY, True, b"\x00")]


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_frames_in_a_row_are_read_one_by_one(payloads: list[bytes]) -> None:
    """A client finds every payload whole, in order."""
    data = b"".join(message_frame(payload, is_text=False) for payload in payloads)
    assert [payload for _, _, payload in parsed(data)] == payloads
