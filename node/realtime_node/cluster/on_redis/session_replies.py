"""What Redis answers about sessions, as the store's callers want to hear it.

Pure. The fields of a record, and of what is kept for a user, are told in `session_claim.lua`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from realtime_node.cluster.session_store import Claimed, KeptGrant, Owner, SessionState, Verdict

from .entries import UnreadableEntryError, decode_grant, decode_session
from .replies import MISREAD, Reply, number, pairs, status, text

_log = logging.getLogger(__name__)

SUBSCRIPTION: Final = b"s:"
"""Begins the field of a server-side subscription, before its channel."""
REVOKED: Final = b"r:"
"""Begins the field that tells when what granted a channel was taken."""
ALL_REVOKED: Final = b"all"
END: Final = b"end"
"""The field that tells when the sessions were."""

_RESUMED: Final = b"RESUMED"
_LIVE_SLACK_MS: Final = 5_000
"""What was taken so shortly before a record was last certain to be served may not have reached the
node that served it."""


def claimed_from(asked: str, new: Owner, reply: Reply) -> Claimed:
    """Read the answer of `session_claim.lua`; raises `UnreadableEntryError` for a broken record."""
    if status(reply) != _RESUMED:
        _, token, why, subscriptions = reply
        return Claimed(
            new._replace(token=number(token)),
            Verdict(text(why) or Verdict.NEW),
            subscriptions=subscriptions_from(subscriptions),
        )
    _, token, record, subscriptions, taken, served_ms = reply
    given = new._replace(session=asked, token=number(token))
    subscribed = subscriptions_from(subscriptions) | subscriptions_from(record)
    kept, lost, since = pairs(record), pairs(taken), number(served_ms) - _LIVE_SLACK_MS
    try:
        return _resumed(given, kept, lost, since, subscribed)
    except MISREAD as error:
        raise UnreadableEntryError(f"the record of a session cannot be read: {error!r}") from error


def _resumed(
    given: Owner,
    record: Mapping[bytes, bytes],
    taken: dict[bytes, bytes],
    since_ms: int,
    subscriptions: dict[str, KeptGrant],
) -> Claimed:
    taken.update((field, at) for field, at in record.items() if field.startswith(REVOKED))
    if ALL_REVOKED in record:
        taken[ALL_REVOKED] = record[ALL_REVOKED]
    fresh = [field for field, at in taken.items() if int(at) >= since_ms]
    return Claimed(
        given._replace(window_ms=int(record[b"window"])),
        Verdict.RESUMED,
        _state(record[b"state"]),
        previous_node="" if b"ended" in record else record[b"owner"].decode(),
        subscriptions=subscriptions,
        revoked=frozenset(
            field.removeprefix(REVOKED).decode() for field in fresh if field.startswith(REVOKED)
        ),
        all_revoked=ALL_REVOKED in fresh,
    )


def _state(payload: bytes) -> SessionState | None:
    try:
        return decode_session(payload)
    except UnreadableEntryError as error:
        _log.warning("a session is resumed without what it held: %s", error)
        return None


def subscriptions_from(flat: Reply) -> dict[str, KeptGrant]:
    """Read the server-side subscriptions among the fields of a record or a user."""
    found: dict[str, KeptGrant] = {}
    for field, value in pairs(flat).items():
        if not field.startswith(SUBSCRIPTION):
            continue
        try:
            found[field.removeprefix(SUBSCRIPTION).decode()] = decode_grant(value)
        except (UnreadableEntryError, UnicodeDecodeError) as error:
            _log.warning("a server-side subscription is left out: %s", error)
    return found
