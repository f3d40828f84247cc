"""The keeper: connections get their sessions from the store here, and give them back.

A connect claims its session and everything kept with one question to the store. What changes later
(a grant, a refresh) is only marked: one task writes what was marked in a pass of the loop, once per
session, and lets the records of ended connections wait for their clients. Nothing of it is on the
way of a message.

Bounds: one note per session of this node, live or just ended, and one for each of about
`MAX_UNDONE` claims that had no answer. Notes are kept through an outage of the store and worked off
(`chore`) after it. Clients that try again meanwhile bring nothing but claims to be undone; those
for which there is no room stay as they are: whose they are takes them over, and nobody's end with
this node.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import UNSET

from realtime_node.cluster.session_store import Claimed, Owner, SessionState, SessionStore, Verdict
from realtime_node.errors import BackplaneError, Disconnect
from realtime_node.protocol import codes
from realtime_node.session.chore import Chore, Step
from realtime_node.session.resuming import (
    NOTHING_KEPT,
    Ending,
    Kept,
    Resumption,
    kept,
    kept_subscriptions,
    state_of,
    wish,
)
from realtime_node.supervision import guard, supervise

if TYPE_CHECKING:
    from realtime_node.config import ClientSettings
    from realtime_node.protocol.messages import ConnectRequest
    from realtime_node.session.claims import ConnectionClaims
    from realtime_node.session.session import Session
    from realtime_node.telemetry.metrics import SessionMetrics

logger = logging.getLogger(__name__)

MAX_UNDONE: Final = 10_000
"""More than a node can have under way when the store goes: most that come later were never sent."""
_REFUSED: Final = (Verdict.UNKNOWN, Verdict.FOREIGN, Verdict.EXPIRED, Verdict.REVOKED)


class _Note(NamedTuple):
    """What is to be told of a connection's record."""

    owner: Owner
    session: Session | None
    """Whose state it is to hold; None: what it holds."""
    ending: Ending | None = None
    """None: the connection lives."""


