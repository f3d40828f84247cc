"""What was acknowledged, held against what each subscriber got.

A publisher writes into the `Ledger` what it was told of each publication: epoch, offset and number.
A subscriber keeps a `Reading`: segments within which nothing may be missing. A segment ends only
where the subscriber was told that it could not be continued (`recovered: false`), and what lies
between its end and the beginning of the next is told, not lost. Whatever happened in between, the
ledger then says of each reading how much was lost silently, came twice, or in another order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_Place = tuple[float, float]
"""Turn of an epoch, and an offset in it: what comes later in a stream is greater."""


@dataclass
class Segment:
    """A part of a stream that a subscriber follows without a break."""

    epoch: str
    start: int
    """The offset behind which it begins."""
    seen: list[tuple[int, int]] = field(default_factory=list)
    """Offset and number of every publication, in the order of arrival."""

    @property
    def end(self) -> int:
        """The offset up to which it got."""
        return self.seen[-1][0] if self.seen else self.start


class Reading:
    """All that one subscriber of a channel got."""

    def __init__(self, channel: str) -> None:
        """Begin before the first subscribe."""
        self.channel = channel
        self.segments: list[Segment] = []
        self.newest = 0
        """The number of the last publication that arrived; 0: none yet."""

    @property
    def is_begun(self) -> bool:
        """Whether the subscriber has ever had a position."""
        return bool(self.segments)

    @property
    def times_told(self) -> int:
        """How often the subscriber was told that something may be missing."""
        return max(len(self.segments) - 1, 0)

    @property
    def count(self) -> int:
        """Publications that arrived."""
        return sum(len(segment.seen) for segment in self.segments)

    def subscribed(self, epoch: str, offset: int, *, recovered: bool) -> None:
        """Go on where the subscriber was if it `recovered`, else from this position."""
        if not recovered or not self.segments:
            self.segments.append(Segment(epoch, offset))

    def took(self, offset: int, number: int) -> None:
        """Keep a publication that arrived."""
        self.segments[-1].seen.append((offset, number))
        self.newest = number


class Verdict(NamedTuple):
    """What went wrong with one reading; all zero is what is promised."""

    lost: int
    """Acknowledged, never arrived, and the subscriber was not told."""
    doubled: int
    disordered: int
    """Behind a later one, or at another place of the stream than the publisher was told."""


class Ledger:
    """Number of every acknowledged publication by channel, epoch and offset."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._channels: dict[str, dict[str, dict[int, int]]] = {}
        self.count = 0

    @property
    def channels(self) -> Mapping[str, Mapping[str, Mapping[int, int]]]:
        """All of them; epochs of a channel stand in the order of their first acknowledgement."""
        return self._channels

    def acknowledge(self, channel: str, epoch: str, offset: int, number: int) -> None:
        """Write a publication down.

        Raises:
            AssertionError: another publication was acknowledged at the same place.
        """
        numbers = self._channels.setdefault(channel, {}).setdefault(epoch, {})
        other = numbers.setdefault(offset, number)
        assert other == number, f"{channel} {epoch} {offset} was given to {other} and to {number}"
        self.count += 1

    def is_up_to_date(self, reading: Reading) -> bool:
        """Whether a subscriber follows the newest epoch and has got its top."""
        epochs = self._channels.get(reading.channel, {})
        if not epochs or not reading.segments:
            return reading.is_begun
        newest, numbers = list(epochs.items())[-1]
        last = reading.segments[-1]
        return last.epoch == newest and last.end >= max(numbers)

    def judge(self, reading: Reading) -> Verdict:
        """Compare one reading with what was acknowledged."""
        epochs = self._channels.get(reading.channel, {})
        places = {
            number: (epoch, offset)
            for epoch, numbers in epochs.items()
            for offset, number in numbers.items()
        }
        seen = {
            (segment.epoch, offset): number
            for segment in reading.segments
            for offset, number in segment.seen
        }
        turns = {epoch: turn for turn, epoch in enumerate(epochs)}
        owed = _owed(reading, turns)
        lost = sum(
            seen.get((epoch, offset)) != number
            for number, (epoch, offset) in places.items()
            if any(after < (turns[epoch], offset) <= up_to for after, up_to in owed)
        )
        misplaced = sum(places.get(number, place) != place for place, number in seen.items())
        backwards = sum(
            later < earlier
            for segment in reading.segments
            for (earlier, _), (later, _) in pairwise(segment.seen)
        )
        numbers = [number for segment in reading.segments for _, number in segment.seen]
        return Verdict(lost, len(numbers) - len(set(numbers)), misplaced + backwards)


def _owed(reading: Reading, turns: dict[str, int]) -> list[tuple[_Place, _Place]]:
    """Return the parts of a stream, as (after, up to), within which nothing may be missing."""
    owed: list[tuple[_Place, _Place]] = []
    for segment in reading.segments:
        # An epoch in which nothing was acknowledged owes nothing.
        turn = turns.get(segment.epoch, len(turns))
        owed.append(((turn, segment.start), (turn, segment.end)))
    if owed:
        # The last one is open: what no later segment excuses had to arrive.
        owed[-1] = (owed[-1][0], (math.inf, math.inf))
    return owed
