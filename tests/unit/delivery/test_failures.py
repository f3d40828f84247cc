"""What fails unexpectedly in the delivery costs one channel, and the others never wait for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from realtime_node.cluster.backplane import NodeInfo, StreamOptions
from realtime_node.cluster.in_memory.backplane import InMemoryBackplane
from realtime_node.cluster.in_memory.cluster import InMemoryCluster
from realtime_node.delivery import hub as hub_module
from realtime_node.delivery import rounds as rounds_module
from realtime_node.delivery.channel import MAX_FAILURES
from realtime_node.delivery.hub import PAUSE_S, Hub
from realtime_node.failures import Failures, recording
from realtime_node.protocol.json_codec import JsonCodec
from realtime_node.protocol.messages import Publication, Push, StreamPosition
from realtime_node.telemetry.metrics import Metrics, total
from tests.support.conditions import NEVER_S, eventually
from tests.support.fakes import FakeSlowClients, entry, framer_of, plain_flow, settle
from tests.unit.delivery.listeners import Listener

if TYPE_CHECKING:
    from realtime_node.cluster.backplane import Entry

CHANNELS = "abc"
ERRORS = [ValueError("a bug"), asyncio.CancelledError()]


class Fault:
    """Raises once, at the call that the test chose, wherever that is."""

    def __init__(self) -> None:
        self.calls_left = -1
        self.error: BaseException = ValueError()

    def hit(self) -> None:
        """Count a call."""
        self.calls_left -= 1
        if self.calls_left == 0:
            raise self.error


class FaultyCodec(JsonCodec):
    """A codec that may raise."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def encode_push(self, push: Push) -> bytes:
        """Encode, or raise."""
        self._fault.hit()
        return super().encode_push(push)

    def join(self, messages: Sequence[bytes]) -> bytes:
        """Join, or raise."""
        self._fault.hit()
        return super().join(messages)


