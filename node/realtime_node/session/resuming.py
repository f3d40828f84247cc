"""Sessions that outlive their connection, as decisions: who asks, what is kept, how it ends.

Pure. A client asks in its connect's `data`: `{"session": true}` for a new session, `{"session":
id}` for the one that an earlier reply's `data` named. `keeper` carries it out with the store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from realtime_node.cluster.session_store import Claimed, KeptGrant, Owner, SessionState, Verdict
from realtime_node.protocol.codes import CloseCode
from realtime_node.session.expiring import has_ended
from realtime_node.session.subscription import Grant

NEW: Final = ""
"""The wish for a new session."""
_ID: Final = re.compile(r"[-_A-Za-z0-9]{22}")
_RECONNECT: Final = (range(3000, 3500), range(4000, 4500), range(5000, 65536))
_GRANT_OVERHEAD: Final = 24
"""Bytes that a kept grant takes beside what is in it, and not less."""


class Ending(Enum):
    """How a connection ended, for the session that it had."""

    LOST = "lost"
    """The client did not mean it and will be back: it stays present for a while."""
    GOODBYE = "goodbye"
    """It was meant, by the client or the HTTP API; the client may come back all the same."""
    FOR_GOOD = "for good"
    """The client is not to come back: the session ends."""
    SUPERSEDED = "superseded"
    """Another connection has the session now."""

    @property
    def stays(self) -> bool:
        """Whether the client stays present for its grace."""
        return self in (Ending.LOST, Ending.SUPERSEDED)


def ending_of(close: CloseCode, *, meant: bool = False) -> Ending:
    """Return what a close from our side means; `meant`: the HTTP API asked for it."""
    if not any(close.code in codes for codes in _RECONNECT):
        return Ending.FOR_GOOD
    return Ending.GOODBYE if meant else Ending.LOST


# --- what a client asks for -----------------------------------------------------------------------


class _Wish(msgspec.Struct):
    session: bool | str | None = None


_decode_wish = msgspec.json.Decoder(_Wish).decode


def wish(data: Raw | UnsetType) -> str | None:
    """Return the session that a connect's data asks for, `NEW`, or None if it asks for none.

    What cannot be the id of a session is the wish for a new one, as an unknown id is.
    """
    if data is UNSET:
        return None
    try:
        session = _decode_wish(data).session
    except msgspec.DecodeError:
        return None  # no object, or one that means something else by this name
    if session is None or session is False:
        return None
    return session if isinstance(session, str) and _ID.fullmatch(session) else NEW


def without_wish(data: Raw | UnsetType) -> Raw | UnsetType:
    """Return what is the application's in a connect's data; UNSET if nothing is.

    The wish is the node's, and another when the client comes back: a backend that was asked with it
    would not know the question again, and a new session says nothing of who asks.
    """
    if data is UNSET or wish(data) is None:
        return data
    members = msgspec.json.decode(data, type=dict[str, Raw])
    del members["session"]
    return Raw(msgspec.json.encode(members)) if members else UNSET


def told(data: Raw | UnsetType, session: str, *, resumed: bool) -> Raw:
    """Return the reply's data: the session, beside what else is in it if that is an object."""
    told: dict[str, object] = {"session": session, "resumed": resumed}
    if data is not UNSET:
        try:
            told = {**msgspec.json.decode(data, type=dict[str, Raw]), **told}
        except msgspec.DecodeError:
            told["data"] = data
    return Raw(msgspec.json.encode(told))


# --- what is kept ---------------------------------------------------------------------------------


class Resumption:
    """What a connection has of its session; `grants` by channel, but for what namespaces allow."""

    __slots__ = ("grants", "owner")

    def __init__(self, owner: Owner, grants: dict[str, Grant]) -> None:
        """Begin with the grants of the record."""
        self.owner = owner
        self.grants = grants

    def living(self, channel: str, now: float) -> Grant | None:
        """Return what was granted in a channel and has not expired; `now` in Unix seconds."""
        grant = self.grants.get(channel)
        return grant if grant is not None and _lives(grant.expires_at, now) else None


class Kept(NamedTuple):
    """What a connect is given beside what its token says."""

    server_side: Mapping[str, Grant] = {}
    conn_info: bytes | None = None
    expires_at: float = 0
    session: str = ""
    """Empty: it asked for none."""
    resumed: bool = False


NOTHING_KEPT: Final = Kept()


def kept(claimed: Claimed, now: float) -> tuple[Kept, dict[str, Grant]]:
    """Return what a claim gives its connect, and the grants that the session goes on with."""
    state = claimed.state
    resumed = claimed.verdict is Verdict.RESUMED and state is not None
    held = {} if state is None or claimed.all_revoked else state.grants
    grants = _living({c: grant for c, grant in held.items() if c not in claimed.revoked}, now)
    server_side = {channel: grant for channel, grant in grants.items() if grant.server_side}
    return (
        Kept(
            {**server_side, **_living(claimed.subscriptions, now)},
            None if state is None else state.conn_info,
            0 if state is None else state.expires_at,
            claimed.owner.session,
            resumed,
        ),
        grants,
    )


def kept_subscriptions(subscriptions: Mapping[str, KeptGrant], now: float) -> Kept:
    """Return the same for a connect that asked for no session."""
    return Kept(_living(subscriptions, now))


def _living(grants: Mapping[str, KeptGrant], now: float) -> dict[str, Grant]:
    return {
        channel: Grant(each.server_side, each.expires_at, each.chan_info, each.data)
        for channel, each in grants.items()
        if _lives(each.expires_at, now)
    }


def _lives(expires_at: float, now: float) -> bool:
    return not has_ended(expires_at, now)


def state_of(
    client: str,
    conn_info: Raw | UnsetType,
    expires_at: float,
    grants: Iterable[tuple[str, Grant]],
    max_bytes: int,
) -> tuple[SessionState, int]:
    """Return what the record of a session is to hold, and how many grants had no room in it.

    The first ones are kept; for the others the client needs a token, or a proxy, as at first.
    """
    info = None if conn_info is UNSET else bytes(conn_info)
    room = max_bytes - len(info or b"")
    fitting: dict[str, KeptGrant] = {}
    left_out = 0
    for channel, grant in grants:
        data, chan_info = grant.data, grant.chan_info
        size = _GRANT_OVERHEAD + len(channel.encode()) + len(data or b"") + len(chan_info or b"")
        if size > room:
            left_out += 1
            continue
        room -= size
        fitting[channel] = KeptGrant(
            server_side=grant.server_side,
            expires_at=grant.expires_at,
            chan_info=chan_info,
            data=data,
        )
    state = SessionState(client=client, conn_info=info, expires_at=expires_at, grants=fitting)
    return state, left_out
