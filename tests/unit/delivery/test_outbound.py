"""The way to one transport: free while it drains, through the backlog while it does not."""

from __future__ import annotations

from realtime_node.delivery.batching import Audience, Batch, Waiting
from realtime_node.delivery.flow import Policy, SlowRule
from realtime_node.delivery.outbound import Outbound, Pressure
from realtime_node.delivery.policies import Action, Reason
from tests.support.fakes import FakeSlowClients, FakeTransport, ReadyFrame


class Watched:
    """An `Outbound` and what it reports."""

    def __init__(self, slow: FakeSlowClients | None = None, *, high_water: int = 100) -> None:
        self.slow = FakeSlowClients(client_bytes=300) if slow is None else slow
        self.transport = FakeTransport(high_water)
        self.transport.set_protocol(self)
        self.pressures: list[Pressure] = []
        self.ends: list[Reason] = []
        self.outbound = Outbound(
            self.transport,
            self.slow,
            on_pressure=lambda: self.pressures.append(self.outbound.pressure),
            on_slow=self.ends.append,
        )

    def pause_writing(self) -> None:
        """Pass congestion on."""
        self.outbound.pause()

    def resume_writing(self) -> None:
        """Pass its end on."""
        self.outbound.resume()

    def fill(self) -> None:
        """Let the transport's buffer pass its high-water mark, and drain no more."""
        self.transport.stall()
        self.outbound.send(b"f" * (self.transport.high_water + 1))

    def offer(self, text: bytes, rule: SlowRule | None = None, key: str = "") -> Action | None:
        """Offer a channel's message."""
        waiting = Waiting(text, Audience.EVERYONE, 0, "", 0, key)
        batch = Batch("a", rule or SlowRule(), ReadyFrame(text), [waiting])
        return self.outbound.offer(batch, self.slow.now())


def test_healthy_client_is_written_to_directly() -> None:
    """Without pressure `send` is the transport's own `write`: nothing stands in between."""
    watched = Watched()
    assert watched.outbound.send == watched.transport.write
    watched.outbound.send(b"x" * 1000)
    assert watched.offer(b"y") is None
    assert watched.transport.written == [b"x" * 1000, b"y"]
    assert len(watched.slow) == 0


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


def test_nothing_is_written_while_the_buffer_is_full() -> None:
    """What comes meanwhile waits in the node, and goes out in order when the buffer drains."""
    watched = Watched()
    watched.fill()
    assert watched.offer(b"one") is Action.KEEP
    watched.outbound.send(b"own")
    assert watched.offer(b"two") is Action.KEEP
    assert len(watched.transport.written) == 1
    watched.transport.drain()
    assert watched.transport.written[1:] == [b"one", b"own", b"two"]
    assert watched.outbound.pressure is Pressure.HEALTHY
    assert watched.slow.budget.bytes == 0


def test_no_more_than_a_buffer_is_written_at_a_time() -> None:
    """A slow client gets what it can take; the rest stays where the policies can act on it."""
    watched = Watched(FakeSlowClients(client_bytes=10_000))
    watched.fill()
    for _ in range(10):
        watched.offer(b"x" * 60)
    watched.transport.drain_to(0)
    assert len(watched.transport.written) == 1 + 2
    assert watched.pressures == [Pressure.CONGESTED]
    for _ in range(10):
        watched.transport.drain_to(0)
    assert watched.pressures == [Pressure.CONGESTED, Pressure.HEALTHY]
    assert len(watched.transport.written) == 1 + 10


def test_what_waits_is_bounded_over_all_channels() -> None:
    """Replies and channels together may wait up to the client's limit, exactly."""
    watched = Watched()
    watched.fill()
    watched.outbound.send(b"x" * 200)
    assert watched.offer(b"y" * 100) is Action.KEEP
    assert watched.ends == []
    watched.outbound.send(b"z")
    assert watched.ends == [Reason.CLIENT_BYTES]


def test_a_single_frame_larger_than_every_bound_waits() -> None:
    """A client is not slow for having been sent one large message."""
    watched = Watched()
    watched.fill()
    assert watched.offer(b"y" * 1000) is Action.KEEP
    assert watched.offer(b"y") is Action.CLOSE


def test_giving_up_is_reported_once() -> None:
    """A client that is given up gets nothing more, however often it is written to."""
    watched = Watched()
    watched.fill()
    rule = SlowRule(policy=Policy.DISCONNECT)
    stale = watched.outbound.send
    assert watched.offer(b"x", rule) is Action.CLOSE
    assert watched.offer(b"x", rule) is Action.SKIP
    stale(b"late")
    watched.outbound.send(b"late")
    assert watched.ends == [Reason.CONGESTED]
    assert watched.outbound.pressure is Pressure.ENDED
    assert len(watched.transport.written) == 1


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


def test_what_waits_is_let_go_at_the_end() -> None:
    """The backlog ends with the client; what the transport holds counts until that is gone."""
    watched = Watched()
    watched.fill()
    watched.offer(b"x" * 50)
    watched.outbound.end()
    assert watched.slow.budget.bytes == watched.transport.buffered
    assert len(watched.slow) == 0
    watched.outbound.lost()
    assert watched.slow.budget.bytes == 0


def test_a_transport_that_drains_after_the_end_is_counted_no_more() -> None:
    """Bytes that a closing client takes are gone at once."""
    watched = Watched()
    watched.fill()
    watched.outbound.end()
    watched.transport.drain()
    assert watched.slow.budget.bytes == 0
    watched.outbound.lost()
    assert watched.slow.budget.bytes == 0


def test_a_transport_that_closed_under_our_hands_harms_nobody() -> None:
    """Neither an offer to a client that is healthy again nor a drain raises."""
    watched = Watched()
    watched.fill()
    watched.offer(b"one")
    watched.transport.is_broken = True
    watched.transport.drain()
    assert watched.outbound.pressure is Pressure.HEALTHY
    assert watched.offer(b"two") is None
    assert len(watched.transport.written) == 1