class FaultyMetrics:
    """Metrics that may raise."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def __getattr__(self, _name: str) -> FaultyMetrics:
        return self

    def inc(self, _amount: float = 1) -> None:
        """Raise, or do nothing."""
        self._fault.hit()


class Member(Listener):
    """A subscriber whose transport and session may raise."""

    def __init__(self, hub: Hub, channel: str, fault: Fault) -> None:
        super().__init__(hub, channel, follows_stream=True, high_water=100_000)
        self.fault = fault
        write = self.transport.write

        def faulty(data: Any) -> None:
            fault.hit()
            write(data)

        self.transport.write = faulty  # type: ignore[method-assign]
        self.outbound.send = faulty

    def lose_position(self, channel: str) -> bool:
        """Be told, or raise."""
        self.fault.hit()
        return super().lose_position(channel)

    @property
    def is_gone(self) -> bool:
        """Whether it was told of a loss, or cut off."""
        return self.losses > 0 or self.transport.end == "aborted"


class World:
    """A hub that may fail, with members in each channel."""

    def __init__(self) -> None:
        self.fault = Fault()
        self.slow = FakeSlowClients()
        self.codec = FaultyCodec(self.fault)
        self.hub = Hub(
            self.codec,
            FaultyMetrics(self.fault),  # type: ignore[arg-type]
            self.slow,
            framer=framer_of(),
            flow_of=plain_flow,
            on_deserted=lambda _channel: self.fault.hit(),
            on_control=lambda _control: None,
        )
        self.offsets = Counter[str]()
        self.sequence = 0
        self.members = [Member(self.hub, name, self.fault) for name in CHANNELS * 2]
        for member in self.members:
            member.join(self.top(member.channel))

    def top(self, channel: str) -> StreamPosition:
        """Where the stream of a channel stands."""
        return StreamPosition(offset=self.offsets[channel], epoch="e")

    def published(self, channels: str) -> list[Entry]:
        """Entries, one for each of `channels`."""
        entries = []
        for name in channels:
            self.offsets[name] += 1
            self.sequence += 1
            offset = self.offsets[name]
            entries.append(entry(name, offset, sequence=self.sequence, offset=offset, epoch="e"))
        return entries

    async def receive(self, channels: str) -> None:
        """Publish to channels and let the loop write it; the reader is never held for good."""
        await asyncio.wait_for(self.hub.receive(self.published(channels)), NEVER_S)
        await self.settle()

    async def settle(self) -> None:
        """Let the loop do what it does at once, and what it does after a pause."""
        for _ in range(4):
            await settle(40)
            self.slow.clock.advance(PAUSE_S)
            self.hub._rounds.wake_due()

    def check(self) -> None:
        """Everybody saw its stream up to its end, or was told; the books are right."""
        channels = self.hub._channels.values()
        assert self.hub.backlog == sum(len(each.waiting) for each in channels) == 0
        assert not any(each.has_work for each in channels)
        for member in self.members:
            assert member.offsets == list(range(1, len(member.offsets) + 1)), "out of order"
            if not member.is_gone:
                seen = len(member.offsets)
                assert seen == self.offsets[member.channel], "left behind without a word"


@contextmanager
def small_bounds() -> Iterator[None]:
    """Few messages may wait, and few writes are made in a pass."""
    with (
        mock.patch.object(hub_module, "MAX_BACKLOG", 8),
        mock.patch.object(rounds_module, "WRITES_PER_PASS", 3),
        recording(Failures()),
    ):
        yield


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.sampled_from(CHANNELS), min_size=1, max_size=20),
            st.integers(0, 60),
            st.sampled_from(ERRORS),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_raises_the_books_are_right_and_nobody_misses_anything_unnoticed(
    script: list[tuple[str, int, BaseException]],
) -> None:
    """One call of codec, metrics, transports, sessions or backplane raises, any of them."""

    async def run() -> None:
        world = World()
        for channels, call, error in script:
            world.fault.calls_left, world.fault.error = call, error
            await world.receive(channels)
            world.fault.calls_left = -1
            await world.receive(CHANNELS)
            world.check()

    with small_bounds():
        asyncio.run(run())


@pytest.fixture
def watched() -> Iterator[World]:
    """A world with small bounds."""
    with small_bounds():
        yield World()


def failing(error: BaseException) -> Any:
    """A function that always raises."""

    def fail(*_args: object, **_kwargs: object) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("error", ERRORS)
async def test_a_channel_that_cannot_be_served_costs_itself_only(
    watched: World, error: BaseException
) -> None:
    """Its members are told, the others are served, it works again, and the reader reads on."""
    a, b = watched.members[0], watched.members[1]
    with mock.patch.object(watched.codec, "join", failing(error)):
        await watched.receive("a")
    assert [each.losses for each in watched.members if each.channel == "a"] == [1, 1]
    await watched.receive("b" * 10)
    assert (b.losses, b.offsets) == (0, [*range(1, 11)])
    again = Member(watched.hub, "a", watched.fault)
    again.join(watched.top("a"))
    await watched.receive("a")
    assert (a.offsets, again.offsets) == ([], [2])


@pytest.mark.parametrize(
    ("failures", "delivered"),
    [(MAX_FAILURES - 1, [*range(16 * (MAX_FAILURES - 1), 100)]), (MAX_FAILURES, [])],
)
async def test_a_channel_that_fails_again_and_again_is_emptied(
    watched: World, failures: int, delivered: list[int]
) -> None:
    """A frame that fails is dropped alone; with the third in a row everything that waits is."""
    metrics = Metrics().delivery
    watched.hub._metrics = metrics
    loose = Listener(watched.hub, "d", high_water=100_000)
    loose.join(StreamPosition())
    frames = [ValueError("a bug")] * failures + [mock.DEFAULT] * 10
    with (
        mock.patch.object(watched.codec, "join", side_effect=frames, wraps=watched.codec.join),
        mock.patch.object(hub_module, "MAX_BACKLOG", 1000),
    ):
        await watched.hub.receive([entry("d", number) for number in range(100)])
        await watched.settle()
    assert loose.data == delivered
    assert total(metrics.entries_failed) == 100 - len(delivered)
    await watched.hub.receive([entry("d", "well")])
    await watched.settle()
    assert loose.data == [*delivered, "well"]


async def test_who_cannot_be_told_of_a_loss_is_cut_off(watched: World) -> None:
    """It would go on from a later message as if it had seen all."""
    a = watched.members[0]
    with mock.patch.object(a, "lose_position", failing(ValueError("a bug"))):
        watched.hub.lost(0, ["a"])
        await watched.settle()
    assert a.transport.end == "aborted"
    assert watched.members[3].losses == 1
    await watched.receive("a")
    assert a.offsets == []


class Poisonable(JsonCodec):
    """A codec that cannot take one publication, when it is encoded or when it is framed."""

    def __init__(self, where: str) -> None:
        self._where = where

    def encode_push(self, push: Push) -> bytes:
        """Encode."""
        encoded = super().encode_push(push)
        if self._where == "encoded" and b"poison" in encoded:
            raise ValueError("poison")
        return encoded

    def join(self, messages: Sequence[bytes]) -> bytes:
        """Join."""
        if self._where == "framed" and any(b"poison" in each for each in messages):
            raise ValueError("poison")
        return super().join(messages)


def describe() -> NodeInfo:
    """Describe a node."""
    return NodeInfo(uid="u", name="n", version="v")


@pytest.mark.parametrize("where", ["encoded", "framed"])
async def test_a_poisoned_entry_at_three_nodes_ends_none_of_them(where: str) -> None:
    """Its channel is told to recover on each node, it is counted, and other channels go on."""
    options = StreamOptions(history_size=100, history_ttl_ms=60_000)
    cluster = InMemoryCluster()
    backplanes = [InMemoryBackplane(cluster) for _ in range(3)]
    metrics = [Metrics().delivery for _ in backplanes]
    members = []
    with recording(Failures()):
        for backplane, counts in zip(backplanes, metrics, strict=True):
            hub = Hub(
                Poisonable(where),
                counts,
                FakeSlowClients(),
                framer=framer_of(),
                flow_of=plain_flow,
                on_deserted=backplane.release,
                on_control=lambda _control: None,
            )
            await backplane.start(hub, describe)
            members.append({name: Listener(hub, name, follows_stream=True) for name in "ab"})
            for name, member in members[-1].items():
                joiner = member.ask()
                answer = await backplane.subscribe(name, options)
                hub.finish_join(name, joiner, answer.top)
        try:
            for data in (Raw(b'"poison"'), Raw(b'"well"')):
                await backplanes[0].publish("a", Publication(data=data), options)
                await backplanes[1].publish("b", Publication(data=Raw(b'"well"')), options)
                await eventually(lambda: all(each["a"].losses for each in members))
            await eventually(lambda: all(each["b"].offsets == [1, 2] for each in members))
            assert [each["a"].losses for each in members] == [1, 1, 1]
            assert [total(each.entries_failed) for each in metrics] == [1, 1, 1]
        finally:
            for backplane in backplanes:
                await backplane.close()
