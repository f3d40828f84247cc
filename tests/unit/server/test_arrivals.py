"""A handshake that waits, on a fake transport."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from realtime_node.admission.admit import Refusal
from realtime_node.protocol.deflate import UNCOMPRESSED
from realtime_node.server.arrivals import MOST_EARLY_BYTES, Arrival, refused
from realtime_node.server.handshake import Accepted
from tests.support.fakes import FakeTransport

ANSWER = Accepted(b"HTTP/1.1 101 \r\n\r\n", "", UNCOMPRESSED)
REFUSAL = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "this node is draining", 7)


class Waiting:
    """An arrival and what it did to others."""

    def __init__(self, early: bytes = b"") -> None:
        self.transport = FakeTransport()
        self.entered: list[bytes] = []
        self.gone: list[Arrival] = []
        self.arrival = Arrival(
            self.transport,
            ANSWER,
            early,
            on_enter=lambda _transport, _answer, early: self.entered.append(early),
            on_gone=self.gone.append,
        )


@pytest.fixture
async def waiting() -> Waiting:
    """One whose client has sent something already."""
    return Waiting(b"first ")


async def test_what_is_sent_ahead_is_kept(waiting: Waiting) -> None:
    """A client that does not wait for the answer loses nothing."""
    waiting.arrival.data_received(b"second ")
    waiting.arrival.data_received(b"third")
    waiting.arrival.enter()
    assert waiting.entered == [b"first second third"]


async def test_what_is_sent_ahead_is_bounded(waiting: Waiting) -> None:
    """A client that sends and sends is not read from until its turn has come."""
    waiting.arrival.data_received(b"x" * MOST_EARLY_BYTES)
    assert not waiting.transport.is_reading_now
    waiting.arrival.enter()
    assert waiting.transport.is_reading_now


async def test_a_client_that_goes_away_gives_its_place_up(waiting: Waiting) -> None:
    """The end of the transport is the end of the wait."""
    was_gone = waiting.arrival.is_gone
    waiting.transport.close()
    assert (was_gone, waiting.arrival.is_gone) == (False, True)
    waiting.arrival.connection_lost(None)
    assert waiting.gone == [waiting.arrival]


async def test_a_late_refusal_is_an_answer_to_the_request(waiting: Waiting) -> None:
    """Status, time to come back and reason, as for one who was refused at once."""
    waiting.arrival.turn_away(REFUSAL)
    head, _, body = b"".join(waiting.transport.written).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 503 Service Unavailable"
    assert {"Retry-After: 7", f"Content-Length: {len(body)}", "Connection: close"} < set(lines)
    assert (body, waiting.transport.end) == (b"this node is draining\n", "closed")


async def test_a_refusal_at_once_ends_the_connection() -> None:
    """The client would not use it again: it goes elsewhere."""
    response = refused(REFUSAL)
    assert (response.status, response.text) == (503, "this node is draining\n")
    assert (response.headers["Retry-After"], response.keep_alive) == ("7", False)
