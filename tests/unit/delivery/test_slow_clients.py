"""The congested clients of a node: time limits and memory, at the expense of nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_node.delivery.batching import Audience, Batch, Waiting
from realtime_node.delivery.budget import HOLDING_BYTES, Budget, Shared
from realtime_node.delivery.flow import Policy, SlowRule
from realtime_node.delivery.outbound import Outbound, Pressure
from realtime_node.delivery.policies import Action, Reason
from realtime_node.delivery.slow_clients import MOST_AT_ONCE, SlowLimits
from realtime_node.protocol.deflate import UNCOMPRESSED
from tests.support.fakes import FakeSlowClients, FakeTransport, ReadyFrame

if TYPE_CHECKING:
    import asyncio

QUEUE = SlowRule(max_age_s=5, max_bytes=1_000_000)
LATEST = SlowRule(policy=Policy.LATEST)


class Client:
    """A client whose buffer is full."""

    def __init__(self, slow: FakeSlowClients, buffered: int = 101) -> None:
        self.slow = slow
        self.transport = FakeTransport(100)
        self.transport.set_protocol(self)
        self.transport.stall()
        self.ends: list[Reason] = []
        self.outbound = Outbound(
            self.transport, slow, on_pressure=lambda: None, on_slow=self.ends.append
        )
        self.outbound.send(b"x" * buffered)

    def pause_writing(self) -> None:
        """Pass congestion on."""
        self.outbound.pause()

    def resume_writing(self) -> None:
        """Pass its end on."""
        self.outbound.resume()

    def offer(self, frame: bytes, rule: SlowRule = QUEUE) -> Action | None:
        """Offer a frame of one message."""
        return self.outbound.offer(batch(frame, rule), self.slow.now())


def batch(frame: bytes, rule: SlowRule = QUEUE) -> Batch:
    """A frame of one message."""
    return Batch("a", rule, ReadyFrame(frame), [Waiting(frame, Audience.EVERYONE, 0, "", 0)])


def pass_time(slow: FakeSlowClients, seconds: float) -> None:
    """Let time pass, half a second at a time."""
    for _ in range(round(seconds * 2)):
        slow.clock.advance(0.5)
        slow.run_due()


def test_a_frame_is_counted_once_however_many_hold_it() -> None:
    """Memory is what is there: one frame, and what each holder notes about it."""
    budget = Budget(1_000, lambda: None)
    shared = Shared(b"x" * 100)
    for _ in range(3):
        budget.hold(shared)
    assert budget.bytes == 100 + 3 * HOLDING_BYTES
    for _ in range(3):
        budget.release(shared)
    assert budget.bytes == 0


def test_the_frame_that_fills_a_buffer_is_known_as_shared() -> None:
    """Three hundred clients that choke on one large frame hold one frame."""
    slow = FakeSlowClients()
    clients = [Client(slow, buffered=10) for _ in range(300)]
    frame = batch(b"y" * 10_000)
    for client in clients:
        client.outbound.offer(frame, slow.now())
    assert len(slow) == 300
    assert slow.budget.bytes == 10_000 + 300 * (HOLDING_BYTES + 10)


def test_a_frame_that_was_sent_in_part_is_still_one_frame() -> None:
    """What the kernel took of a frame at once does not make the rest a copy."""
    slow = FakeSlowClients()
    client = Client(slow, buffered=10)
    frame = batch(b"y" * 10_000)
    slow.writing = frame.frame.on(UNCOMPRESSED)
    client.transport.buffered = 9_000
    client.outbound.pause()
    assert slow.budget.bytes == 10_000 + HOLDING_BYTES


def test_a_queue_that_grows_old_ends_without_another_message() -> None:
    """The oldest message may wait for five seconds, whether or not others come."""
    slow = FakeSlowClients()
    client = Client(slow)
    client.offer(b"x")
    pass_time(slow, 5)
    assert client.ends == []
    client.transport.drain_to(90)
    pass_time(slow, 0.5)
    assert client.ends == [Reason.AGE]


def test_who_takes_nothing_at_all_is_cut_off() -> None:
    """After the write timeout there is no way to tell such a client anything."""
    slow = FakeSlowClients(write_timeout_s=10)
    client = Client(slow)
    client.offer(b"x", LATEST)
    pass_time(slow, 9.5)
    assert client.ends == []
    pass_time(slow, 0.5)
    assert client.ends == [Reason.STALLED]
    assert client.ends[0].cuts_off


def test_who_takes_a_little_is_not_stalled() -> None:
    """A slow client of newest values stays as long as it takes anything."""
    slow = FakeSlowClients(write_timeout_s=10)
    client = Client(slow)
    client.offer(b"x", LATEST)
    for left in range(100, 40, -1):
        client.transport.drain_to(left)
        pass_time(slow, 5)
    assert client.ends == []


def test_the_worst_go_first_when_memory_is_short() -> None:
    """Those with most waiting are cut off until the rest fits; the healthy are not looked at."""
    slow = FakeSlowClients(client_bytes=100_000, node_bytes=10_000)
    healthy = Client(slow, buffered=10)
    light, heavy, heaviest = (Client(slow) for _ in range(3))
    for client, size in ((light, 1000), (heavy, 4000), (heaviest, 6000)):
        client.offer(b"%d" % size + b"x" * size)
    slow.run_due()
    assert [each.ends for each in (healthy, light, heavy, heaviest)] == [
        [],
        [],
        [],
        [Reason.NODE_BYTES],
    ]
    assert slow.budget.bytes <= 10_000
    assert healthy.outbound.pressure is Pressure.HEALTHY


def test_many_slow_clients_are_looked_at_in_parts() -> None:
    """No step of the loop looks at, or closes, more than a few hundred; all have their turn."""
    slow = FakeSlowClients(write_timeout_s=1)
    clients = [Client(slow) for _ in range(1000)]
    looked_at: list[object] = []

    def unsent_bytes(transport: asyncio.WriteTransport) -> int:
        looked_at.append(transport)
        return transport.get_write_buffer_size()

    slow.unsent_bytes = unsent_bytes
    most = 0
    slow.clock.advance(0.5)
    while len(looked_at) < len(clients):
        before = len(looked_at)
        slow.run_due()
        most = max(most, len(looked_at) - before)
    assert most == MOST_AT_ONCE
    assert slow.unsent_total == 1000 * 101
    slow.clock.advance(0.5)
    while any(not each.ends for each in clients):
        before = sum(len(each.ends) for each in clients)
        slow.run_due()
        assert sum(len(each.ends) for each in clients) - before <= MOST_AT_ONCE
    assert len(slow) == 0


def test_many_are_cut_off_in_parts_when_memory_is_short() -> None:
    """A limit that falls to almost nothing ends everybody, a part in each step of the loop."""
    slow = FakeSlowClients()
    clients = [Client(slow) for _ in range(1000)]
    slow.change(SlowLimits(client_bytes=1, node_bytes=1, write_timeout_s=10))
    while any(not each.ends for each in clients):
        before = sum(len(each.ends) for each in clients)
        slow.run_due()
        assert 0 < sum(len(each.ends) for each in clients) - before <= MOST_AT_ONCE
    assert slow.budget.bytes == 0


def test_nobody_is_looked_at_while_nobody_is_slow() -> None:
    """The timer runs only while there are slow clients."""
    slow = FakeSlowClients()
    assert slow.timers == []
    client = Client(slow)
    pass_time(slow, 2)
    assert len(slow.timers) == 1
    client.transport.drain()
    pass_time(slow, 1)
    assert slow.timers == []


def test_every_outcome_is_counted() -> None:
    """Kept, skipped, replaced and closed, by policy and reason."""
    slow = FakeSlowClients()
    client = Client(slow)
    slow.offer((client,), batch(b"one", LATEST))  # type: ignore[arg-type]
    slow.offer((client,), batch(b"two", LATEST))  # type: ignore[arg-type]
    slow.offer((client,), batch(b"x", SlowRule(policy=Policy.DROP)))  # type: ignore[arg-type]
    slow.offer((client,), batch(b"x", SlowRule(policy=Policy.DISCONNECT)))  # type: ignore[arg-type]
    exposed = slow.metrics.expose().decode()
    for line in (
        'realtime_slow_client_messages_total{outcome="kept",policy="latest"} 2.0',
        'realtime_slow_client_messages_total{outcome="skipped",policy="drop"} 1.0',
        'realtime_slow_client_closes_total{policy="disconnect",reason="congested"} 1.0',
        "realtime_slow_client_replaced_total 1.0",
    ):
        assert line in exposed
