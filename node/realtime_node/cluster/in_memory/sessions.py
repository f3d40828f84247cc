"""Sessions of an `InMemoryCluster`.

Bound: records without a connection are dropped when their window has ended, at the latest with the
next claim.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from realtime_node.cluster.backplane import Entry, EntryKind, SupersedeSession
from realtime_node.cluster.session_store import (
    SESSION_ID_BYTES,
    Claimed,
    KeptGrant,
    Owner,
    SessionState,
    Verdict,
)

from .cluster import InMemoryCluster, Member
from .session_table import SessionRecord

_END = "\n"
"""No channel is named so."""


class InMemorySessions:
    """Implements `SessionStore` for one node."""

    def __init__(
        self,
        cluster: InMemoryCluster,
        joined: Callable[[], Member],
        *,
        wall_clock: Callable[[], float],
    ) -> None:
        """`joined` returns the node or raises `BackplaneUnavailableError`."""
        self._cluster = cluster
        self._table = cluster.sessions
        self._joined = joined
        self._wall_clock = wall_clock

    def watch(self, on_lost: Callable[[Owner], None]) -> None:
        """See `SessionStore.watch`; here a node is never taken for dead."""

    def new_id(self, user: str, asked: str) -> str:
        """See `SessionStore.new_id`."""
        del user, asked
        return secrets.token_urlsafe(SESSION_ID_BYTES)

    async def claim(self, asked: str, new: Owner, state: SessionState) -> Claimed:
        """See `SessionStore.claim`."""
        member = self._joined()
        self._drop_expired()
        table, now = self._table, self._cluster.now()
        table.tokens += 1
        subscriptions = self._living(table.subscriptions.get(new.user, {}))
        verdict = self._verdict(asked, new.user)
        if verdict is not Verdict.RESUMED:
            owner = new._replace(token=table.tokens)
            table.records[new.session] = SessionRecord(owner, member.node_id, state, claimed_at=now)
            return Claimed(owner, verdict, subscriptions=subscriptions)
        record = table.records[asked]
        served = self._served_at(record)
        taken = {**table.revoked.get(new.user, {}), **record.revoked}
        fresh = {channel for channel, at in taken.items() if at >= served}
        previous = "" if record.ended_at is not None else record.node
        record.owner = record.owner._replace(connection=new.connection, token=table.tokens)
        record.node, record.ended_at, record.claimed_at = member.node_id, None, now
        return Claimed(
            record.owner,
            verdict,
            record.state,
            previous_node=previous,
            subscriptions={**subscriptions, **self._living(record.subscriptions)},
            revoked=frozenset(fresh - {"", _END}),
            all_revoked="" in fresh,
        )

    def _verdict(self, asked: str, user: str) -> Verdict:
        if not asked:
            return Verdict.NEW
        record = self._table.records.get(asked)
        if record is None:
            return Verdict.UNKNOWN
        if record.owner.user != user:
            return Verdict.FOREIGN
        if self._has_expired(record):
            return Verdict.EXPIRED
        taken = (self._table.revoked.get(user, {}), record.revoked)
        if any(notes.get(_END, -1) >= self._served_at(record) for notes in taken):
            return Verdict.REVOKED
        return Verdict.RESUMED

    def _served_at(self, record: SessionRecord) -> float:
        """When a record was last certain to be served."""
        if record.ended_at is not None:
            return record.ended_at
        return max(self._cluster.heard_of(record.node), record.claimed_at)

    def _has_expired(self, record: SessionRecord) -> bool:
        ends = self._served_at(record) + record.owner.window_ms / 1000
        is_served = record.ended_at is None and self._cluster.is_alive(record.node)
        return not is_served and self._cluster.now() > ends

    def _drop_expired(self) -> None:
        records = self._table.records
        for session in [each for each, record in records.items() if self._has_expired(record)]:
            del records[session]

    def _living(self, grants: Mapping[str, KeptGrant]) -> dict[str, KeptGrant]:
        now = self._wall_clock()
        return {
            channel: grant
            for channel, grant in grants.items()
            if not grant.expires_at or grant.expires_at > now
        }

    async def write(self, owner: Owner, state: SessionState) -> bool:
        """See `SessionStore.write`."""
        node_id, now = self._joined().node_id, self._cluster.now()
        record = self._table.records.setdefault(
            owner.session, SessionRecord(owner, node_id, state, claimed_at=now)
        )
        if record.owner.connection != owner.connection:
            return False
        record.state, record.ended_at = state, None
        return True

    async def release(self, owner: Owner, state: SessionState | None, *, forget: bool) -> bool:
        """See `SessionStore.release`."""
        record = self._owned(owner)
        if record is None:
            return False
        if forget:
            del self._table.records[owner.session]
            return True
        record.state, record.ended_at = state or record.state, self._cluster.now()
        return True

    async def is_owner(self, owner: Owner) -> bool:
        """See `SessionStore.is_owner`."""
        return self._owned(owner) is not None or owner.session not in self._table.records

    def _owned(self, owner: Owner) -> SessionRecord | None:
        self._joined()
        record = self._table.records.get(owner.session)
        return record if record and record.owner.connection == owner.connection else None

    async def tell_superseded(self, node: str, session: str, token: int) -> None:
        """See `SessionStore.tell_superseded`."""
        self._joined()
        control = SupersedeSession(session=session, token=token)
        entry = Entry(partition=0, sequence=0, kind=EntryKind.CONTROL, control=control)
        for member in self._cluster.live_members():
            if member.node_id == node:
                self._cluster.put(member, entry)

    async def user_subscriptions(self, user: str) -> Mapping[str, KeptGrant]:
        """See `SessionStore.user_subscriptions`."""
        self._joined()
        return self._living(self._table.subscriptions.get(user, {}))

    async def subscribe(
        self, user: str, channel: str, grant: KeptGrant, *, session: str = "", limit: int
    ) -> bool:
        """See `SessionStore.subscribe`."""
        self._joined()
        record = self._table.records.get(session)
        if session and (record is None or record.owner.user != user):
            return False
        held = record.subscriptions if record else self._table.subscriptions.setdefault(user, {})
        for each in held.keys() - self._living(held).keys():
            del held[each]
        if channel not in held and len(held) >= limit:
            return False
        held[channel] = grant
        return True

    async def unsubscribe(
        self, user: str, channel: str, *, session: str = "", remembered_ms: int
    ) -> None:
        """See `SessionStore.unsubscribe`."""
        self._joined()
        record = self._table.records.get(session)
        if session and record is None:
            return
        held = record.subscriptions if record else self._table.subscriptions.get(user, {})
        if channel:
            held.pop(channel, None)
        else:
            held.clear()
        if not record and not held:
            self._table.subscriptions.pop(user, None)
        if record:
            record.revoked[channel] = self._cluster.now()
        elif remembered_ms:
            self._note(user, channel, remembered_ms)

    async def revoke(self, user: str, *, session: str = "", remembered_ms: int) -> None:
        """See `SessionStore.revoke`."""
        self._joined()
        record = self._table.records.get(session)
        if record:
            record.revoked[_END] = self._cluster.now()
        elif not session:
            self._note(user, _END, remembered_ms)

    def _note(self, user: str, what: str, remembered_ms: int) -> None:
        now = self._cluster.now()
        notes = self._table.revoked.setdefault(user, {})
        notes[what] = now
        for noted_for, each in list(self._table.revoked.items()):
            for name in [name for name, at in each.items() if now - at > remembered_ms / 1000]:
                del each[name]
            if not each:
                del self._table.revoked[noted_for]
