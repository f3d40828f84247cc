"""Recovery: can a subscriber continue from the position it names?

Pure: a position, the stream's state and what was found in its history go in, what the subscriber
is told comes out. Called by `session.subscribing` with what the backplane read in one instant.

In a channel of newest values a returning client is owed the newest of each key, not all that it
missed; and one that was too slow for all again and again is given no more than that anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from realtime_node.delivery.flow import Policy, SlowRule
from realtime_node.protocol.messages import Publication, StreamPosition


class Reason(StrEnum):
    """Why a position could or could not be continued."""

    CONTINUED = "continued"
    OTHER_EPOCH = "the stream began anew"
    AHEAD = "the position is ahead of the stream"
    TRIMMED = "publications after the position are no longer in the history"
    TOO_MANY = "more publications follow the position than a client is given"
    TOO_SLOW = "the client was too slow for all of them, again and again"


class Recovery(NamedTuple):
    """What a recovering subscriber is told."""

    recovered: bool
    publications: list[Publication]
    """What it is given, oldest first: what it missed if `recovered`, else perhaps the newest."""
    offset: int
    """Where it stands before them: its own position if it continues, else the top."""
    reason: Reason


def recover(
    asked: StreamPosition, top: StreamPosition, found: list[Publication], *, limit: int
) -> Recovery:
    """Decide whether `found` is everything between the `asked` position and the `top`.

    Of more than `limit` publications none is recovered.

    An empty epoch asks to continue in whatever epoch there is, so a client that never saw the
    channel (offset 0, no epoch) recovers the whole history as long as nothing of it was trimmed.
    """
    if asked.epoch and asked.epoch != top.epoch:
        return _not_recovered(top, Reason.OTHER_EPOCH)
    if asked.offset > top.offset:
        return _not_recovered(top, Reason.AHEAD)
    if asked.offset == top.offset:
        return _recovered([], asked)
    if top.offset - asked.offset > limit:
        return _not_recovered(top, Reason.TOO_MANY)
    complete = (
        len(found) == top.offset - asked.offset
        and found[0].offset == asked.offset + 1
        and found[-1].offset == top.offset
    )
    if not complete:
        return _not_recovered(top, Reason.TRIMMED)
    return _recovered(found, asked)


def _not_recovered(top: StreamPosition, reason: Reason) -> Recovery:
    return Recovery(recovered=False, publications=[], offset=top.offset, reason=reason)


def _recovered(publications: list[Publication], asked: StreamPosition) -> Recovery:
    return Recovery(
        recovered=True, publications=publications, offset=asked.offset, reason=Reason.CONTINUED
    )


def newest(publications: Sequence[Publication], key: str) -> list[Publication]:
    """Return the newest publication for each value of the tag `key`, oldest first.

    Those without the tag are one value; with an empty `key` all are.
    """
    values: dict[str, Publication] = {}
    for publication in publications:
        value = (publication.tags or {}).get(key, "") if key else ""
        values.pop(value, None)
        values[value] = publication
    return list(values.values())


def fit(
    recovery: Recovery, found: Sequence[Publication], rule: SlowRule, *, is_repeat_offender: bool
) -> Recovery:
    """Return what the channel's rule for slow clients leaves of a recovery.

    `found` is what the history had after the position. Where the whole channel is one value, its
    newest publication is all there is to recover, however much of the way to it was trimmed.
    """
    if not found or recovery.reason not in (Reason.CONTINUED, Reason.TRIMMED):
        return recovery
    values = newest(found, rule.key)
    if is_repeat_offender:
        top = found[-1].offset
        return Recovery(recovered=False, publications=values, offset=top, reason=Reason.TOO_SLOW)
    if rule.policy is not Policy.LATEST:
        return recovery
    if recovery.recovered or rule.key:
        return recovery._replace(publications=values)
    return recovery._replace(recovered=True, publications=values, offset=values[0].offset - 1)


def reads_all(rule: SlowRule) -> bool:
    """Whether more than is given has to be read: the newest values, to tell them from the rest."""
    return rule.policy is Policy.LATEST


def bounded(recovery: Recovery, top: StreamPosition, *, limit: int) -> Recovery:
    """Return what may be given of a recovery: nothing, if that is more than `limit`."""
    if len(recovery.publications) <= limit:
        return recovery
    return _not_recovered(top, Reason.TOO_MANY)
