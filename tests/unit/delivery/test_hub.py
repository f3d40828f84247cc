"""The hub: entries in, shared frames out, in order, in turn and within bounds."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

import pytest

from realtime_node.cluster.backplane import Control, DisconnectUser, Entry, EntryKind
from realtime_node.delivery import hub as hub_module
from realtime_node.delivery import rounds as rounds_module
from realtime_node.delivery.flow import PLAIN, Flow
from realtime_node.delivery.hub import Hub
from realtime_node.delivery.joining import MAX_KEPT_MESSAGES
from realtime_node.delivery.outbound import Pressure
from realtime_node.delivery.policies import Reason
from realtime_node.failures import Failures, recording
from realtime_node.protocol.deflate import UNCOMPRESSED, Wire
from realtime_node.protocol.json_codec import JsonCodec
from realtime_node.protocol.messages import StreamPosition
from realtime_node.telemetry.metrics import Metrics, total
from tests.support.conditions import NEVER_S
from tests.support.fakes import FakeClock, FakeSlowClients, entry, framer_of, join_entry, settle
from tests.unit.delivery.listeners import Listener

NOWHERE = StreamPosition()
MAX_MESSAGES = PLAIN.batch.max_messages


class Watched:
    """A hub and what it reports."""

    def __init__(self, flow: Flow = PLAIN) -> None:
        metrics = Metrics()
        self.metrics = metrics.delivery
        self.compression = metrics.compression
        self.clock = FakeClock()
        self.slow = FakeSlowClients(self.clock, metrics)
        self.deserted: list[str] = []
        self.controls: list[Control] = []
        self.hub = Hub(
            JsonCodec(),
            self.metrics,
            self.slow,
            framer=framer_of(metrics),
            flow_of=lambda _channel: flow,
            on_deserted=self.deserted.append,
            on_control=self.controls.append,
        )

    def listener(
        self,
        channel: str = "a",
        *,
        top: StreamPosition = NOWHERE,
        joins: bool = False,
        high_water: int = 1000,
        wire: Wire = UNCOMPRESSED,
    ) -> Listener:
        """A member of a channel, positioned if `top` is a position."""
        listener = Listener(
            self.hub,
            channel,
            follows_stream=bool(top.epoch),
            joins=joins,
            high_water=high_water,
            wire=wire,
        )
        listener.join(top)
        return listener

    async def receive(self, *entries: Entry) -> None:
        """Take entries and let the loop write them."""
        await self.hub.receive(entries)
        await settle()


@pytest.fixture
def watched() -> Watched:
    """A hub."""
    return Watched()


def at(offset: int, epoch: str = "e") -> StreamPosition:
    """A position."""
    return StreamPosition(offset=offset, epoch=epoch)


def published(*offsets: int, epoch: str = "e", channel: str = "a") -> list[Entry]:
    """Entries of a channel with history."""
    return [
        entry(channel, offset, sequence=offset, offset=offset, epoch=epoch) for offset in offsets
    ]


# --- batches ----------------------------------------------------------------------------------


async def test_one_pass_makes_one_frame_that_everybody_shares(watched: Watched) -> None:
    """What arrives within a pass is framed once, and all members get the same bytes object."""
    listeners = [watched.listener() for _ in range(3)]
    await watched.hub.receive([entry("a", 1), entry("a", 2)])
    await watched.hub.receive([entry("a", 3)])
    assert all(listener.frames == [] for listener in listeners)
    await settle()
    assert [listener.data for listener in listeners] == [[1, 2, 3]] * 3
    assert [len(listener.frames) for listener in listeners] == [1, 1, 1]
    assert total(watched.metrics.frames_built) == 1
    assert total(watched.metrics.deliveries) == 9
    assert total(watched.metrics.entries_received) == 3


async def test_a_burst_is_cut_into_bounded_frames(watched: Watched) -> None:
    """More than fits one frame comes in several, in order."""
    listener = watched.listener()
    await watched.receive(*(entry("a", number) for number in range(2 * MAX_MESSAGES + 1)))
    assert listener.data == list(range(2 * MAX_MESSAGES + 1))
    assert len(listener.frames) == 3


async def test_channels_do_not_mix(watched: Watched) -> None:
    """Each channel's subscribers get that channel; entries of others are nobody's."""
    first, second = watched.listener("a"), watched.listener("b")
    await watched.receive(entry("b", 1), entry("a", 2), entry("nobody", 3), entry("b", 4))
    assert (first.data, second.data) == ([2], [1, 4])
    assert watched.hub.backlog == 0


async def test_order_holds_across_passes(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many slices a fan-out takes, every member sees one order."""
    monkeypatch.setattr(rounds_module, "WRITES_PER_PASS", 2)
    listeners = [watched.listener() for _ in range(7)]
    for number in range(30):
        await watched.hub.receive([entry("a", number)])
        await asyncio.sleep(0)
    await settle(200)
    assert [listener.data for listener in listeners] == [list(range(30))] * 7


