"""Sessions: what outlives a client's connection, so that any node serves it when it comes back.

A *record* holds what cannot be had again for nothing: the client's id, what it is known by, and
what tokens, proxies or the HTTP API granted it. Beside the records are the *server-side
subscriptions* that the HTTP API made for a user, which belong to no connection at all.

The contract, whatever the implementation:

- **One owner.** At any instant a record belongs to one connection. `claim` gives it to another in
  one step, with a `token` that is larger than every one before. From then on the store refuses what
  the connections before it want to write (`write` and `release` return False).
- **Bound to its user.** Who asks for a record of somebody else gets a new one, as if there were
  none.
- **Life.** A record counts while its owner's node is alive, and for its `window_ms` after the owner
  released it or its node was heard of last. Nobody refreshes it meanwhile, whatever the number of
  records, and nobody has to notice a node's death before a record of it can be claimed.
- **One round trip.** `claim` also brings the user's server-side subscriptions, and what was taken
  from the user while the record had no connection.
- **The store may be away.** Every method then raises `BackplaneUnavailableError` within the store's
  deadline; what became of the call is not known. A claim without an answer is undone by releasing
  what it asked for: `release` goes by the connection, whose name the caller gave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

import msgspec

SESSION_ID_BYTES: Final = 16
"""Random bytes of a session's id, which is all that protects a session of nobody."""


class KeptGrant(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What was granted in a channel, by a token, a proxy or the HTTP API."""

    server_side: bool = False
    expires_at: float = 0
    """Unix seconds; 0: never."""
    chan_info: bytes | None = None
    data: bytes | None = None


class SessionState(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a record brings back."""

    client: str
    conn_info: bytes | None = None
    expires_at: float = 0
    """End of the connection in Unix seconds, unless refreshed; 0: never."""
    grants: dict[str, KeptGrant] = {}


class Owner(NamedTuple):
    """A connection's hold on a record."""

    session: str
    user: str
    connection: str
    """Made up by the caller, never twice."""
    window_ms: int
    token: int = 0
    """0 while the claim has no answer."""


class Verdict(StrEnum):
    """What became of the wish for a session."""

    RESUMED = "resumed"
    NEW = "new"
    """None was asked for."""
    UNKNOWN = "unknown"
    FOREIGN = "foreign"
    """It belongs to another user. In a Redis Cluster it may be `UNKNOWN` instead."""
    EXPIRED = "expired"
    REVOKED = "revoked"
    """The user was disconnected for good while the session had no connection."""


class Claimed(NamedTuple):
    """The answer to a claim."""

    owner: Owner
    verdict: Verdict
    state: SessionState | None = None
    """What a resumed record holds; None where another release wrote it in an unknown way."""
    previous_node: str = ""
    """Where the connection was that had the record until now, if it had not released it."""
    subscriptions: Mapping[str, KeptGrant] = {}
    """Server-side subscriptions of the user, and of this session alone; some may have expired."""
    revoked: frozenset[str] = frozenset()
    """Channels that were taken from the user or this session while it had no connection."""
    all_revoked: bool = False


class SessionStore(Protocol):
    """The records and server-side subscriptions of all users."""

    def watch(self, on_lost: Callable[[Owner], None]) -> None:
        """Tell `on_lost` of an owner of ours that lost its record and has not asked."""

    def new_id(self, user: str, asked: str) -> str:
        """Make up the id of a record that can be made in the place of the `asked` one."""

    async def claim(self, asked: str, new: Owner, state: SessionState) -> Claimed:
        """Make `new.connection` the owner of the record `asked`.

        Where that cannot be (or `asked` is empty) a record `new.session` with `state` is made. The
        owner in the answer has the token; `new` has none yet.
        """

    async def write(self, owner: Owner, state: SessionState) -> bool:
        """Replace what a record holds; False, and nothing is written, if another owns it now."""

    async def release(self, owner: Owner, state: SessionState | None, *, forget: bool) -> bool:
        """Let a record wait for its client, or `forget` it; False if another owns it now.

        With a `state` of None it holds what it did.
        """

    async def is_owner(self, owner: Owner) -> bool:
        """Whether no other connection owns the record at this moment."""

    async def tell_superseded(self, node: str, session: str, token: int) -> None:
        """Have a node end its connection of a session that has an older token than this."""

    async def user_subscriptions(self, user: str) -> Mapping[str, KeptGrant]:
        """The server-side subscriptions of a user, as a claim brings them along."""

    async def subscribe(
        self, user: str, channel: str, grant: KeptGrant, *, session: str = "", limit: int
    ) -> bool:
        """Keep a server-side subscription, of the user or of one session of the user alone.

        False if there are `limit` others, or the session is not known. It ends with `unsubscribe`,
        with its `expires_at`, or with the session.
        """

    async def unsubscribe(
        self, user: str, channel: str, *, session: str = "", remembered_ms: int
    ) -> None:
        """End a server-side subscription (empty `channel`: all), and what grants it.

        Sessions without a connection learn it with their next claim, for `remembered_ms`; those
        with one are the caller's to tell.
        """

    async def revoke(self, user: str, *, session: str = "", remembered_ms: int) -> None:
        """Let none of a user's sessions (or not this one) that have no connection be resumed."""
