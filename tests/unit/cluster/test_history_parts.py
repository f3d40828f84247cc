"""A long history is read in parts, and what is returned is one stretch of the stream."""

from __future__ import annotations

import sys

import msgspec
import pytest

from realtime_node.cluster.backplane import HistoryPage
from realtime_node.cluster.on_redis.history import PART, Stretch
from realtime_node.protocol.messages import Publication, StreamPosition

ALL = sys.maxsize


class Stream:
    """A history that Redis would read from."""

    def __init__(self, newest: int) -> None:
        self.oldest, self.newest = 1, newest

    def part(self, count: int, start: int | None, *, reverse: bool) -> HistoryPage:
        """Return what one call of the script reads."""
        offsets = range(self.oldest, self.newest + 1)
        if reverse:
            found = [each for each in reversed(offsets) if start is None or each < start]
        else:
            found = [each for each in offsets if start is None or each > start]
        publications = [Publication(data=msgspec.Raw(b"1"), offset=each) for each in found[:count]]
        return HistoryPage(
            publications=publications, top=StreamPosition(offset=self.newest, epoch="e")
        )


def read(stretch: Stretch, stream: Stream, *, reverse: bool = False, parts: int = ALL) -> list[int]:
    """Read some parts; return how large each was asked to be."""
    asked: list[int] = []
    while (count := stretch.wanted) is not None and len(asked) < parts:
        asked.append(count)
        stretch.add(stream.part(count, stretch.end, reverse=reverse))
    return asked


def offsets(stretch: Stretch) -> list[int]:
    """What was read."""
    return [each.offset for each in stretch.publications]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("newest", "most", "asked"),
    [
        (10, 0, [0]),
        (0, ALL, [PART]),
        (10, ALL, [PART]),
        (10, 3, [3]),
        (PART, PART, [PART]),
        (PART, ALL, [PART, PART]),
        (3 * PART + 1, ALL, [PART] * 4),
        (3 * PART + 1, 2 * PART + 7, [PART, PART, 7]),
    ],
)
def test_no_part_is_larger_than_one_step_may_be(
    newest: int, most: int, asked: list[int], *, reverse: bool
) -> None:
    """And no more is asked for than is wanted or there."""
    stretch = Stretch(most, reverse=reverse)
    assert read(stretch, Stream(newest), reverse=reverse) == asked
    everything = list(range(1, newest + 1))
    assert offsets(stretch) == (everything[::-1] if reverse else everything)[:most]
    assert stretch.top == StreamPosition(offset=newest, epoch="e")


def test_what_is_published_meanwhile_belongs_to_the_end() -> None:
    """Forwards the top is that of the last part, so that the reader knows whether it has all."""
    stretch, stream = Stretch(ALL, reverse=False), Stream(PART + 1)
    read(stretch, stream, parts=1)
    stream.newest += 5
    read(stretch, stream)
    assert offsets(stretch) == list(range(1, PART + 7))
    assert stretch.top.offset == PART + 6


def test_backwards_what_is_published_meanwhile_is_not_seen() -> None:
    """The answer begins with the newest publication at its own top."""
    stretch, stream = Stretch(ALL, reverse=True), Stream(PART + 1)
    read(stretch, stream, reverse=True, parts=1)
    stream.newest += 5
    read(stretch, stream, reverse=True)
    assert offsets(stretch) == list(range(PART + 1, 0, -1))
    assert stretch.top.offset == PART + 1


def test_a_beginning_that_was_trimmed_meanwhile_is_no_hole() -> None:
    """What had been read of it is dropped, as if all had been read after the trimming."""
    stretch, stream = Stretch(ALL, reverse=False), Stream(2 * PART)
    read(stretch, stream, parts=1)
    stream.oldest, stream.newest = PART + 10, 3 * PART
    read(stretch, stream)
    assert offsets(stretch) == list(range(PART + 10, 3 * PART + 1))
    assert stretch.top.offset == 3 * PART
