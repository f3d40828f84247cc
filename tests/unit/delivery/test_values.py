"""The newest value of each key waits, and no hole in the stream is taken for a superseded value."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from realtime_node.delivery.batching import Audience, Waiting, take_batch
from realtime_node.delivery.channel import Channel
from realtime_node.delivery.flow import BatchRule, Flow, Policy, SlowRule
from realtime_node.delivery.joining import beyond, continues
from realtime_node.delivery.values import Values

LATEST = Flow(slow=SlowRule(policy=Policy.LATEST, key="symbol"))


def value(key: str, offset: int = 0, epoch: str = "e", payload: bytes = b"x") -> Waiting:
    """A value of a key."""
    return Waiting(payload, Audience.EVERYONE, offset, epoch if offset else "", offset, key)


class Step(NamedTuple):
    """A value that comes, and how many messages are taken behind it."""

    key: str
    missed: int
    """Publications before it that did not come."""
    begins_anew: bool
    has_offset: bool
    taken: int


def steps(*, calm: bool) -> st.SearchStrategy[list[Step]]:
    """Streams with holes and new epochs, or without."""
    return st.lists(
        st.builds(
            Step,
            key=st.sampled_from("xyz"),
            missed=st.just(0) if calm else st.sampled_from([0, 0, 0, 1]),
            begins_anew=st.just(value=False) if calm else st.sampled_from([False] * 5 + [True]),
            has_offset=st.sampled_from([True, True, True, False]),
            taken=st.sampled_from([0, 0, 1, 2]),
        ),
        max_size=30,
    )


class Follower:
    """Who stands somewhere in the stream and is given everything that is taken."""

    def __init__(self) -> None:
        self.offset, self.epoch = 0, "1"
        self.is_told = False
        self.seen: dict[str, Waiting] = {}

    def take(self, batch: list[Waiting]) -> None:
        """See a batch, or the hole before or in it."""
        fresh = beyond(batch, self.offset, self.epoch)
        self.is_told = self.is_told or not continues(fresh, self.offset, self.epoch)
        for message in fresh:
            self.seen[message.key] = message
            if message.offset:
                self.offset, self.epoch = message.offset, message.epoch


def play(stream: list[Step]) -> tuple[Follower, bool, dict[str, Waiting]]:
    """Let values come and be taken; return who followed, whether it missed any, and the newest."""
    values, follower = Values(), Follower()
    offset, epochs, has_hole = 0, 1, False
    newest: dict[str, Waiting] = {}
    for step in stream:
        if step.begins_anew:
            offset, epochs = 0, epochs + 1
        offset += step.missed
        has_hole = has_hole or (step.has_offset and (step.missed > 0 or epochs > 1))
        if step.has_offset:
            offset += 1
        message = value(step.key, offset if step.has_offset else 0, str(epochs))
        newest[step.key] = message
        values.put(message)
        for _ in range(step.taken):
            if values:
                batch = take_batch(values, BatchRule(max_messages=2))
                for again in reversed(batch):
                    values.appendleft(again)
                assert take_batch(values, BatchRule(max_messages=2)) == batch
                follower.take(batch)
    while values:
        follower.take(take_batch(values, BatchRule(max_messages=2)))
    return follower, has_hole, newest


@given(steps(calm=True))
def test_a_superseded_value_is_no_hole(stream: list[Step]) -> None:
    """Whatever is superseded and however the rest is taken, a follower ends up with the newest."""
    follower, _, newest = play(stream)
    assert not follower.is_told
    assert {key: each.offset for key, each in follower.seen.items()} == {
        key: each.offset for key, each in newest.items()
    }


@given(steps(calm=False))
def test_a_hole_is_never_taken_for_a_superseded_value(stream: list[Step]) -> None:
    """Who follows the stream learns of every publication that did not come."""
    follower, has_hole, _ = play(stream)
    assert follower.is_told or not has_hole


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 9)), max_size=30))
def test_one_value_of_each_key_waits(stream: list[tuple[str, int]]) -> None:
    """What waits is bounded by the keys, in messages and in bytes."""
    channel = Channel("a", LATEST)
    newest: dict[str, int] = {}
    for offset, (key, size) in enumerate(stream, 1):
        channel.gather(value(key, offset, payload=b"x" * size))
        newest.pop(key, None)
        newest[key] = size
    assert len(channel.waiting) == len(newest)
    assert channel.gathered_bytes == sum(newest.values())
    assert channel.superseded == len(stream) - len(newest)
    if newest:
        assert [len(message.payload) for message in channel.take()] == [*newest.values()]
        assert channel.gathered_bytes == 0


def test_rules_that_change_take_along_what_waits() -> None:
    """Values that wait are superseded by the new rules, and messages are kept by them."""
    channel = Channel("a")
    for offset, key in enumerate("xyx", 1):
        channel.gather(value(key, offset))
    channel.retune(LATEST)
    assert [message.offset for message in reversed(channel.waiting)] == [3, 2]
    channel.retune(Flow())
    channel.gather(value("x", 4))
    batch = channel.take()
    assert [message.offset for message in batch] == [2, 3, 4]
    assert continues(batch, 0, "e")
