"""Batching: which waiting messages of a channel share the next frame.

Pure. Messages are encoded once when they arrive; a frame holds a run of them that goes to the same
audience, bounded in number and in bytes, so that a burst costs one write per client and a late
joiner can be given the run's tail. Where a newer message makes an older one of its key worthless,
`values` keeps the older from waiting, and `newest` leaves it out of what a joiner was kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from realtime_node.delivery.budget import Shared
from realtime_node.delivery.flow import BatchRule, SlowRule
from realtime_node.delivery.frames import Frame


class Audience(Enum):
    """Which subscribers of a channel a message is for."""

    EVERYONE = "everyone"
    JOIN_LEAVE = "those who asked for joins and leaves"


class Waiting(NamedTuple):
    """A message that waits for its frame."""

    payload: bytes
    audience: Audience
    offset: int
    """0 for whatever has no place in a stream: joins, leaves, channels without history."""
    epoch: str
    sequence: int
    """Of the inbox entry it came from."""
    key: str = ""
    """What it is a value of, among the messages of its audience, where a channel conflates."""
    skipped: int = 0
    """Publications right before it that came and were superseded, where a channel conflates."""


class Line(Protocol):
    """Messages that wait, the oldest first: a deque, or `values.Values`."""

    def __len__(self) -> int:
        """Return how many wait."""

    def __reversed__(self) -> Iterator[Waiting]:
        """Iterate from the newest to the oldest."""

    def popleft(self) -> Waiting:
        """Remove and return the oldest."""

    def appendleft(self, message: Waiting, /) -> None:
        """Put back what was taken just before."""

    def clear(self) -> None:
        """Let go of everything."""


Key = tuple[Audience, str]


def take_batch(waiting: Line, rule: BatchRule) -> list[Waiting]:
    """Remove and return the messages of the next frame; `waiting` must not be empty."""
    first = waiting.popleft()
    batch = [first]
    size = len(first.payload)
    while waiting and len(batch) < rule.max_messages:
        following = waiting.popleft()
        size += len(following.payload)
        if (
            size > rule.max_bytes
            or following.audience is not first.audience
            or following.epoch != first.epoch
        ):
            waiting.appendleft(following)
            break
        batch.append(following)
    return batch


def newest(batch: Sequence[Waiting]) -> list[Waiting]:
    """Return the newest message of each key, in the order in which these came."""
    values: dict[Key, Waiting] = {}
    for message in batch:
        key = (message.audience, message.key)
        values.pop(key, None)
        values[key] = message
    return list(values.values())


def in_frames(payloads: Sequence[bytes], rule: BatchRule) -> Iterator[Sequence[bytes]]:
    """Cut encoded messages into runs that each fit a frame."""
    start = size = 0
    for index, payload in enumerate(payloads):
        if index > start and (
            index - start >= rule.max_messages or size + len(payload) > rule.max_bytes
        ):
            yield payloads[start:index]
            start, size = index, 0
        size += len(payload)
    if start < len(payloads):
        yield payloads[start:]


class Batch:
    """The messages of one frame on their way to everybody, and what slow clients need of them."""

    __slots__ = ("_values", "channel", "frame", "messages", "rule")

    def __init__(
        self, channel: str, rule: SlowRule, frame: Frame, messages: Sequence[Waiting]
    ) -> None:
        """Take messages of a channel and their frame; where it conflates, one of each key."""
        self.channel = channel
        self.rule = rule
        self.frame = frame
        self.messages = messages
        self._values: dict[Key, Shared] | None = None

    def values(self) -> dict[Key, Shared]:
        """Return each message by its key; made for the first client that keeps values, for all."""
        if self._values is None:
            self._values = {
                (message.audience, message.key): Shared(message.payload)
                for message in self.messages
            }
        return self._values