class Keeper:
    """Sessions and server-side subscriptions of a node's clients."""

    def __init__(
        self,
        store: SessionStore,
        settings: ClientSettings,
        metrics: SessionMetrics,
        *,
        node_id: Callable[[], str],
        wall_clock: Callable[[], float],
    ) -> None:
        """Keep them in `store`; `wall_clock` in Unix seconds."""
        self._store = store
        self.keeps_sessions = settings.session.enabled
        """Whether `session` in a connect's data is the node's to read."""
        self._window_ms = int(settings.session.resume_window.total_seconds() * 1000)
        self._max_bytes = settings.session.max_size
        self._keeps_subscriptions = settings.api_subscriptions.kept
        self.is_enabled = self.keeps_sessions or self._keeps_subscriptions
        """Whether anything outlives a connection here; otherwise nobody has to be admitted."""
        self._metrics = metrics
        self._node_id = node_id
        self._wall_clock = wall_clock
        self._notes: dict[str, _Note] = {}
        # Those of claims without an answer, being written or waiting.
        self._undoing: set[str] = set()
        self._chore = Chore("session-records", self._next_steps)
        # One for each connect that takes a session over, no longer than the store's deadline.
        self._telling: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return how many records are still to be written."""
        return len(self._notes)

    # --- a connect ------------------------------------------------------------------------------

    async def admit(
        self, session: Session, claims: ConnectionClaims, request: ConnectRequest
    ) -> Kept:
        """Give a connecting client what it left, and the session that it asks for.

        Raises `BackplaneError`: then nothing is lost, and the client tries again. Raises
        `Disconnect` if another connection took the session at the same moment.
        """
        asked = wish(request.data) if self.keeps_sessions else None
        if asked is None:
            if not self._keeps_subscriptions or not claims.user:
                return NOTHING_KEPT
            found = await self._store.user_subscriptions(claims.user)
            return kept_subscriptions(found, self._wall_clock())
        claimed = await self._claim(session, claims, asked)
        given, grants = kept(claimed, self._wall_clock())
        session.resumption = Resumption(claimed.owner, grants)
        if claimed.state is not None:
            session.client_id = claimed.state.client
        took_over = session.services.registry.took_over(session)
        # Overtaken or not: who comes after this connection tells this one's node, and nobody else.
        if claimed.previous_node not in ("", self._node_id()):
            # It is told even if this connection is itself overtaken, and cancelled, meanwhile.
            telling = supervise(partial(self._tell_superseded, claimed), name="session-superseded")
            self._telling.add(telling)
            await asyncio.shield(telling)
        if not took_over:
            raise Disconnect(*codes.FORCE_DISCONNECT, detail="its session is taken over")
        return given

    async def _claim(self, session: Session, claims: ConnectionClaims, asked: str) -> Claimed:
        user = claims.user
        state = SessionState(
            client=session.client_id, conn_info=claims.info, expires_at=claims.expire_at
        )
        new = Owner(self._store.new_id(user, asked), user, secrets.token_hex(8), self._window_ms)
        try:
            claimed = await self._store.claim(asked, new, state)
        except BaseException:
            # Without an answer, or cancelled because the client is gone: it may have been done.
            self._undo(asked, new)
            raise
        self._metrics.session_claims.labels(claimed.verdict.value).inc()
        if claimed.verdict in _REFUSED:
            logger.info(
                "client %s of user %r: the session it asks for is %s, it gets a new one",
                session.client_id,
                user,
                claimed.verdict.value,
            )
        return claimed

    def _undo(self, asked: str, new: Owner) -> None:
        if len(self._undoing) >= MAX_UNDONE:
            return
        undoing = {f"{new.connection} new": _Note(new, None, Ending.FOR_GOOD)}
        if asked:
            taken = new._replace(session=asked)
            undoing[new.connection] = _Note(taken, None, Ending.LOST)
        self._undoing.update(undoing)
        for key, note in undoing.items():
            self._note(key, note)

    async def _tell_superseded(self, claimed: Claimed) -> None:
        owner = claimed.owner
        # It is tried once: the older connection cannot write as this session any more, told or not.
        with guard("session-superseded"):
            try:
                await self._store.tell_superseded(claimed.previous_node, owner.session, owner.token)
            except BackplaneError as error:
                logger.warning("an older connection of a session is not told: %s", error)
            finally:
                self._telling.discard(asyncio.current_task())

    # --- a connection with a session -------------------------------------------------------------

    async def is_superseded(self, owner: Owner) -> bool:
        """Whether another connection has the session now."""
        return not await self._store.is_owner(owner)

    def connected(self, session: Session, given: Kept) -> None:
        """Note what a resumed session's client is known by now, if that is something else."""
        info = None if session.conn_info is UNSET else bytes(session.conn_info)
        if given.resumed and (info, session.expires_at) != (given.conn_info, given.expires_at):
            self.touch(session)

    def touch(self, session: Session) -> None:
        """Write what a session's record is to hold, soon; that it has ended stays said."""
        if session.resumption is not None and session.is_open:
            owner = session.resumption.owner
            self._note(owner.connection, _Note(owner, session))

    def ended(self, session: Session, ending: Ending) -> None:
        """Let a session's record wait for the client, or end it."""
        if session.resumption is not None:
            owner = session.resumption.owner
            self._note(owner.connection, _Note(owner, session, ending))

    def refused(self, session: Session) -> None:
        """Let the session of a connect that came to nothing wait for the client, as it was."""
        if session.resumption is not None:
            owner, session.resumption = session.resumption.owner, None
            self._note(owner.connection, _Note(owner, None, Ending.LOST))

    # --- writing --------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Return when everything noted so far is written."""
        await self._chore.drain()

    async def close(self) -> None:
        """Stop writing; what is left the others find out when this node is gone."""
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)
        await self._chore.close()

    def _note(self, key: str, note: _Note) -> None:
        self._notes[key] = note
        self._chore.wake()

    def _next_steps(self, most: int) -> list[Step]:
        return [self._write(key) for key in islice(self._notes, most)]

    async def _write(self, key: str) -> bool:
        note = self._notes.pop(key, None)
        if note is None:
            return True
        owner, session, ending = note
        try:
            if ending is not None:
                state = None if session is None else self._state(session)
                await self._store.release(owner, state, forget=ending is Ending.FOR_GOOD)
            elif session is not None and not await self._store.write(owner, self._state(session)):
                session.superseded()
        except BackplaneError as error:
            logger.warning("the record of a session is not written yet: %s", error)
            # What was noted meanwhile says more.
            self._notes.setdefault(key, note)
            return False
        except BaseException:
            self._notes.setdefault(key, note)
            raise
        self._undoing.discard(key)
        return True

    def _state(self, session: Session) -> SessionState:
        assert session.resumption is not None
        state, left_out = state_of(
            session.client_id,
            session.conn_info,
            session.expires_at,
            session.resumption.grants.items(),
            self._max_bytes,
        )
        if left_out:
            self._metrics.session_grants_left_out.inc(left_out)
        return state
