"""Ids of inbox entries: `1-<sequence>`, as the scripts write them with `XADD … 1-*`."""

from __future__ import annotations

from typing import Final

_PREFIX: Final = b"1-"
_PREFIX_LENGTH: Final = 2


def entry_id(sequence: int) -> bytes:
    """The id of an entry, by its sequence."""
    return b"1-%d" % sequence


def sequence_of(entry: bytes) -> int:
    """The sequence of an entry, by its id; raises ValueError for one that is none of ours."""
    if entry[:_PREFIX_LENGTH] != _PREFIX:
        raise ValueError(f"{entry!r} is no id of an inbox entry")
    return int(entry[_PREFIX_LENGTH:])
