"""The way to one transport: free while it drains, bounded while it does not."""

from __future__ import annotations

from realtime_node.delivery.outbound import Outbound, Pressure
from tests.support.fakes import FakeTransport


class Watched:
    """An `Outbound` and what it reports."""

    def __init__(self, limit_bytes: int = 100) -> None:
        self.transport = FakeTransport()
        self.pressures: list[Pressure] = []
        self.overflows = 0
        self.outbound = Outbound(
            self.transport,
            limit_bytes=limit_bytes,
            on_pressure=lambda: self.pressures.append(self.outbound.pressure),
            on_overflow=self._overflow,
        )

    def _overflow(self) -> None:
        self.overflows += 1


def test_healthy_client_is_written_to_directly() -> None:
    """Without pressure `send` is the transport's own `write`: nothing stands in between."""
    watched = Watched()
    assert watched.outbound.send == watched.transport.write
    watched.outbound.send(b"x" * 1000)
    assert watched.transport.written == [b"x" * 1000]
    assert watched.overflows == 0


def test_pause_and_resume_are_reported_once_each() -> None:
    """The hub is told of every change, and of nothing that is none."""
    watched = Watched()
    watched.outbound.resume()
    watched.outbound.pause()
    watched.outbound.pause()
    watched.outbound.resume()
    watched.outbound.resume()
    assert watched.pressures == [Pressure.CONGESTED, Pressure.HEALTHY]
    assert watched.outbound.send == watched.transport.write


def test_congested_client_takes_frames_up_to_its_limit() -> None:
    """Frames go out while what waits and the frame together fit the limit exactly."""
    watched = Watched(limit_bytes=100)
    watched.outbound.pause()
    watched.transport.buffered = 90
    watched.outbound.send(b"x" * 10)
    assert watched.overflows == 0
    watched.transport.buffered = 91
    watched.outbound.send(b"y" * 10)
    assert watched.overflows == 1
    assert watched.transport.written == [b"x" * 10]


def test_overflow_is_reported_once() -> None:
    """A client that is given up gets nothing more, however often it is written to."""
    watched = Watched(limit_bytes=1)
    watched.outbound.pause()
    stale = watched.outbound.send
    for _ in range(3):
        watched.outbound.send(b"xx")
    assert watched.overflows == 1
    assert watched.outbound.pressure is Pressure.ENDED
    assert watched.transport.written == []
    assert stale != watched.outbound.send


def test_nothing_is_written_after_the_end() -> None:
    """Neither a late frame nor a late change of the transport's pressure reopens the way."""
    watched = Watched()
    watched.outbound.end()
    watched.outbound.send(b"late")
    watched.outbound.pause()
    watched.outbound.resume()
    watched.outbound.send(b"later")
    assert watched.transport.written == []
    assert watched.pressures == []
    assert watched.outbound.pressure is Pressure.ENDED
