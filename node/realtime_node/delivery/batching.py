"""Batching: which waiting messages of a channel share the next frame.

Pure. Messages are encoded once when they arrive; a frame holds a run of them that goes to the same
audience, bounded in number and in bytes, so that a burst costs one write per client and a late
joiner can be given the run's tail.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final, NamedTuple

MAX_MESSAGES: Final = 16
"""Messages per frame: beyond it a frame saves little and delays the first message in it."""
MAX_BYTES: Final = 64 * 1024
"""Bytes per frame; a single larger message still gets a frame of its own."""


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


def take_batch(
    waiting: deque[Waiting], max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES
) -> list[Waiting]:
    """Remove and return the messages of the next frame; `waiting` must not be empty."""
    first = waiting.popleft()
    batch = [first]
    size = len(first.payload)
    while waiting and len(batch) < max_messages:
        following = waiting[0]
        size += len(following.payload)
        if (
            size > max_bytes
            or following.audience is not first.audience
            or following.epoch != first.epoch
        ):
            break
        batch.append(waiting.popleft())
    return batch
