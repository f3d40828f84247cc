"""When a file counts as changed."""

from __future__ import annotations

from realtime_node.config.source import Stamp, Watch

OLD = Stamp(1, 10, 100, 5)
NEW = Stamp(1, 11, 100, 5)
NEWER = Stamp(1, 11, 200, 7)


def looks(watch: Watch, *stamps: Stamp | None) -> list[bool]:
    """What a watch says of one look after the other."""
    return [watch.is_new(stamp) for stamp in stamps]


def test_a_file_that_stays_the_same_is_not_new() -> None:
    """Looking reads nothing."""
    assert looks(Watch(OLD), OLD, OLD, OLD) == [False, False, False]


def test_a_change_counts_at_the_second_look() -> None:
    """A swapped link is another inode; it is taken once it was seen twice."""
    assert looks(Watch(OLD), NEW, NEW) == [False, True]


def test_a_file_that_is_being_written_does_not_count() -> None:
    """While it differs at every look nobody reads it."""
    assert looks(Watch(OLD), NEW, NEWER, NEWER) == [False, False, True]


def test_what_was_taken_is_not_new_any_more() -> None:
    """Right or wrong, a file is read once."""
    watch = Watch(OLD)
    watch.take(NEW)
    assert looks(watch, NEW, NEW, OLD, OLD) == [False, False, False, True]


def test_a_file_that_is_gone_counts_as_changed() -> None:
    """It is told of; a moment without a file, as when one is replaced, is not."""
    assert looks(Watch(OLD), None, OLD, OLD) == [False, False, False]
    assert looks(Watch(OLD), None, None) == [False, True]


def test_without_a_file_there_is_nothing_new() -> None:
    """A node that has its settings from the environment alone reads them again when told to."""
    assert looks(Watch(None), None, None) == [False, False]
