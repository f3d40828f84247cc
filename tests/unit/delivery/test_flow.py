"""Frames in their time: intervals, staggered cohorts, newest values; and slow members."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_node.delivery.fanout import SMALLEST_COHORT, pace
from realtime_node.delivery.flow import PLAIN, BatchRule, Flow, Policy, SlowRule
from realtime_node.delivery.hub import Hub
from realtime_node.delivery.policies import Reason
from realtime_node.protocol.json_codec import JsonCodec
from realtime_node.protocol.messages import StreamPosition
from realtime_node.telemetry.metrics import Metrics, total
from tests.support.conditions import NEVER_S
from tests.support.fakes import FakeClock, FakeSlowClients, entry, framer_of, settle
from tests.unit.delivery.listeners import Listener

if TYPE_CHECKING:
    from realtime_node.cluster.backplane import Entry

NOWHERE = StreamPosition()
EVERY_20_MS = Flow(batch=BatchRule(interval_s=0.02))
BY_SYMBOL = SlowRule(policy=Policy.LATEST, key="symbol")
LATEST = Flow(slow=BY_SYMBOL)
LATEST_EVERY_20_MS = Flow(slow=BY_SYMBOL, batch=BatchRule(interval_s=0.02, max_messages=4))


class Watched:
    """A hub whose time the test turns."""

    def __init__(self, flow: Flow) -> None:
        metrics = Metrics()
        self.metrics = metrics.delivery
        self.clock = FakeClock()
        self.slow = FakeSlowClients(self.clock, metrics, client_bytes=100_000)
        self.hub = Hub(
            JsonCodec(),
            self.metrics,
            self.slow,
            framer=framer_of(metrics),
            flow_of=lambda _channel: flow,
            on_deserted=lambda _channel: None,
            on_control=lambda _control: None,
        )
        self.number = 0

    def listener(self, top: StreamPosition = NOWHERE, **options: Any) -> Listener:
        """A member, positioned if `top` is a position."""
        listener = Listener(self.hub, follows_stream=bool(top.epoch), **options)
        listener.join(top)
        return listener

    async def publish(self, *data: object, symbol: str = "") -> None:
        """Publish without history, and let the loop do what it does at once."""
        await self.receive(*(entry("a", each) for each in data), symbol=symbol)

    async def receive(self, *entries: Entry, symbol: str = "") -> None:
        """Take entries, all of one symbol, and let the loop do what it does at once."""
        if symbol:
            entries = tuple(tagged(each, symbol) for each in entries)
        await self.hub.receive(entries)
        await settle(40)

    async def wait(self, seconds: float) -> None:
        """Let time pass, a millisecond at a time."""
        for _ in range(round(seconds * 1000)):
            self.clock.advance(0.001)
            self.hub._rounds.wake_due()
            await settle(3)
        await settle()


def tagged(each: Entry, symbol: str) -> Entry:
    """An entry whose publication is a value of a symbol."""
    assert each.publication is not None
    publication = msgspec.structs.replace(each.publication, tags={"symbol": symbol})
    return msgspec.structs.replace(each, publication=publication)


def at(offset: int) -> StreamPosition:
    """A position."""
    return StreamPosition(offset=offset, epoch="e")


# --- intervals --------------------------------------------------------------------------------


async def test_an_interval_has_one_frame() -> None:
    """The first message goes at once, what follows within the interval shares the next frame."""
    watched = Watched(EVERY_20_MS)
    listeners = [watched.listener() for _ in range(3)]
    await watched.publish(1)
    assert [each.data for each in listeners] == [[1]] * 3
    for number in range(2, 6):
        await watched.publish(number)
        await watched.wait(0.002)
    assert [each.data for each in listeners] == [[1]] * 3
    await watched.wait(0.012)
    assert [each.data for each in listeners] == [[1, 2, 3, 4, 5]] * 3
    assert [len(each.frames) for each in listeners] == [2, 2, 2]
    assert total(watched.metrics.frames_built) == 2


async def test_a_message_waits_for_no_longer_than_the_interval() -> None:
    """After a silence nothing waits; within a stream everything is out at the interval's end."""
    watched = Watched(EVERY_20_MS)
    listener = watched.listener()
    await watched.publish(1)
    await watched.wait(0.05)
    await watched.publish(2)
    assert listener.data == [1, 2]
    await watched.wait(0.001)
    await watched.publish(3)
    await watched.wait(0.018)
    assert listener.data == [1, 2]
    await watched.wait(0.002)
    assert listener.data == [1, 2, 3]


async def test_a_full_frame_does_not_wait() -> None:
    """As many messages as fit a frame go at once, the rest at the interval's end."""
    watched = Watched(EVERY_20_MS)
    listener = watched.listener()
    await watched.publish(0)
    await watched.publish(*range(1, 20))
    assert listener.data == list(range(17))
    await watched.wait(0.021)
    assert listener.data == list(range(20))


