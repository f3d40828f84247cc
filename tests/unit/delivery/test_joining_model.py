"""Joining against a model: a stream, an inbox that lags behind it, and clients that come and go.

The store is a list of publications with epochs and offsets. What is published waits in the inbox
for as long as hypothesis likes; a client's question is answered for the instant when the store
executed it, and that answer arrives as late as hypothesis likes. Meanwhile clients leave, come
back, stop reading, lose their transport, and entries are lost.

The invariant is the backplane's promise, seen from a client: from the position it was told it sees
every following offset exactly once and in order, or its position is declared lost.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from realtime_node.delivery import hub as hub_module
from realtime_node.delivery import joining as joining_module
from realtime_node.delivery import rounds as rounds_module
from realtime_node.delivery.hub import Hub
from realtime_node.protocol.deflate import UNCOMPRESSED, Wire
from realtime_node.protocol.json_codec import JsonCodec
from realtime_node.protocol.messages import StreamPosition
from realtime_node.telemetry.metrics import Metrics
from tests.support.fakes import FakeSlowClients, entry, framer_of, plain_flow
from tests.support.selection import examples
from tests.unit.delivery.listeners import Listener

CLIENTS = 4
LIMIT_BYTES = 300
WIRES = (UNCOMPRESSED, 15, 9, 15)
"""What each client reads."""
LARGEST_FRAME = 16 * 80
"""A few publications."""
clients = st.integers(0, CLIENTS - 1)


@dataclass(frozen=True)
class Published:
    """A publication in the store; `number` counts over all epochs."""

    number: int
    offset: int
    epoch: str


class Client:
    """One subscription after the other of one client, and what it may see."""

    def __init__(self, model: JoiningModel, *, follows_stream: bool, wire: Wire) -> None:
        self.model = model
        self.wire = wire
        self.follows_stream = follows_stream
        self.begin_anew()

    def begin_anew(self) -> None:
        """Be away, with a new connection."""
        self.listener = Listener(
            self.model.hub,
            follows_stream=self.follows_stream,
            high_water=LIMIT_BYTES // 2,
            wire=self.wire,
        )
        self.joiner: Any = None
        self.answer: StreamPosition | None = None
        self.asked_at = 0
        self.position: StreamPosition | None = None
        self.read = 0
        self.numbers: list[int] = []

    @property
    def state(self) -> str:
        """Where it is between coming and going."""
        if self.listener.losses or self.listener.ends:
            return "gone"
        if self.position is not None:
            return "subscribed"
        if self.joiner is None:
            return "away"
        return "asking" if self.answer is None else "answered"

    def look(self) -> None:
        """Read what came and hold it against the promise."""
        outbound, transport = self.listener.outbound, self.listener.transport
        waiting = outbound.waiting_bytes - transport.buffered
        assert transport.buffered <= transport.high_water + LARGEST_FRAME, "written to while full"
        assert waiting <= LIMIT_BYTES + LARGEST_FRAME, "more waits for it than may"
        if self.model.is_calm:
            assert not self.listener.losses, "told of a loss that never was"
        for frame_message in self.listener.messages[self.read :]:
            self.read += 1
            assert self.position is not None, "written to before it was told its position"
            published = self.model.stream[frame_message["push"]["pub"]["data"]]
            if self.follows_stream:
                assert published.epoch == self.position.epoch, "of another epoch"
                assert published.offset == self.position.offset + 1, "twice, or out of order"
                self.position = StreamPosition(offset=published.offset, epoch=published.epoch)
            else:
                assert [published.number] > self.numbers[-1:], "twice, or out of order"
            self.numbers.append(published.number)


class JoiningModel(RuleBasedStateMachine):
    """The rules."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.patches = [
            mock.patch.object(rounds_module, "WRITES_PER_PASS", 2),
            mock.patch.object(joining_module, "MAX_KEPT_MESSAGES", 6),
        ]
        for patch in self.patches:
            patch.start()
        logging.getLogger(hub_module.__name__).disabled = True
        self.stream: list[Published] = []
        self.offset = 0
        self.epochs = 1
        self.inbox: list[Published] = []
        self.is_interested = False
        self.sequence = 0
        self.has_lost = False
        self.may_lose = self.may_begin_anew = False
        self.hub = Hub(
            JsonCodec(),
            Metrics().delivery,
            FakeSlowClients(client_bytes=LIMIT_BYTES),
            framer=framer_of(),
            flow_of=plain_flow,
            on_deserted=self._on_deserted,
            on_control=lambda _control: None,
        )
        self.clients: list[Client] = []

    @initialize(
        loose=st.sets(clients, max_size=2), may_lose=st.booleans(), may_begin_anew=st.booleans()
    )
    def meet(self, loose: set[int], *, may_lose: bool, may_begin_anew: bool) -> None:
        """Some clients are promised no position; and some runs are calm ones."""
        self.may_lose, self.may_begin_anew = may_lose, may_begin_anew
        self.clients = [
            Client(self, follows_stream=i not in loose, wire=wire) for i, wire in enumerate(WIRES)
        ]

    def teardown(self) -> None:
        """Let everything arrive, and see that nobody is left behind."""
        try:
            if self.clients:
                self._arrive()
        finally:
            logging.getLogger(hub_module.__name__).disabled = False
            for patch in self.patches:
                patch.stop()
            self.loop.close()

    def _arrive(self) -> None:
        for client in self.clients:
            if client.state == "asking":
                self._execute(client)
            if client.state == "answered":
                self._tell(client)
            client.listener.transport.drain()
        # One more of each makes every hole show.
        self.publish(1)
        self.deliver(len(self.inbox))
        self._run(60)
        for client in self.clients:
            client.look()
            if client.state == "subscribed" and not client.listener.transport.is_broken:
                if client.follows_stream:
                    assert client.position == self._top(), "left behind without a word"
                elif not self.has_lost:
                    expected = range(client.asked_at, len(self.stream))
                    assert set(expected) <= set(client.numbers), "left out"
        assert self.hub.backlog == 0

    # --- the store ----------------------------------------------------------------------------

    def _top(self) -> StreamPosition:
        return StreamPosition(offset=self.offset, epoch=f"e{self.epochs}")

    @rule(count=st.integers(1, 4))
    def publish(self, count: int) -> None:
        """Something is published, into the inbox too if this node is interested."""
        for _ in range(count):
            self.offset += 1
            published = Published(len(self.stream), self.offset, f"e{self.epochs}")
            self.stream.append(published)
            if self.is_interested:
                self.inbox.append(published)

    @property
    def is_calm(self) -> bool:
        """Whether nothing happened that may cost anybody its position."""
        return not self.has_lost and self.epochs == 1

    @precondition(lambda self: self.may_begin_anew)
    @rule()
    def begin_another_epoch(self) -> None:
        """The stream begins anew."""
        self.epochs += 1
        self.offset = 0

    @precondition(lambda self: self.inbox and self.may_lose)
    @rule(index=st.integers(0, 100))
    def lose_entry(self, index: int) -> None:
        """An entry vanishes on its way, and only its offset tells."""
        del self.inbox[index % len(self.inbox)]
        self.has_lost = True

    @precondition(lambda self: self.inbox and self.may_lose)
    @rule(passes=st.sampled_from([0, 1, 60]))
    def lose_inbox(self, passes: int) -> None:
        """The node's inbox is trimmed and the reader notices: everybody is told, slice by slice."""
        self.inbox.clear()
        self.has_lost = True

        async def lose() -> None:
            self.hub.lost(0, None)

        self.loop.run_until_complete(lose())
        self._run(passes)
        if passes < len(self.clients):
            return  # who has not been told may see nothing further; `look` holds that
        for client in self.clients:
            if client.follows_stream and client.state != "away":
                assert client.state == "gone" or client.joiner.is_incomplete

    def _on_deserted(self, _channel: str) -> None:
        self.is_interested = False

    # --- the loop -----------------------------------------------------------------------------

    def _run(self, passes: int) -> None:
        async def turn() -> None:
            for _ in range(passes):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turn())

    @precondition(lambda self: self.inbox)
    @rule(count=st.integers(1, 8))
    def deliver(self, count: int) -> None:
        """The reader hands over a part of the inbox."""
        taken, self.inbox = self.inbox[:count], self.inbox[count:]
        entries = []
        for each in taken:
            self.sequence += 1
            entries.append(
                entry(
                    "a",
                    each.number,
                    sequence=self.sequence,
                    offset=each.offset,
                    epoch=each.epoch,
                )
            )
        self.loop.run_until_complete(self.hub.receive(entries))

    @rule(passes=st.integers(1, 4))
    def turn(self, passes: int) -> None:
        """The loop turns: a slice is written in each pass."""
        self._run(passes)

    @rule(published=st.integers(1, 3), delivered=st.integers(0, 3), passes=st.integers(0, 2))
    def flow(self, published: int, delivered: int, passes: int) -> None:
        """The stream goes on, a little of everything."""
        self.publish(published)
        if delivered:
            self.deliver(delivered)
        self._run(passes)

    # --- clients ------------------------------------------------------------------------------

    @rule(which=clients, executed=st.booleans())
    def ask(self, which: int, *, executed: bool = False) -> None:
        """A client begins to subscribe; the store may execute its question at once."""
        client = self.clients[which]
        if client.state == "gone":
            client.begin_anew()
        if client.state == "away":
            client.joiner = client.listener.ask()
            if executed:
                self._execute(client)

    def _execute(self, client: Client) -> None:
        self.is_interested = True
        client.asked_at = len(self.stream)
        client.answer = self._top() if client.follows_stream else StreamPosition()

    @rule(which=clients)
    def execute(self, which: int) -> None:
        """The store executes its question."""
        if self.clients[which].state == "asking":
            self._execute(self.clients[which])

    def _tell(self, client: Client, *, is_late: bool = False) -> None:
        is_incomplete = client.joiner.is_incomplete
        if is_incomplete and not is_late:
            client.listener.leave()  # error 100: it asks again
            client.begin_anew()
            return
        assert client.answer is not None
        client.position = client.answer
        self.hub.finish_join("a", client.joiner, client.answer)
        if is_incomplete and client.follows_stream:
            assert client.listener.losses == 1, "started with a hole"
            client.begin_anew()
        elif is_incomplete:
            client.asked_at = len(self.stream)  # without a position nothing earlier was promised

    @rule(which=clients, is_late=st.booleans())
    def tell(self, which: int, *, is_late: bool = False) -> None:
        """Its answer arrives; a late client has looked for holes before there were any."""
        if self.clients[which].state == "answered":
            self._tell(self.clients[which], is_late=is_late)

    @rule()
    def tell_everybody(self) -> None:
        """All answers arrive."""
        for which in range(CLIENTS):
            self.tell(which)

    @rule(which=clients)
    def subscribe(self, which: int) -> None:
        """All three at once."""
        self.ask(which, executed=True)
        self.tell(which)

    @rule()
    def subscribe_everybody(self) -> None:
        """All clients come."""
        for which in range(CLIENTS):
            self.subscribe(which)

    @rule(which=clients)
    def leave(self, which: int) -> None:
        """A client goes, at any time; it may come back at once."""
        client = self.clients[which]
        client.look()
        written = len(client.listener.frames)
        client.listener.leave()
        assert len(client.listener.frames) == written
        client.begin_anew()

    @rule(which=clients, flows=st.booleans())
    def rejoin(self, which: int, *, flows: bool) -> None:
        """A client goes and comes back over the same connection, perhaps during a fan-out."""
        if flows:
            self.flow(1, 3, 0)
        client = self.clients[which]
        if client.state == "subscribed":
            client.look()
            listener, read = client.listener, client.read
            listener.leave()
            client.begin_anew()
            client.listener, client.read = listener, read
            self.subscribe(which)

    @rule(which=clients)
    def stall(self, which: int) -> None:
        """A client stops reading."""
        self.clients[which].listener.transport.stall()

    @rule(which=clients)
    def drain(self, which: int) -> None:
        """It reads again."""
        self.clients[which].listener.transport.drain()

    @rule(which=clients)
    def break_transport(self, which: int) -> None:
        """Its transport closes, and nobody has told the hub yet."""
        self.clients[which].listener.transport.is_broken = True

    @invariant()
    def everybody_sees_the_stream(self) -> None:
        """Nothing twice, nothing out of order, nothing left out without a word."""
        for client in self.clients:
            client.look()

    @invariant()
    def backlog_is_what_waits(self) -> None:
        """The bound on the backlog counts what is there."""
        waiting = sum(len(channel.waiting) for channel in self.hub._channels.values())
        assert self.hub.backlog == waiting


TestJoiningModel = JoiningModel.TestCase
TestJoiningModel.settings = settings(
    max_examples=examples(300),
    stateful_step_count=40,
    suppress_health_check=[*HealthCheck],
)