async def test_joins_and_leaves_go_to_those_who_asked(watched: Watched) -> None:
    """Joins and leaves reach who wants them, in order with the publications."""
    curious, indifferent = watched.listener(joins=True), watched.listener()
    await watched.receive(
        join_entry("a", "c"), entry("a", 1), join_entry("a", "c", leaves=True), entry("a", 2)
    )
    kinds = [next(kind for kind in each["push"] if kind != "channel") for each in curious.messages]
    assert kinds == ["join", "pub", "leave", "pub"]
    assert curious.messages[0]["push"]["join"] == {"info": {"user": "", "client": "c"}}
    assert indifferent.data == [1, 2]
    assert len(indifferent.messages) == 2


async def test_control_messages_are_handed_on(watched: Watched) -> None:
    """A control message reaches whoever knows the sessions, at once."""
    control = DisconnectUser(user="u", code=3000, reason="r")
    await watched.hub.receive(
        [Entry(partition=0, sequence=1, kind=EntryKind.CONTROL, control=control)]
    )
    assert watched.controls == [control]


async def test_an_entry_that_fails_costs_its_own_channel_only(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in what takes one entry is logged and counted; the rest of the batch is delivered."""
    listener = watched.listener()

    def fail(_control: Control) -> None:
        raise AssertionError("a bug of ours")

    watched.hub._on_control = fail
    control = DisconnectUser(user="u", code=3000, reason="r")
    with recording(Failures()):
        await watched.receive(
            entry("a", 1),
            Entry(partition=0, sequence=2, kind=EntryKind.CONTROL, control=control),
            entry("a", 2),
        )
    assert listener.data == [1, 2]
    assert total(watched.metrics.entries_failed) == 1
    assert "a bug of ours" in caplog.text


# --- turns and bounds -------------------------------------------------------------------------


async def test_a_small_channel_does_not_wait_for_a_huge_one(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two slices of a huge channel the others have their turn."""
    monkeypatch.setattr(rounds_module, "WRITES_PER_PASS", 10)
    huge = [watched.listener("huge") for _ in range(200)]
    small = watched.listener("small")
    await watched.hub.receive([entry("huge", 1), entry("small", 2)])
    for _ in range(4):
        await asyncio.sleep(0)
    assert small.data == [2]
    assert 0 < sum(len(each.frames) for each in huge) < 200
    await settle(50)
    assert all(each.data == [1] for each in huge)


async def test_what_arrives_during_a_fan_out_shares_the_next_frame(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load the hub makes fewer, larger frames."""
    monkeypatch.setattr(rounds_module, "WRITES_PER_PASS", 10)
    listeners = [watched.listener() for _ in range(100)]
    for number in range(6):
        await watched.hub.receive([entry("a", number)])
        await asyncio.sleep(0)
    await settle(100)
    assert all(each.data == [0, 1, 2, 3, 4, 5] for each in listeners)
    assert total(watched.metrics.frames_built) == 2


async def test_full_backlog_holds_the_reader_until_half_is_out(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`receive` does not return while too much waits, and returns once there is room."""
    monkeypatch.setattr(hub_module, "MAX_BACKLOG", 100)
    monkeypatch.setattr(rounds_module, "WRITES_PER_PASS", 1)
    listener = watched.listener()
    reader = asyncio.create_task(watched.hub.receive([entry("a", n) for n in range(100)]))
    while not reader.done():
        assert len(listener.data) <= 100 - 50 + MAX_MESSAGES
        await asyncio.sleep(0)
    assert watched.hub.backlog <= 50
    await settle()
    assert listener.data == list(range(100))


async def test_reader_goes_on_when_the_full_channel_is_deserted(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody waits for any more holds nobody up."""
    monkeypatch.setattr(hub_module, "MAX_BACKLOG", 10)
    listener = watched.listener()
    reader = asyncio.create_task(watched.hub.receive([entry("a", n) for n in range(1000)]))
    await asyncio.sleep(0)
    listener.leave()
    await asyncio.wait_for(reader, NEVER_S)
    assert watched.hub.backlog == 0


# --- coming and going -------------------------------------------------------------------------


async def test_deserted_channel_is_reported_once(watched: Watched) -> None:
    """The last subscriber's leaving is reported; what still waits is dropped."""
    first, second = watched.listener(), watched.listener()
    await watched.hub.receive([entry("a", 1)])
    first.leave()
    assert watched.deserted == []
    second.leave()
    second.leave()
    assert watched.deserted == ["a"]
    assert (watched.hub.num_channels, watched.hub.backlog) == (0, 0)
    await settle()
    assert first.frames == second.frames == []


async def test_channel_deserted_during_its_pass_works_again(watched: Watched) -> None:
    """Whoever subscribes right after the last one left misses nothing."""
    watched.listener().leave()
    old = watched.listener()
    await watched.hub.receive([entry("a", 1)])
    old.leave()
    new = watched.listener()
    await watched.receive(entry("a", 2))
    assert new.data == [2]


async def test_given_up_join_leaves_nothing(watched: Watched) -> None:
    """A joiner that gives up before its answer leaves an empty hub."""
    listener = Listener(watched.hub, follows_stream=True)
    listener.ask()
    listener.leave()
    assert watched.deserted == ["a"]
    assert watched.hub.num_channels == 0


async def test_slow_member_is_cut_off_and_the_others_are_served(watched: Watched) -> None:
    """A member that overflows in the middle of a fan-out leaves; the rest get the frame."""
    before, slow, after = (watched.listener(high_water=600) for _ in range(3))
    slow.transport.stall()
    for number in range(40):
        await watched.receive(entry("a", "x" * 40, sequence=number))
    assert slow.ends == [Reason.CLIENT_BYTES]
    assert 0 < len(slow.data) < 40
    assert len(before.data) == len(after.data) == 40


async def test_member_is_written_to_directly_again_after_it_drained(watched: Watched) -> None:
    """Congestion ends with the buffer, and nothing was lost by it."""
    listener = watched.listener(high_water=2000)
    listener.transport.stall()
    for number in range(50):
        await watched.receive(entry("a", number))
    assert listener.outbound.pressure is Pressure.CONGESTED
    listener.transport.drain()
    await watched.receive(entry("a", 50))
    assert listener.data == list(range(51))


# --- joining ----------------------------------------------------------------------------------


async def test_joiner_gets_what_follows_its_answer(watched: Watched) -> None:
    """What came before the answer and lies beyond it is delivered after it, once."""
    listener = Listener(watched.hub, follows_stream=True)
    joiner = listener.ask()
    await watched.receive(*published(4, 5, 6))
    assert listener.frames == []
    watched.hub.finish_join("a", joiner, at(5))
    assert listener.offsets == [6]
    await watched.receive(*published(7))
    assert listener.offsets == [6, 7]


async def test_joiner_ahead_of_the_inbox_gets_nothing_twice(watched: Watched) -> None:
    """An answer may be ahead of the inbox: what it covers is not delivered again."""
    member = watched.listener(top=at(3))
    ahead = watched.listener(top=at(5))
    await watched.receive(*published(4))
    await watched.receive(*published(5, 6))
    assert member.offsets == [4, 5, 6]
    assert ahead.offsets == [6]


async def test_unpositioned_member_loses_nothing_to_a_positioned_joiner(watched: Watched) -> None:
    """A joiner's answer that is ahead of the inbox takes nothing from those without a position."""
    loose = watched.listener()
    positioned = watched.listener(top=at(6))
    await watched.receive(*published(5, 6, 7))
    assert loose.offsets == [5, 6, 7]
    assert positioned.offsets == [7]
    await watched.receive(*published(8))
    assert (loose.offsets[3:], positioned.offsets[1:]) == ([8], [8])


async def test_unpositioned_joiner_loses_nothing_either(watched: Watched) -> None:
    """That holds for one whose own answer is still on its way."""
    loose = Listener(watched.hub)
    joiner = loose.ask()
    positioned = watched.listener(top=at(6))
    await watched.receive(*published(5))
    watched.hub.finish_join("a", joiner, NOWHERE)
    await watched.receive(*published(6, 7))
    assert loose.offsets == [5, 6, 7]
    assert positioned.offsets == [7]


async def test_hole_ends_positioned_subscriptions_only(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing offset is told to those who were promised a position; the others go on."""
    positioned, loose = watched.listener(top=at(3)), watched.listener()
    with caplog.at_level(logging.WARNING):
        await watched.receive(*published(5))
    assert (positioned.losses, positioned.offsets) == (1, [])
    assert (loose.losses, loose.offsets) == (0, [5])
    assert total(watched.metrics.positions_lost) == 1
    assert "expected offset 4 of epoch e, got 5" in caplog.text


async def test_publication_outside_the_history_is_no_hole(watched: Watched) -> None:
    """A publication that skipped history has no offset, and hides nothing behind or before it."""
    member = watched.listener(top=at(3))
    waiting = Listener(watched.hub, follows_stream=True)
    joiner = waiting.ask()
    await watched.receive(*published(4, 5), entry("a", "skipped"))
    watched.hub.finish_join("a", joiner, at(4))
    assert (member.losses, waiting.losses) == (0, 0)
    assert member.data == [4, 5, "skipped"]
    assert waiting.data == [5, "skipped"]


async def test_a_publication_outside_the_history_moves_no_position(watched: Watched) -> None:
    """Behind one that closed a batch the stream goes on where it was."""
    member = watched.listener(top=at(3))
    await watched.receive(*published(4), entry("a", "skipped"))
    await watched.receive(*published(5))
    assert (member.losses, member.data) == (0, [4, "skipped", 5])


async def test_same_offset_of_another_epoch_is_another_position(watched: Watched) -> None:
    """A joiner of a new epoch is not made a member where the old epoch has the same offset."""
    old = watched.listener(top=at(3, "old"))
    new = watched.listener(top=at(3, "new"))
    await watched.receive(*published(4, epoch="new"))
    assert (old.losses, old.offsets) == (1, [])
    assert (new.losses, new.offsets) == (0, [4])
    other = watched.listener(top=at(4, "newest"))
    await watched.receive(*published(5, epoch="new"))
    assert (other.losses, other.offsets) == (1, [])
    assert new.offsets == [4, 5]


async def test_joiner_that_could_not_keep_everything_is_told(watched: Watched) -> None:
    """Too much before the answer ends the subscription at its start, never silently."""
    listener = Listener(watched.hub, follows_stream=True)
    joiner = listener.ask()
    await watched.hub.receive(published(*range(1, MAX_KEPT_MESSAGES + 2)))
    await settle(200)
    assert joiner.is_incomplete
    watched.hub.finish_join("a", joiner, at(1))
    assert (listener.losses, listener.offsets) == (1, [])
    assert watched.deserted == ["a"]


async def test_loss_is_told_to_members_and_joiners(watched: Watched) -> None:
    """Lost entries end every position that was given out or is about to be."""
    member = watched.listener(top=at(3))
    ahead = watched.listener(top=at(5))
    asking = Listener(watched.hub, follows_stream=True)
    joiner = asking.ask()
    loose = watched.listener()
    elsewhere = watched.listener("b", top=at(1))
    watched.hub.lost(0, ["a", "unknown"])
    await settle()
    assert (member.losses, ahead.losses, loose.losses, elsewhere.losses) == (1, 1, 0, 0)
    assert joiner.is_incomplete
    watched.hub.finish_join("a", joiner, at(5))
    assert asking.losses == 1
    watched.hub.lost(0, None)
    await settle()
    assert elsewhere.losses == 1


async def test_slow_joiner_does_not_stop_its_channel(watched: Watched) -> None:
    """A joiner that overflows on what it missed goes; the channel goes on."""
    member = watched.listener(top=at(0))
    slow = Listener(watched.hub, follows_stream=True)
    slow.outbound.pause()
    slow.outbound.send(b"x" * 2000)
    slow.join(at(1))
    await watched.receive(*published(1, 2))
    assert slow.ends == [Reason.CLIENT_BYTES]
    await watched.receive(*published(3))
    assert member.offsets == [1, 2, 3]


async def test_a_crowd_of_joiners_is_served_in_slices_before_the_members(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gets what follows its position; who leaves and is back meanwhile gets nothing old."""
    monkeypatch.setattr(rounds_module, "WRITES_PER_PASS", 80)
    member, restless = (watched.listener(top=at(0)) for _ in range(2))
    crowd = [watched.listener(top=at(1 + number % 2)) for number in range(300)]
    asking = Listener(watched.hub, follows_stream=True)
    joiner = asking.ask()
    await watched.hub.receive(published(1, 2, 3))
    served = [0]
    while served[-1] < len(crowd):
        await asyncio.sleep(0)
        served.append(sum(bool(each.frames) for each in crowd))
        if joiner.position is None:
            watched.hub.finish_join("a", joiner, at(2))
            restless.leave()
            restless.join(at(3))
    assert max(later - earlier for earlier, later in pairwise(served)) <= 10
    await watched.receive(*published(4))
    await settle(200)
    assert member.offsets == [1, 2, 3, 4]
    assert restless.offsets == [4]
    assert asking.offsets == [3, 4]
    assert [each.offsets for each in crowd] == [[2, 3, 4], [3, 4]] * 150
    assert not any(each.losses for each in [member, restless, asking, *crowd])


async def test_joiners_of_many_channels_share_the_writes_of_a_pass(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When all clients come back at once, each channel has some, and none is a crowd."""
    monkeypatch.setattr(rounds_module, "WRITES_PER_PASS", 80)
    names = [f"c{number}" for number in range(30)]
    joiners = []
    for name in names:
        watched.listener(name, top=at(0))
        joiners += [watched.listener(name, top=at(1)) for _ in range(20)]
    await watched.hub.receive([each for name in names for each in published(1, 2, channel=name)])
    served = [0]
    while served[-1] < len(joiners):
        await asyncio.sleep(0)
        served.append(sum(bool(each.frames) for each in joiners))
    assert max(later - earlier for earlier, later in pairwise(served)) <= 20
    assert all(each.offsets == [2] for each in joiners)


async def test_closed_joiner_does_not_stop_its_channel(watched: Watched) -> None:
    """A joiner whose transport closed under our hands harms nobody."""
    member = watched.listener(top=at(0))
    broken = watched.listener(top=at(1))
    broken.transport.is_broken = True
    await watched.receive(*published(1, 2))
    await watched.receive(*published(3))
    assert member.offsets == [1, 2, 3]


# --- waiting for one's own publication --------------------------------------------------------


async def test_wait_delivered_ends_when_the_entry_was_written(watched: Watched) -> None:
    """Whoever waits for an entry is released after its frame went out, not before."""
    listener = watched.listener()
    delivered = watched.hub.wait_delivered("a", 2)
    assert delivered is not None
    await watched.receive(entry("a", 1, sequence=1))
    assert not delivered.done()
    await watched.receive(entry("a", 2, sequence=2))
    assert delivered.done()
    assert listener.data == [1, 2]


async def test_wait_delivered_waits_for_the_last_slice(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the frame is on its way to some members, the entry is not delivered yet."""
    monkeypatch.setattr(rounds_module, "WRITES_PER_PASS", 2)
    listeners = [watched.listener() for _ in range(20)]
    await watched.hub.receive([entry("a", 1, sequence=1)])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 0 < sum(len(each.frames) for each in listeners) < 20
    delivered = watched.hub.wait_delivered("a", 1)
    assert delivered is not None
    await delivered
    assert all(each.data == [1] for each in listeners)


async def test_wait_delivered_has_nothing_to_wait_for(watched: Watched) -> None:
    """An unknown channel and an entry that is out already need no waiting."""
    assert watched.hub.wait_delivered("a", 1) is None
    watched.listener()
    await watched.receive(entry("a", 1, sequence=1))
    assert watched.hub.wait_delivered("a", 1) is None


async def test_waiting_ends_with_the_channel(watched: Watched) -> None:
    """A channel that everybody left keeps nobody waiting."""
    listener = watched.listener()
    delivered = watched.hub.wait_delivered("a", 1)
    assert delivered is not None
    listener.leave()
    assert delivered.cancelled()


# --- compression ------------------------------------------------------------------------------

LONG = "all work and no play " * 100


async def test_a_frame_is_compressed_once_for_each_window(watched: Watched) -> None:
    """One client or three hundred: as many deflates as there are windows, and shared bytes."""
    wires = (UNCOMPRESSED, 15, 10, 9)
    listeners = [watched.listener(wire=wire, high_water=10_000) for wire in wires * 100]
    await watched.receive(entry("a", LONG))
    assert total(watched.compression.frames) == 3
    assert [listener.data for listener in listeners] == [[LONG]] * 400
    for start, wire in enumerate(wires):
        objects = {id(listener.frames[0]) for listener in listeners[start :: len(wires)]}
        assert len(objects) == 1, f"clients on wire {wire} share one object"
    assert total(watched.compression.bytes_in) > 10 * total(watched.compression.bytes_out)


async def test_a_short_frame_is_compressed_once_for_all_windows(watched: Watched) -> None:
    """What fits the smallest window serves the larger ones."""
    listeners = [watched.listener(wire=wire) for wire in (9, 10, 12, 15)]
    await watched.receive(entry("a", "short " * 20))
    assert total(watched.compression.frames) == 1
    assert len({id(listener.frames[0]) for listener in listeners}) == 1
    assert [listener.data for listener in listeners] == [["short " * 20]] * 4


async def test_nothing_is_compressed_where_nobody_reads_it(watched: Watched) -> None:
    """A channel of plain clients costs no deflate, whatever other channels' clients read."""
    watched.listener("a")
    watched.listener("b", wire=15)
    await watched.receive(entry("a", LONG))
    assert total(watched.compression.frames) == 0


async def test_the_write_of_a_compressed_client_is_its_transports(watched: Watched) -> None:
    """A healthy client costs one call of `transport.write` for each frame, and nothing of ours."""
    listener = watched.listener(wire=15)
    assert listener.outbound.send == listener.transport.write
    await watched.receive(entry("a", LONG), entry("a", 2))
    assert listener.data == [LONG, 2]
    assert len(listener.frames) == 1


async def test_joiners_share_what_they_are_given(watched: Watched) -> None:
    """A crowd that joins behind one position costs a deflate, not one for each."""
    watched.listener(top=at(2), wire=15, high_water=10_000)
    late = [
        Listener(watched.hub, follows_stream=True, wire=15, high_water=10_000) for _ in range(50)
    ]
    for listener in late:
        # The answer is older than what was received here meanwhile: they join behind the others.
        listener.hub.finish_join("a", listener.ask(), at(1))
    await watched.receive(
        entry("a", LONG, sequence=2, offset=2, epoch="e"),
        entry("a", LONG, sequence=3, offset=3, epoch="e"),
    )
    assert [listener.offsets for listener in late] == [[2, 3]] * 50
    assert total(watched.compression.frames) == 2


async def test_compressing_is_part_of_a_passes_budget(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many channels with large frames do not keep the loop from everything else."""
    monkeypatch.setattr(rounds_module, "WRITES_PER_PASS", 50)
    names = [f"channel {number}" for number in range(20)]
    for name in names:
        watched.listener(name, wire=15, high_water=100_000)
    await watched.hub.receive([entry(name, LONG * 10) for name in names])
    most = 0
    while watched.hub.backlog:
        before = total(watched.compression.frames)
        await asyncio.sleep(0)
        most = max(most, int(total(watched.compression.frames) - before))
    await settle()
    assert total(watched.compression.frames) == len(names)
    assert most <= 2