async def test_frames_are_full_by_size_as_well() -> None:
    """Messages that fill a frame's bytes do not wait either."""
    watched = Watched(Flow(batch=BatchRule(interval_s=1, max_bytes=200)))
    listener = watched.listener()
    await watched.publish("first")
    await watched.publish("x" * 50)
    assert len(listener.data) == 1
    await watched.publish("y" * 150)
    assert len(listener.data) == 2


@pytest.mark.parametrize("is_hurried", [False, True])
async def test_many_channels_whose_time_comes_at_once_are_woken_in_parts(
    monkeypatch: pytest.MonkeyPatch, *, is_hurried: bool
) -> None:
    """No step of the loop queues more than some hundred of them, and all are served."""
    monkeypatch.setattr("realtime_node.delivery.rounds.MOST_WOKEN", 100)
    watched = Watched(EVERY_20_MS)
    listeners = [watched.listener(channel=str(number)) for number in range(350)]
    for data in (1, 2):
        await watched.receive(*(entry(each.channel, data) for each in listeners))
    assert [each.data for each in listeners] == [[1]] * 350
    if is_hurried:
        watched.hub._rounds.hurry()
    else:
        watched.clock.advance(0.021)
    for woken in (100, 200, 300, 350):
        watched.hub._rounds.wake_due()
        assert len(watched.hub._rounds._ready) == woken
    await settle(40)
    assert [each.data for each in listeners] == [[1, 2]] * 350


async def test_nobody_waits_for_a_publication_that_is_held_back() -> None:
    """Where frames have intervals a reply does not wait for its own publication."""
    watched = Watched(EVERY_20_MS)
    watched.listener()
    assert watched.hub.wait_delivered("a", 1) is None


async def test_a_channel_deserted_while_it_waits_is_forgotten() -> None:
    """What waited for nobody's frame is dropped, and the channel works again."""
    watched = Watched(EVERY_20_MS)
    first = watched.listener()
    await watched.publish(1, 2)
    await watched.publish(3)
    first.leave()
    assert (watched.hub.num_channels, watched.hub.backlog) == (0, 0)
    second = watched.listener()
    await watched.wait(0.05)
    await watched.publish(4)
    assert second.data == [4]


async def test_a_joiner_misses_nothing_that_waits() -> None:
    """What waits for the interval's end reaches a joiner if it lies beyond its position."""
    watched = Watched(EVERY_20_MS)
    member = watched.listener(at(0))
    await watched.receive(entry("a", 1, offset=1, epoch="e"))
    await watched.receive(*(entry("a", n, offset=n, epoch="e") for n in (2, 3)))
    joiner = watched.listener(at(2))
    await watched.wait(0.03)
    assert member.offsets == [1, 2, 3]
    assert joiner.offsets == [3]


# --- stagger ----------------------------------------------------------------------------------


