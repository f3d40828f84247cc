"""Sessions on Redis: a hash per record, a hash of server-side subscriptions per user.

All keys of a user are of one partition, and so are those of the sessions of nobody, by their ids: a
claim is one script. What counts is read together with who is alive, as presence is; the janitor
gives the records of dead nodes an end. The node keeps what its own records hold: a new identity, or
a Redis that has forgotten, gets them again from there.

Bound: as many as this node has connections with a session.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

from realtime_node.cluster.backplane import SupersedeSession
from realtime_node.cluster.session_store import (
    SESSION_ID_BYTES,
    Claimed,
    KeptGrant,
    Owner,
    SessionState,
)

from .all_of import all_of
from .commands import Commands
from .entries import (
    encode_control,
    encode_grant,
    encode_session,
)
from .keys import Keys
from .liveness import Liveness
from .options import RedisOptions
from .replies import OK, Reply, ok, one_of, text
from .runner import Call, Runner, always
from .script import (
    SESSION_CLAIM,
    SESSION_OWNER,
    SESSION_RELEASE,
    SESSION_TELL,
    SESSION_WRITE,
    USER_SUBSCRIBE,
    USER_SUBSCRIPTIONS,
    USER_UNSUBSCRIBE,
)
from .session_replies import (
    ALL_REVOKED,
    END,
    REVOKED,
    SUBSCRIPTION,
    claimed_from,
    subscriptions_from,
)

_WRITES_AT_ONCE: Final = 128
_MAX_NOTES: Final = 1_024
_CONTROL_PARTITION: Final = 0
_OK_OR_LOST: Final = one_of(OK, b"LOST")
_OK_OR_WHY_NOT: Final = one_of(OK, b"UNKNOWN", b"FULL")


class RedisSessions:
    """Implements `SessionStore`."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        options: RedisOptions,
        keys: Keys,
        runner: Runner,
        liveness: Sequence[Liveness],
        *,
        reads: Sequence[Commands],
        writes: Sequence[Commands],
        node_id: Callable[[], str],
    ) -> None:
        """`liveness`, `reads` and `writes` are by partition."""
        self._inbox_bounds = (options.inbox_limit, options.inbox_bytes)
        self._keys = keys
        self._runner = runner
        self._liveness = liveness
        self._reads = reads
        self._writes = writes
        self._node_id = node_id
        self._own: dict[str, tuple[Owner, SessionState]] = {}
        self._on_lost: Callable[[Owner], None] = lambda _owner: None

    def watch(self, on_lost: Callable[[Owner], None]) -> None:
        """See `SessionStore.watch`."""
        self._on_lost = on_lost

    # --- records --------------------------------------------------------------------------------

    def new_id(self, user: str, asked: str) -> str:
        """See `SessionStore.new_id`; one that is in the partition of the asked one."""
        while True:
            session = secrets.token_urlsafe(SESSION_ID_BYTES)
            if user or not asked or self._partition(user, session) == self._partition(user, asked):
                return session

    async def claim(self, asked: str, new: Owner, state: SessionState) -> Claimed:
        """See `SessionStore.claim`."""
        partition = self._partition(new.user, new.session)
        shared, user = self._keys.partition(partition), self._keys.user(partition, new.user)
        payload = encode_session(state)

        def build() -> Call:
            node = self._node_id()
            own = self._keys.node(partition, node)
            return (
                (
                    own.node,
                    shared.nodes,
                    self._keys.session(partition, asked or new.session),
                    self._keys.session(partition, new.session),
                    own.sessions,
                    user.subscriptions,
                    user.taken,
                ),
                (
                    node,
                    asked,
                    new.session,
                    new.user,
                    new.connection,
                    new.window_ms,
                    self._liveness[partition].silence_ms(),
                    payload,
                ),
            )

        claimed = await self._runner.run(
            self._writes[partition], SESSION_CLAIM, build, read=partial(claimed_from, asked, new)
        )
        self._own[claimed.owner.session] = claimed.owner, claimed.state or state
        return claimed

    async def write(self, owner: Owner, state: SessionState) -> bool:
        """See `SessionStore.write`."""
        own = self._own.get(owner.session)
        if own is None or own[0].token <= owner.token:
            self._own[owner.session] = owner, state
        return await self._write(owner, state)

    async def release(self, owner: Owner, state: SessionState | None, *, forget: bool) -> bool:
        """See `SessionStore.release`."""
        self._disown(owner)
        partition = self._partition(owner.user, owner.session)
        record = self._keys.session(partition, owner.session)
        payload = b"" if state is None else encode_session(state)

        def build() -> Call:
            node = self._node_id()
            own = self._keys.node(partition, node)
            session, connection = owner.session, owner.connection
            return (
                (own.node, record, own.sessions),
                (node, session, connection, owner.window_ms, payload, int(forget)),
            )

        writes = self._writes[partition]
        return await self._runner.run(writes, SESSION_RELEASE, build, read=_OK_OR_LOST) == OK

    async def is_owner(self, owner: Owner) -> bool:
        """See `SessionStore.is_owner`."""
        partition = self._partition(owner.user, owner.session)
        call: Call = (self._keys.session(partition, owner.session),), ()
        reads = self._reads[partition]
        found = await self._runner.run(reads, SESSION_OWNER, always(call), read=_connection)
        return found in ("", owner.connection)

    async def tell_superseded(self, node: str, session: str, token: int) -> None:
        """See `SessionStore.tell_superseded`."""
        payload = encode_control(SupersedeSession(session=session, token=token))
        inbox = self._keys.node(_CONTROL_PARTITION, node).inbox

        def build() -> Call:
            own = self._keys.node(_CONTROL_PARTITION, self._node_id()).node
            return (own, inbox), (payload, *self._inbox_bounds)

        await self._runner.run(self._writes[_CONTROL_PARTITION], SESSION_TELL, build, read=ok)

    async def reestablish(self, partitions: Collection[int]) -> None:
        """Write all records of this node again, and tell of those that are others' by now.

        Raises `BackplaneUnavailableError` when Redis does not take them all.
        """
        everyone = (
            (owner, state)
            for owner, state in list(self._own.values())
            if self._partition(owner.user, owner.session) in partitions
        )
        while chunk := list(itertools.islice(everyone, _WRITES_AT_ONCE)):
            await all_of(*(self._write_if_own(owner, state) for owner, state in chunk))

    async def _write_if_own(self, owner: Owner, state: SessionState) -> None:
        if self._own.get(owner.session) == (owner, state) and not await self._write(owner, state):
            self._on_lost(owner)

    async def _write(self, owner: Owner, state: SessionState) -> bool:
        partition = self._partition(owner.user, owner.session)
        record, payload = self._keys.session(partition, owner.session), encode_session(state)

        def build() -> Call:
            node = self._node_id()
            own = self._keys.node(partition, node)
            return (
                (own.node, record, own.sessions),
                (
                    node,
                    owner.session,
                    owner.user,
                    owner.connection,
                    owner.token,
                    owner.window_ms,
                    payload,
                ),
            )

        # Executed twice it does no more than once.
        found = await self._runner.run(
            self._writes[partition], SESSION_WRITE, build, read=_OK_OR_LOST, may_repeat=True
        )
        if found == OK:
            return True
        self._disown(owner)
        return False

    def _disown(self, owner: Owner) -> None:
        own = self._own.get(owner.session)
        if own is not None and own[0].connection == owner.connection:
            del self._own[owner.session]

    def _partition(self, user: str, session: str) -> int:
        return self._keys.partition_of(user or session)

    # --- users ----------------------------------------------------------------------------------

    async def user_subscriptions(self, user: str) -> Mapping[str, KeptGrant]:
        """See `SessionStore.user_subscriptions`."""
        partition = self._keys.partition_of(user)
        call: Call = (self._keys.user(partition, user).subscriptions,), ()
        reads = self._reads[partition]
        return await self._runner.run(
            reads, USER_SUBSCRIPTIONS, always(call), read=_user_subscriptions
        )

    async def subscribe(
        self, user: str, channel: str, grant: KeptGrant, *, session: str = "", limit: int
    ) -> bool:
        """See `SessionStore.subscribe`."""
        partition = self._partition(user, session)
        key = self._subscribed(partition, user, session)
        arguments = (
            SUBSCRIPTION + channel.encode(),
            encode_grant(grant),
            limit,
            f"={user}" if session else "",
        )

        def build() -> Call:
            return (self._keys.node(partition, self._node_id()).node, key), arguments

        found = await self._runner.run(
            self._writes[partition], USER_SUBSCRIBE, build, read=_OK_OR_WHY_NOT, may_repeat=True
        )
        return found == OK

    async def unsubscribe(
        self, user: str, channel: str, *, session: str = "", remembered_ms: int
    ) -> None:
        """See `SessionStore.unsubscribe`."""
        field = SUBSCRIPTION + channel.encode() if channel else b""
        note = REVOKED + channel.encode() if channel else ALL_REVOKED
        await self._unsubscribe(user, session, field, note, remembered_ms)

    async def revoke(self, user: str, *, session: str = "", remembered_ms: int) -> None:
        """See `SessionStore.revoke`."""
        await self._unsubscribe(user, session, END, END, remembered_ms)

    async def _unsubscribe(
        self, user: str, session: str, field: bytes, note: bytes, remembered_ms: int
    ) -> None:
        partition = self._partition(user, session)
        key = self._subscribed(partition, user, session)
        noted = key if session else self._keys.user(partition, user).taken
        arguments = field, note, remembered_ms, int(bool(session)), _MAX_NOTES

        def build() -> Call:
            return (self._keys.node(partition, self._node_id()).node, key, noted), arguments

        await self._runner.run(
            self._writes[partition], USER_UNSUBSCRIBE, build, read=ok, may_repeat=True
        )

    def _subscribed(self, partition: int, user: str, session: str) -> bytes:
        if session:
            return self._keys.session(partition, session)
        return self._keys.user(partition, user).subscriptions


def _connection(reply: Reply) -> str:
    _, connection = reply
    return text(connection)


def _user_subscriptions(reply: Reply) -> Mapping[str, KeptGrant]:
    _, flat = reply
    return subscriptions_from(flat)
