"""Which waiting messages share a frame."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from realtime_node.delivery.batching import Audience, Waiting, in_frames, newest, take_batch
from realtime_node.delivery.flow import BatchRule

RULE = BatchRule()
MAX_MESSAGES, MAX_BYTES = RULE.max_messages, RULE.max_bytes


def waiting(
    size: int = 1,
    audience: Audience = Audience.EVERYONE,
    epoch: str = "e",
    sequence: int = 0,
    key: str = "",
) -> Waiting:
    """A message of `size` bytes."""
    return Waiting(b"x" * size, audience, 0, epoch, sequence, key)


def sizes(messages: list[Waiting]) -> list[int]:
    """Lengths of the payloads."""
    return [len(message.payload) for message in messages]


def test_takes_everything_that_fits() -> None:
    """A few small messages make one batch, in their order."""
    queue = deque(waiting(size) for size in (3, 1, 2))
    assert sizes(take_batch(queue, RULE)) == [3, 1, 2]
    assert not queue


def test_number_of_messages_is_bounded() -> None:
    """The message after the last that fits begins the next batch."""
    queue = deque(waiting() for _ in range(MAX_MESSAGES + 1))
    assert len(take_batch(queue, RULE)) == MAX_MESSAGES
    assert len(take_batch(queue, RULE)) == 1


def test_bytes_are_bounded() -> None:
    """A batch may have exactly `MAX_BYTES`, not one more."""
    queue = deque([waiting(MAX_BYTES - 2), waiting(2), waiting(1)])
    assert sizes(take_batch(queue, RULE)) == [MAX_BYTES - 2, 2]
    queue = deque([waiting(MAX_BYTES - 2), waiting(3)])
    assert sizes(take_batch(queue, RULE)) == [MAX_BYTES - 2]


def test_a_large_message_has_a_batch_of_its_own() -> None:
    """A message beyond the bound is not refused, it goes alone."""
    queue = deque([waiting(MAX_BYTES + 1), waiting(1)])
    assert sizes(take_batch(queue, RULE)) == [MAX_BYTES + 1]
    assert sizes(take_batch(queue, RULE)) == [1]


def test_another_audience_begins_another_batch() -> None:
    """Joins are for some, publications for all: they never share a frame."""
    queue = deque([waiting(1), waiting(2, Audience.JOIN_LEAVE), waiting(3)])
    assert [sizes(take_batch(queue, RULE)) for _ in range(3)] == [[1], [2], [3]]


def test_another_epoch_begins_another_batch() -> None:
    """Offsets of a batch can be compared with each other."""
    queue = deque([waiting(1, epoch="a"), waiting(2, epoch="b"), waiting(3, epoch="b")])
    assert [sizes(take_batch(queue, RULE)) for _ in range(2)] == [[1], [2, 3]]


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from(Audience), st.sampled_from(["", "a", "b"]))
    ),
    st.integers(1, 5),
    st.integers(1, 60),
)
def test_batches_are_the_queue_cut_in_pieces(
    messages: list[tuple[int, Audience, str]], max_messages: int, max_bytes: int
) -> None:
    """Nothing is lost, repeated or moved; bounds hold; and no batch could have been longer."""
    given_order = [
        waiting(size, audience, epoch, sequence)
        for sequence, (size, audience, epoch) in enumerate(messages)
    ]
    queue = deque(given_order)
    rule = BatchRule(max_messages=max_messages, max_bytes=max_bytes)
    batches = []
    while queue:
        batches.append(take_batch(queue, rule))
    assert [message for batch in batches for message in batch] == given_order
    for batch in batches:
        assert len({(message.audience, message.epoch) for message in batch}) == 1
        assert len(batch) == 1 or (len(batch) <= max_messages and sum(sizes(batch)) <= max_bytes)
    for batch, following in pairwise(batches):
        longer = [*batch, following[0]]
        assert (
            len(longer) > max_messages
            or sum(sizes(longer)) > max_bytes
            or len({(message.audience, message.epoch) for message in longer}) > 1
        )


keyed = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from(Audience), st.sampled_from(["", "x", "y", "z"]))
)


@given(keyed)
def test_newest_is_the_last_of_each_key_in_order(
    messages: list[tuple[int, Audience, str]],
) -> None:
    """One message for each key and audience is left: the last, in the order of the stream."""
    batch = [
        waiting(size, audience, "e", sequence, key)
        for sequence, (size, audience, key) in enumerate(messages)
    ]
    kept = newest(batch)
    last = {(message.audience, message.key): message for message in batch}
    assert sorted(kept, key=lambda each: each.sequence) == kept
    assert {(message.audience, message.key): message for message in kept} == last


@given(st.lists(st.binary(max_size=9)), st.integers(1, 4), st.integers(1, 20))
def test_values_are_cut_into_frames_that_fit(
    payloads: list[bytes], max_messages: int, max_bytes: int
) -> None:
    """All are in some frame, in order, and none is empty or larger than it may."""
    frames = list(in_frames(payloads, BatchRule(max_messages=max_messages, max_bytes=max_bytes)))
    assert [payload for frame in frames for payload in frame] == payloads
    for frame in frames:
        assert len(frame) == 1 or (
            1 < len(frame) <= max_messages and sum(map(len, frame)) <= max_bytes
        )
