"""Slow clients against a model: any mixture of channels, policies, replies, drains and ends.

Clients share batches, as members of the same channels do. After every step what is counted is held
against what is really held, and what was written against what each policy promises.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from realtime_node.delivery.backlog import Backlog, _Values
from realtime_node.delivery.batching import Audience, Batch, Waiting
from realtime_node.delivery.budget import HOLDING_BYTES, Shared
from realtime_node.delivery.flow import Policy, SlowRule
from realtime_node.delivery.outbound import Outbound, Pressure
from realtime_node.delivery.policies import Reason
from realtime_node.protocol.deflate import UNCOMPRESSED, Wire
from tests.support.fakes import FakeSlowClients, FakeTransport, framer_of, payload_of
from tests.support.selection import examples

HIGH_WATER = 60
CLIENT_BYTES = 600
NODE_BYTES = 6_000
RULES = {
    policy.value: SlowRule(policy=policy, max_messages=8, max_bytes=300, max_age_s=5)
    for policy in Policy
}
WIRES = (UNCOMPRESSED, 15, 9)
"""What each client reads."""
CLIENTS = len(WIRES)
FRAMER = framer_of()
clients = st.integers(0, CLIENTS - 1)
channels = st.sampled_from(sorted(RULES))


class Client:
    """One client of every channel."""

    def __init__(self, slow: FakeSlowClients, wire: Wire) -> None:
        self.transport = FakeTransport(HIGH_WATER)
        self.transport.set_protocol(self)
        self.transport.stall()
        self.ends: list[Reason] = []
        self.outbound = Outbound(
            self.transport, slow, on_pressure=lambda: None, on_slow=self.ends.append, wire=wire
        )
        self.offered: dict[str, list[tuple[str, int]]] = {channel: [] for channel in RULES}
        """By channel: key and number of every message it was offered, in order."""
        self.own = 0

    def pause_writing(self) -> None:
        """Pass congestion on."""
        self.outbound.pause()

    def resume_writing(self) -> None:
        """Pass its end on."""
        self.outbound.resume()

    def written(self) -> list[tuple[str, str, int]]:
        """Channel, key and number of every message written, in order."""
        found = []
        for frame in self.transport.written:
            for line in payload_of(frame).split(b"\n"):
                channel, key, number, *_ = line.decode().split(" ")
                found.append((channel, key, int(number)))
        return found


class SlowModel(RuleBasedStateMachine):
    """Clients that are written to, read now and then, and end."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = FakeSlowClients(
            client_bytes=CLIENT_BYTES, node_bytes=NODE_BYTES, write_timeout_s=20
        )
        self.clients = [Client(self.slow, wire) for wire in WIRES]
        self.number = 0
        self.channels = sorted(RULES)

    @initialize(channels=st.sets(channels, min_size=1))
    def use(self, channels: set[str]) -> None:
        """Some runs know some policies only, or the strictest would end every client at once."""
        self.channels = sorted(channels)

    @rule(
        data=st.data(),
        messages=st.lists(
            st.tuples(st.sampled_from("xyz"), st.sampled_from([0, 10, 30])), min_size=1, max_size=3
        ),
    )
    def publish(self, data: st.DataObject, messages: list[tuple[str, int]]) -> None:
        """A frame goes to everybody, values conflated as the hub does it."""
        channel = data.draw(st.sampled_from(self.channels))
        if channel == Policy.LATEST:
            messages = list(dict(messages).items())
        waiting = []
        for key, size in messages:
            self.number += 1
            payload = f"{channel} {key} {self.number} {'.' * size}".encode()
            waiting.append(Waiting(payload, Audience.EVERYONE, self.number, "e", 0, key))
        frame = FRAMER.frame(b"\n".join(message.payload for message in waiting))
        batch = Batch(channel, RULES[channel], frame, waiting)
        for client in self.clients:
            if client.outbound.pressure is not Pressure.ENDED:
                client.offered[channel] += [(each.key, each.offset) for each in waiting]
                client.outbound.offer(batch, self.slow.now())

    @rule(which=clients, size=st.sampled_from([0, 50, 100]))
    def reply(self, which: int, size: int) -> None:
        """A client gets a reply of its own."""
        client = self.clients[which]
        if client.outbound.pressure is not Pressure.ENDED:
            client.own += 1
            payload = f"own - {client.own} {'.' * size}".encode()
            client.outbound.send(FRAMER.single(payload, client.outbound.wire))

    @rule(which=clients, left=st.sampled_from([0, 0, 10, 50]))
    def read(self, which: int, left: int) -> None:
        """A client takes some of what is in its buffer."""
        self.clients[which].transport.drain_to(left)

    @rule(seconds=st.sampled_from([0.5, 2.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.slow.clock.advance(seconds)
        self.slow.run_due()

    @rule(which=clients)
    def lose(self, which: int) -> None:
        """A connection is lost, and another client comes."""
        self.clients[which].outbound.lost()
        self.clients[which] = Client(self.slow, WIRES[which])

    @invariant()
    def what_is_written_is_promised(self) -> None:
        """Each policy's promise, message by message."""
        for client in self.clients:
            written = client.written()
            assert [n for channel, _, n in written if channel == "own"] == list(
                range(1, 1 + sum(channel == "own" for channel, _, _ in written))
            ), "a reply was lost or moved"
            for channel, offered in client.offered.items():
                got = [(key, number) for name, key, number in written if name == channel]
                numbers = [number for _, number in got]
                assert numbers == sorted(set(numbers)), "an older one after a newer one, or twice"
                assert set(got) <= set(offered)
                if channel in (Policy.QUEUE, Policy.DISCONNECT):
                    assert got == offered[: len(got)], "left out before the end"

    @invariant()
    def relieved_clients_have_what_they_are_owed(self) -> None:
        """Who has drained and was not closed has everything, or the newest of each key."""
        for client in self.clients:
            if client.outbound.pressure is not Pressure.HEALTHY:
                continue
            written = client.written()
            assert sum(channel == "own" for channel, _, _ in written) == client.own
            for channel, offered in client.offered.items():
                got = [(key, number) for name, key, number in written if name == channel]
                if channel in (Policy.QUEUE, Policy.DISCONNECT):
                    assert got == offered
                elif channel == Policy.LATEST:
                    assert dict(got) == dict(offered), "not the newest of every key"

    @invariant()
    def budget_counts_what_is_held(self) -> None:
        """A frame once, however many hold it; each holding; and what is in transports alone."""
        held: list[Shared] = []
        own = 0
        for client in self.clients:
            congestion = client.outbound._congestion
            if congestion is not None:
                held += congestion.written
                own += congestion.own_bytes
                held += _held(congestion.backlog)
                assert congestion.backlog.bytes == sum(
                    len(each.data) for each in _held(congestion.backlog)
                )
        unique = {id(each): len(each.data) for each in held}
        expected = sum(unique.values()) + len(held) * HOLDING_BYTES + own
        assert self.slow.budget.bytes == expected

    @invariant()
    def bounds_hold(self) -> None:
        """No client has more waiting than may, but for one frame that met nothing."""
        for client in self.clients:
            transport, outbound = client.transport, client.outbound
            largest = max(map(len, transport.written), default=0)
            assert transport.buffered <= HIGH_WATER + max(largest, CLIENT_BYTES)
            assert outbound.waiting_bytes - transport.buffered <= CLIENT_BYTES

    def teardown(self) -> None:
        """When all are gone nothing is counted."""
        for client in self.clients:
            client.outbound.lost()
        assert self.slow.budget.bytes == 0
        assert len(self.slow) == 0


def _held(backlog: Backlog) -> list[Shared]:
    held: list[Shared] = []
    for place in backlog._line:
        held += place.newest.values() if isinstance(place, _Values) else [place.frame]
    return held


TestSlowModel = SlowModel.TestCase
TestSlowModel.settings = settings(
    max_examples=examples(200),
    stateful_step_count=60,
    suppress_health_check=[*HealthCheck],
)