@given(st.integers(0, 20_000), st.floats(0, 1))
def test_cohorts_cover_everybody_within_the_window(members: int, stagger_s: float) -> None:
    """Cohorts are of one size, none is tiny, and the last begins before the window ends."""
    cohort, gap_s = pace(members, stagger_s)
    assert cohort >= min(max(members, 1), SMALLEST_COHORT)
    if gap_s:
        assert (-(-members // cohort) - 1) * gap_s < stagger_s


async def test_a_frame_is_spread_over_the_stagger() -> None:
    """Cohorts of a large channel get a frame one after the other, all within the window."""
    watched = Watched(Flow(batch=BatchRule(interval_s=0.1), stagger_s=0.1))
    listeners = [watched.listener() for _ in range(400)]
    await watched.publish(1)
    reached = [sum(len(each.frames) for each in listeners)]
    for _ in range(20):
        await watched.wait(0.005)
        reached.append(sum(len(each.frames) for each in listeners))
    assert reached[0] == 50
    assert all(later - earlier in (0, 50) for earlier, later in pairwise(reached))
    assert reached[10] in (200, 250)
    assert reached[-1] == 400


async def test_order_holds_while_frames_are_spread() -> None:
    """Every member sees one order, though each gets its frames at another time."""
    watched = Watched(Flow(batch=BatchRule(interval_s=0.05), stagger_s=0.05))
    listeners = [watched.listener() for _ in range(200)]
    for number in range(40):
        await watched.publish(number)
        await watched.wait(0.005)
    await watched.wait(0.1)
    assert all(each.data == list(range(40)) for each in listeners)


async def test_a_small_channel_is_not_spread() -> None:
    """A handful of members get a frame at once."""
    watched = Watched(Flow(batch=BatchRule(interval_s=1), stagger_s=1))
    listeners = [watched.listener() for _ in range(SMALLEST_COHORT)]
    await watched.publish(1)
    assert all(each.data == [1] for each in listeners)


# --- newest values ----------------------------------------------------------------------------


async def test_a_frame_holds_the_newest_of_each_key() -> None:
    """Values that are outdated before their frame is made are not sent to anybody."""
    watched = Watched(LATEST_EVERY_20_MS)
    listener = watched.listener(at(0))
    await watched.receive(entry("a", 0, offset=1, epoch="e"), symbol="x")
    for offset in range(2, 42):
        symbol = "xyz"[offset % 3]
        await watched.receive(entry("a", offset, offset=offset, epoch="e"), symbol=symbol)
    assert listener.data == [0]
    await watched.wait(0.02)
    assert listener.data == [0, 39, 40, 41]
    assert listener.offsets == [1, 39, 40, 41]
    assert listener.losses == 0
    assert total(watched.metrics.conflated) == 37


async def test_more_keys_than_fit_a_frame_follow_at_once() -> None:
    """What is left of an interval's values comes in frames right behind the first."""
    watched = Watched(LATEST_EVERY_20_MS)
    listener = watched.listener()
    await watched.publish("first")
    for number in range(10):
        await watched.publish(number, symbol=f"s{number}")
    await watched.wait(0.021)
    assert listener.data == ["first", *range(10)]
    assert len(listener.frames) == 4


async def test_a_slow_member_of_newest_values_catches_up_with_the_newest() -> None:
    """It gets what was written before it was slow, then the newest of each key, in order."""
    watched = Watched(LATEST)
    slow, healthy = watched.listener(at(0)), watched.listener(at(0))
    slow.transport.stall()
    for offset in range(1, 101):
        symbol = "xyz"[offset % 3]
        await watched.receive(entry("a", offset, offset=offset, epoch="e"), symbol=symbol)
    before = list(slow.offsets)
    assert before == list(range(1, len(before) + 1))
    slow.transport.drain()
    assert slow.offsets == [*before, 98, 99, 100]
    assert healthy.offsets == list(range(1, 101))
    assert slow.ends == []
    assert watched.slow.budget.bytes == 0


async def test_who_subscribes_anew_gets_no_value_from_before() -> None:
    """What waited for a subscription that ended is gone with it."""
    watched = Watched(LATEST)
    slow, _ = watched.listener(), watched.listener()
    slow.transport.stall()
    for number in range(50):
        await watched.publish(number)
    slow.leave()
    slow.outbound.send(b"\x81\x02{}")
    slow.join(NOWHERE)
    await watched.publish(50)
    slow.transport.drain()
    assert slow.frames[-2] == b"\x81\x02{}"
    assert slow.messages[-1]["push"]["pub"]["data"] == 50


# --- other policies ---------------------------------------------------------------------------


async def test_a_slow_member_of_dropped_messages_misses_some() -> None:
    """It gets what comes when it has drained, and stays."""
    watched = Watched(Flow(slow=SlowRule(policy=Policy.DROP)))
    slow = watched.listener()
    slow.transport.stall()
    for number in range(50):
        await watched.publish(number)
    slow.transport.drain()
    before = len(slow.data)
    await watched.publish("next")
    assert 0 < before < 50
    assert slow.data == [*range(before), "next"]
    assert slow.ends == []


async def test_a_strict_channel_ends_a_slow_member_at_once() -> None:
    """The first message that cannot be written at once closes the client."""
    watched = Watched(Flow(slow=SlowRule(policy=Policy.DISCONNECT)))
    slow, healthy = watched.listener(), watched.listener()
    slow.transport.stall()
    for number in range(50):
        await watched.publish(number)
    assert slow.ends == [Reason.CONGESTED]
    assert slow.data == list(range(len(slow.data)))
    assert healthy.data == list(range(50))


@pytest.mark.parametrize("flow", [PLAIN, LATEST])
async def test_slow_members_cost_the_others_nothing(flow: Flow) -> None:
    """Nothing is written to a slow member, and the same bytes go to all others."""
    watched = Watched(flow)
    slow = [watched.listener() for _ in range(5)]
    healthy = [watched.listener() for _ in range(5)]
    for each in slow:
        each.transport.stall()
    for number in range(20):
        await watched.publish(str(number) * 20)
    written = [len(each.frames) for each in slow]
    for number in range(20):
        await watched.publish(number)
    assert [len(each.frames) for each in slow] == written
    assert [len(each.frames) for each in healthy] == [40] * 5


async def test_a_member_is_served_once_when_its_pressure_changes_within_a_fan_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between two slices a member may become slow, or stop to be: it gets the frame once."""
    monkeypatch.setattr("realtime_node.delivery.rounds.WRITES_PER_PASS", 4)
    watched = Watched(PLAIN)
    listeners = [watched.listener(high_water=100) for _ in range(12)]
    for number in range(60):
        await watched.hub.receive([entry("a", number)])
        turning = listeners[number * 5 % 12]
        if turning.transport.is_stalled:
            turning.transport.drain()
        else:
            turning.transport.stall()
        for _ in range(number % 4):
            await asyncio.sleep(0)
    for each in listeners:
        each.transport.drain()
    await settle(300)
    assert [each.data for each in listeners] == [list(range(60))] * 12


# --- other rules --------------------------------------------------------------------------------


async def test_a_channel_takes_new_rules_with_its_next_frame() -> None:
    """An interval that comes holds the second message back, and one that goes holds none."""
    flows = {"a": PLAIN}
    watched = Watched(PLAIN)
    watched.hub._flow_of = flows.__getitem__
    listener = watched.listener()
    flows["a"] = EVERY_20_MS
    watched.hub.retune(["a", "deserted"])
    await watched.publish(1)
    await watched.publish(2)
    assert listener.data == [1]
    await watched.wait(0.021)
    assert listener.data == [1, 2]
    flows["a"] = PLAIN
    watched.hub.retune(["a"])
    await watched.wait(0.021)
    await watched.publish(3)
    await watched.publish(4)
    assert listener.data == [1, 2, 3, 4]


# --- nobody waits for the clock at the others' cost ---------------------------------------------


async def test_a_full_frame_does_not_wait_for_the_stagger() -> None:
    """More messages than a frame holds within one window are all out soon after, in order."""
    watched = Watched(Flow(batch=BatchRule(interval_s=1), stagger_s=1))
    listeners = [watched.listener() for _ in range(200)]
    for number in range(300):
        await watched.publish(number)
        await watched.wait(0.01)
        assert watched.hub.backlog <= 2 * PLAIN.batch.max_messages
    await watched.wait(2)
    assert [each.data for each in listeners] == [list(range(300))] * 200


async def test_superseded_values_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often values change within an interval, no channel loses its interval by it."""
    monkeypatch.setattr("realtime_node.delivery.hub.MAX_BACKLOG", 100)
    watched = Watched(Flow(slow=BY_SYMBOL, batch=BatchRule(interval_s=10)))
    values, other = watched.listener(at(0)), watched.listener(channel="other")
    await watched.receive(entry("a", 1, offset=1, epoch="e"), entry("other", 1))
    await watched.receive(entry("other", 2))
    for offset in range(2, 1002):
        symbol = "xyz"[offset % 3]
        await watched.hub.receive([tagged(entry("a", 0, offset=offset, epoch="e"), symbol)])
        assert watched.hub.backlog <= 4
    await settle()
    assert (values.offsets, other.data) == ([1], [1])
    joiner = watched.listener(at(500))
    await watched.wait(10)
    assert values.offsets == [1, 999, 1000, 1001]
    assert joiner.offsets == [999, 1000, 1001]
    assert other.data == [1, 2]
    assert (values.losses, joiner.losses, watched.hub.backlog) == (0, 0, 0)
    assert total(watched.metrics.conflated) == 997


async def test_more_than_a_frame_per_window_is_spread_all_the_same() -> None:
    """At six frames a window none of the loop's steps writes a whole frame to everybody."""
    watched = Watched(Flow(batch=BatchRule(interval_s=1), stagger_s=1))
    listeners = [watched.listener() for _ in range(500)]
    reached = [0]
    for number in range(120):
        await watched.publish(number)
        await watched.wait(0.01)
        reached.append(sum(len(each.frames) for each in listeners))
        assert watched.hub.backlog <= 3 * PLAIN.batch.max_messages
    assert max(later - earlier for earlier, later in pairwise(reached)) <= 150
    await watched.wait(3)
    assert [each.data for each in listeners] == [list(range(120))] * 500


async def test_values_that_wait_for_an_interval_hold_up_no_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When too much waits for the clock it goes before its time, and the reader reads on."""
    monkeypatch.setattr("realtime_node.delivery.hub.MAX_BACKLOG", 100)
    watched = Watched(Flow(slow=BY_SYMBOL, batch=BatchRule(interval_s=10)))
    listener = watched.listener()
    await watched.publish("first")
    values = [tagged(entry("a", number), f"s{number}") for number in range(200)]
    for each in values[:50]:
        await asyncio.wait_for(watched.receive(each), NEVER_S)
    await asyncio.wait_for(watched.receive(*values[50:]), NEVER_S)
    assert listener.data[-1] == 199
    assert watched.hub.backlog == 0
    await watched.publish(200)
    assert listener.data[-1] == 199
    await watched.wait(10)
    assert listener.data[-1] == 200
