"""What a client of a channel got, in a few numbers however much it was; and whether it was right.

A subscriber of a channel with history is owed every offset once and in order. So it is enough to
compare each with the one before: a step over some is a loss, a step back is a repetition. What
stood at the offsets is kept as a sum, which the publisher's ledger must give as well. A position
that the client was told it could not continue (`recovered: false`) ends a stretch, and what lies
between two stretches is told, not lost.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

import msgspec


class Stretch(msgspec.Struct):
    """A part of a stream that was followed without a break."""

    epoch: str
    start: int
    """The offset behind which it begins."""
    end: int
    """The offset up to which it got."""
    total: int = 0
    """Sum of offset times number over all publications."""
    skipped: int = 0


class Following(msgspec.Struct):
    """All that one subscriber got."""

    channel: str
    stretches: list[Stretch] = []
    doubled: int = 0
    disordered: int = 0
    """Those that came behind a later one, after they had been missing."""
    count: int = 0

    def subscribed(self, epoch: str, offset: int, *, recovered: bool) -> None:
        """Go on where the subscriber was if it `recovered`, else from this position."""
        if not recovered or not self.stretches:
            self.stretches.append(Stretch(epoch, offset, offset))

    def is_to_be_at(self, offset: int) -> None:
        """Count as skipped what did not come though the node says that the client has it."""
        last = self.stretches[-1]
        if offset > last.end:
            last.skipped += offset - last.end
            last.end = offset

    def took(self, offset: int, number: int) -> None:
        """Count a publication."""
        last = self.stretches[-1]
        self.count += 1
        if offset <= last.end:
            if last.skipped:
                self.disordered += 1
            else:
                self.doubled += 1
            return
        last.skipped += offset - last.end - 1
        last.end = offset
        last.total += offset * number

    @property
    def position(self) -> tuple[str, int] | None:
        """Epoch and offset to recover from, if there are any."""
        return (self.stretches[-1].epoch, self.stretches[-1].end) if self.stretches else None


class Verdict(msgspec.Struct, frozen=True):
    """What went wrong, of one subscriber or of all; all zero but `told` is what is promised."""

    lost: int = 0
    """Skipped, or acknowledged behind the last that arrived."""
    doubled: int = 0
    disordered: int = 0
    altered: int = 0
    """Stretches in which another publication stood somewhere than its publisher was told."""
    told: int = 0
    """Times that a subscriber was told that something may be missing."""
    unchecked: int = 0
    """Stretches of whose publications some were never acknowledged, so that no sum is known."""

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(*(map(sum, zip(msgspec.structs.astuple(self), _values(other), strict=True))))


def _values(verdict: Verdict) -> tuple[int, ...]:
    values: tuple[int, ...] = msgspec.structs.astuple(verdict)
    return values


class _Epoch:
    """What was acknowledged in one epoch of a channel, to be summed over any range."""

    def __init__(self, numbers: Mapping[int, int]) -> None:
        self.offsets = sorted(numbers)
        products = (offset * numbers[offset] for offset in self.offsets)
        self._totals = [0, *accumulate(products)]

    def beyond(self, offset: int) -> int:
        """How many lie beyond an offset."""
        return len(self.offsets) - bisect_right(self.offsets, offset)

    def total(self, start: int, end: int) -> int | None:
        """Return the sum over (start, end], or None where one of them is not known."""
        first, last = (bisect_right(self.offsets, offset) for offset in (start, end))
        return self._totals[last] - self._totals[first] if last - first == end - start else None


class Acknowledged:
    """All that was acknowledged: channel → epoch → offset → number."""

    def __init__(self, channels: Mapping[str, Mapping[str, Mapping[int, int]]]) -> None:
        """Epochs of a channel stand in the order of their first acknowledgement."""
        self._channels = {
            channel: {epoch: _Epoch(numbers) for epoch, numbers in epochs.items()}
            for channel, epochs in channels.items()
        }

    def missing(self, following: Following) -> int:
        """Return how many were acknowledged behind the last that a subscriber got."""
        epochs = self._channels.get(following.channel, {})
        if not following.stretches:
            return sum(epoch.beyond(0) for epoch in epochs.values())
        last = following.stretches[-1]
        names = list(epochs)
        # An epoch in which nothing was acknowledged is newer than all those in which something was.
        turn = names.index(last.epoch) if last.epoch in epochs else len(names)
        later = sum(epochs[name].beyond(0) for name in names[turn + 1 :])
        return later + (epochs[last.epoch].beyond(last.end) if last.epoch in epochs else 0)

    def judge(self, following: Following) -> Verdict:
        """Hold what one subscriber got against what it was owed."""
        altered = unchecked = 0
        epochs = self._channels.get(following.channel, {})
        for stretch in following.stretches:
            if stretch.end == stretch.start or stretch.skipped:
                continue
            epoch = epochs.get(stretch.epoch)
            total = epoch.total(stretch.start, stretch.end) if epoch else None
            unchecked += total is None
            altered += total is not None and total != stretch.total
        return Verdict(
            lost=sum(stretch.skipped for stretch in following.stretches) + self.missing(following),
            doubled=following.doubled,
            disordered=following.disordered,
            altered=altered,
            told=max(len(following.stretches) - 1, 0),
            unchecked=unchecked,
        )

    def judge_all(self, followings: Sequence[Following]) -> Verdict:
        """Add up the verdicts."""
        return sum(map(self.judge, followings), start=Verdict())
