"""Recovery: can a subscriber continue from the position it names?

Pure: a position, the stream's state and what was found in its history go in, what the subscriber
is told comes out. Called by `session.subscribing` with what the backplane read in one instant.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from realtime_node.protocol.messages import Publication, StreamPosition


class Reason(StrEnum):
    """Why a position could or could not be continued."""

    CONTINUED = "continued"
    OTHER_EPOCH = "the stream began anew"
    AHEAD = "the position is ahead of the stream"
    TRIMMED = "publications after the position are no longer in the history"


class Recovery(NamedTuple):
    """What a recovering subscriber is told."""

    recovered: bool
    publications: list[Publication]
    """What it missed, oldest first; empty unless `recovered`."""
    reason: Reason


def recover(asked: StreamPosition, top: StreamPosition, found: list[Publication]) -> Recovery:
    """Decide whether `found` is everything between the `asked` position and the `top`.

    An empty epoch asks to continue in whatever epoch there is, so a client that never saw the
    channel (offset 0, no epoch) recovers the whole history as long as nothing of it was trimmed.
    """
    if asked.epoch and asked.epoch != top.epoch:
        return Recovery(recovered=False, publications=[], reason=Reason.OTHER_EPOCH)
    if asked.offset > top.offset:
        return Recovery(recovered=False, publications=[], reason=Reason.AHEAD)
    if asked.offset == top.offset:
        return Recovery(recovered=True, publications=[], reason=Reason.CONTINUED)
    complete = (
        len(found) == top.offset - asked.offset
        and found[0].offset == asked.offset + 1
        and found[-1].offset == top.offset
    )
    if not complete:
        return Recovery(recovered=False, publications=[], reason=Reason.TRIMMED)
    return Recovery(recovered=True, publications=found, reason=Reason.CONTINUED)
