"""Positions within a stream, and one frame's way to many members."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_node.delivery.batching import Audience, Batch, Waiting
from realtime_node.delivery.channel import Channel
from realtime_node.delivery.fanout import Fanout
from realtime_node.delivery.flow import Flow, Policy, SlowRule
from realtime_node.delivery.frames import Framer
from realtime_node.delivery.joining import (
    MAX_KEPT_MESSAGES,
    beyond,
    continues,
    position_after,
)
from realtime_node.delivery.outbound import Outbound
from realtime_node.protocol.deflate import UNCOMPRESSED, Wire
from realtime_node.protocol.messages import StreamPosition
from realtime_node.telemetry.metrics import Metrics, total
from tests.support.fakes import (
    FakeSlowClients,
    FakeTransport,
    framer_of,
    is_compressed,
    payload_of,
)

SLOW = FakeSlowClients()


class Member:
    """A subscriber and what was written to it."""

    def __init__(self, wire: Wire = UNCOMPRESSED) -> None:
        self.transport = FakeTransport()
        self.outbound = Outbound(
            self.transport,
            SLOW,
            on_pressure=lambda: None,
            on_slow=lambda _reason: None,
            wire=wire,
        )

    def lose_position(self, _channel: str) -> bool:
        """Promised nothing."""
        return False

    @property
    def frames(self) -> list[bytes]:
        """What it got."""
        return [payload_of(frame) for frame in self.transport.written]


def message(offset: int, epoch: str = "e") -> Waiting:
    """A message with a place in a stream, or without one (0)."""
    return Waiting(b"", Audience.EVERYONE, offset, epoch if offset else "", 0)


def channel_of(count: int) -> tuple[Channel, list[Member]]:
    """A channel with members."""
    channel = Channel("a")
    members = [Member() for _ in range(count)]
    for member in members:
        channel.add_member(member, wants_join_leave=False)
    return channel, members


def fan_out(channel: Channel, payload: bytes = b"frame", framer: Framer | None = None) -> Fanout:
    """A frame on its way to everybody."""
    frame = (framer or framer_of()).frame(payload)
    members = channel.audience(Audience.EVERYONE)
    batch = Batch(channel.name, channel.flow.slow, frame, [message(0)])
    channel.fanout = Fanout(channel, batch, members, SLOW, SLOW.now())
    return channel.fanout


# --- positions --------------------------------------------------------------------------------


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 10), st.integers(0, 3))
def test_what_lies_beyond_continues_unless_there_is_a_hole(
    position: int, start: int, length: int, loose: int
) -> None:
    """From any position a run of offsets is cut so that it goes on, or a hole is seen."""
    batch = [message(start + 1 + i) for i in range(length)] + [message(0)] * loose
    rest = beyond(batch, position, "e")
    assert [each.offset for each in rest if each.offset] == [
        offset for offset in range(start + 1, start + 1 + length) if offset > position
    ]
    assert rest.count(message(0)) == loose
    has_hole = length > 0 and start > position
    assert continues(rest, position, "e") is not has_hole
    if not has_hole:
        assert position_after(position, "e", rest) == max(position, start + length if length else 0)


def test_messages_of_another_epoch_are_no_continuation() -> None:
    """An offset of another epoch is neither known already nor the next one."""
    for offset in (3, 6):
        rest = beyond([message(offset, "other")], 5, "e")
        assert rest == [message(offset, "other")]
        assert not continues(rest, 5, "e")
        assert position_after(5, "e", rest) == 5


def test_known_messages_are_cut_whatever_stands_behind_them() -> None:
    """A message without a place at the end of a batch does not hide what was seen before it."""
    batch = [message(4), message(5), message(6), message(0)]
    rest = beyond(batch, 5, "e")
    assert rest == [message(6), message(0)]
    assert continues(rest, 5, "e")


# --- joiners ----------------------------------------------------------------------------------


def test_joiners_get_what_came_before_their_answers() -> None:
    """What is delivered before an answer is kept once for all, and each gets what came for it."""
    channel = Channel("a")
    early = channel.begin_join(Member(), wants_join_leave=False)
    channel.kept.add([message(1)])
    late = channel.begin_join(Member(), wants_join_leave=False)
    channel.kept.add([message(2), message(3)])
    top = StreamPosition(offset=0, epoch="e")
    assert [each.offset for each in channel.answer(late, top)] == [2, 3]
    assert [each.offset for each in channel.answer(early, top)] == [1, 2, 3]
    assert channel.kept_messages is None


def test_nothing_is_kept_once_nobody_awaits_an_answer() -> None:
    """Also when the last gives up, or begins anew."""
    channel, member = Channel("a"), Member()
    channel.begin_join(member, wants_join_leave=False)
    channel.kept.add([message(1)])
    again = channel.begin_join(member, wants_join_leave=False)
    assert (channel.unanswered, again.is_incomplete) == (1, False)
    channel.remove(member)
    assert (channel.unanswered, channel.kept_messages) == (0, None)


def test_joiner_for_which_too_much_came_gets_nothing() -> None:
    """Beyond the bound its subscribe fails; a later joiner is none the worse."""
    channel = Channel("a")
    joiner = channel.begin_join(Member(), wants_join_leave=False)
    channel.kept.add([message(1)] * MAX_KEPT_MESSAGES)
    assert not joiner.is_incomplete
    late = channel.begin_join(Member(), wants_join_leave=False)
    channel.kept.add([message(2)])
    assert (joiner.is_incomplete, late.is_incomplete) == (True, False)
    top = StreamPosition(offset=0, epoch="e")
    assert channel.answer(joiner, top) == []
    assert channel.answer(late, top) == [message(2)]


# --- fan-out ----------------------------------------------------------------------------------


def test_slices_reach_every_member_once() -> None:
    """A frame reaches all members in slices, each of them once."""
    channel, members = channel_of(5)
    fanout = fan_out(channel)
    reached = []
    while not fanout.is_finished:
        reached.append(fanout.write_slice(2))
    assert reached == [2, 2, 1]
    assert [member.frames for member in members] == [[b"frame"]] * 5


def test_member_that_leaves_before_its_slice_gets_nothing() -> None:
    """Who left is skipped."""
    channel, members = channel_of(3)
    fanout = fan_out(channel)
    fanout.write_slice(1)
    channel.remove(members[1])
    fanout.write_slice(2)
    assert [len(member.frames) for member in members] == [1, 0, 1]


def test_member_that_joins_meanwhile_is_not_in_the_fan_out() -> None:
    """A member is given frames from the next one on: this one it got as a joiner."""
    channel, _ = channel_of(2)
    fanout = fan_out(channel)
    fanout.write_slice(1)
    late = Member()
    channel.add_member(late, wants_join_leave=False)
    fanout.write_slice(10)
    assert late.frames == []
    assert fanout.is_finished
    fan_out(channel, b"next").write_slice(10)
    assert late.frames == [b"next"]


def test_member_that_comes_back_before_its_slice_gets_nothing() -> None:
    """Who left and came back may be further on already: an old frame is not for it."""
    channel, members = channel_of(2)
    fanout = fan_out(channel)
    fanout.write_slice(1)
    for member in members:
        channel.remove(member)
        channel.add_member(member, wants_join_leave=False)
    fanout.write_slice(10)
    assert [len(member.frames) for member in members] == [1, 0]


def test_a_closed_transport_does_not_stop_the_others() -> None:
    """A RuntimeError of one transport costs nobody else a frame, in any slice."""
    channel, members = channel_of(6)
    for index in (0, 2, 3, 5):
        members[index].transport.is_broken = True
    fanout = fan_out(channel)
    assert [fanout.write_slice(3), fanout.write_slice(3)] == [3, 3]
    assert [len(member.frames) for member in members] == [0, 1, 0, 0, 1, 0]


def test_later_slices_use_the_present_way_to_a_member() -> None:
    """A member whose pressure changed between slices is written to the new way."""
    channel, members = channel_of(2)
    fanout = fan_out(channel)
    fanout.write_slice(1)
    members[1].outbound.end()
    channel.refresh_send(members[1])
    fanout.write_slice(1)
    assert members[1].frames == []


def mixed(*wires: Wire) -> tuple[Channel, list[Member]]:
    """A channel whose members read different forms."""
    channel = Channel("a")
    members = [Member(wire) for wire in wires]
    for member in members:
        channel.add_member(member, wants_join_leave=False)
    return channel, members


def test_members_are_grouped_by_what_they_read() -> None:
    """Each group gets the form it reads, and every member of it the same bytes object."""
    channel, members = mixed(UNCOMPRESSED, 15, 10, 15, UNCOMPRESSED)
    assert channel.audience(Audience.EVERYONE).runs == ((UNCOMPRESSED, 2), (10, 3), (15, 5))
    fanout = fan_out(channel, b"frame " * 500)
    reached = []
    while not fanout.is_finished:
        reached.append(fanout.write_slice(10))
    assert reached == [2, 1, 2]
    assert [member.frames for member in members] == [[b"frame " * 500]] * 5
    plain, large, small, large_too, plain_too = (member.transport.written[0] for member in members)
    assert plain is plain_too
    assert large is large_too
    assert not is_compressed(plain)
    assert is_compressed(large)
    assert is_compressed(small)
    assert large is not small


def test_a_member_that_leaves_before_its_group_is_reached_gets_nothing() -> None:
    """Between two groups anything may happen, as between two slices."""
    channel, members = mixed(UNCOMPRESSED, 15, 15)
    fanout = fan_out(channel)
    assert fanout.write_slice(10) == 1
    channel.remove(members[1])
    members[2].outbound.end()
    channel.refresh_send(members[2])
    assert fanout.write_slice(10) == 2
    assert fanout.is_finished
    assert [len(member.frames) for member in members] == [1, 0, 0]


def test_congested_members_are_kept_what_they_read() -> None:
    """Whatever a slow client reads, it stands behind the healthy ones and keeps its own form."""
    channel, members = mixed(UNCOMPRESSED, 15, 15, UNCOMPRESSED)
    for slow in (members[0], members[1]):
        slow.outbound.pause()
        channel.refresh_send(slow)
    assert channel.audience(Audience.EVERYONE).runs == ((UNCOMPRESSED, 1), (15, 2))
    fanout = fan_out(channel, b"frame " * 50)
    while not fanout.is_finished:
        fanout.write_slice(10)
    assert [len(member.frames) for member in members] == [0, 0, 1, 1]
    for slow in (members[0], members[1]):
        slow.outbound.resume()
    assert [member.frames for member in members] == [[b"frame " * 50]] * 4
    plain, compressed, shared, shared_plain = (member.transport.written[0] for member in members)
    assert (plain, compressed) == (shared_plain, shared)
    assert not is_compressed(plain)
    assert is_compressed(compressed)


def test_a_member_that_drains_before_its_turn_is_written_what_it_reads() -> None:
    """Who was congested when the fan-out began, and is not any more, is not given plain frames."""
    channel, members = mixed(UNCOMPRESSED, 15)
    members[1].outbound.pause()
    channel.refresh_send(members[1])
    fanout = fan_out(channel, b"frame " * 50)
    fanout.write_slice(10)
    members[1].outbound.resume()
    channel.refresh_send(members[1])
    fanout.write_slice(10)
    assert fanout.is_finished
    assert [member.frames for member in members] == [[b"frame " * 50]] * 2
    assert is_compressed(members[1].transport.written[0])


@pytest.mark.parametrize("policy", [Policy.DROP, Policy.DISCONNECT, Policy.LATEST])
def test_a_form_that_is_not_kept_is_not_made(policy: Policy) -> None:
    """A policy that keeps no frames costs no deflate for clients that are congested."""
    channel, (slow,) = mixed(15)
    slow.outbound.pause()
    channel.refresh_send(slow)
    channel.flow = Flow(slow=SlowRule(policy=policy))
    metrics = Metrics()
    fanout = fan_out(channel, b"frame " * 50, framer_of(metrics))
    fanout.write_slice(10)
    assert fanout.is_finished
    assert total(metrics.compression.frames) == 0


def test_a_form_that_nobody_is_left_to_read_is_not_made() -> None:
    """The last reader of a window is gone before its turn: nothing is compressed."""
    channel, members = mixed(UNCOMPRESSED, 15)
    metrics = Metrics()
    fanout = fan_out(channel, b"frame " * 50, framer_of(metrics))
    fanout.write_slice(10)
    channel.remove(members[1])
    fanout.write_slice(10)
    assert fanout.is_finished
    assert total(metrics.compression.frames) == 0


def test_joins_go_to_those_who_asked_for_them() -> None:
    """The audience of joins and leaves is a part of the members, and follows them."""
    channel, members = channel_of(2)
    asked = Member()
    channel.add_member(asked, wants_join_leave=True)
    assert channel.audience(Audience.JOIN_LEAVE).subscribers == (asked,)
    assert channel.audience(Audience.EVERYONE).subscribers == (*members, asked)
    channel.remove(asked)
    assert channel.audience(Audience.JOIN_LEAVE).subscribers == ()


def test_channel_is_deserted_when_the_last_subscriber_goes() -> None:
    """Members and joiners keep a channel; nobody else does."""
    channel, (member,) = channel_of(1)
    joiner = channel.begin_join(Member(), wants_join_leave=False)
    channel.remove(member)
    assert not channel.is_deserted
    channel.remove(joiner.subscriber)
    assert channel.is_deserted
