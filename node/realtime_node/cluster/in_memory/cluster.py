"""What the nodes of one process share, in the place of Redis.

Every operation is done within one call and so is atomic. Dead nodes exist only in tests: `abandon`
leaves a node's presence behind, and it counts until the lease has passed on the given clock.

Bounds: `inbox_limit` entries wait for a node; beyond, the oldest are given up and the node is told.
`_MAX_DEDUP` results of idempotent publishes are kept, at most five minutes; the oldest go first.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from realtime_node.cluster.backplane import Entry, NodeInfo, Published
from realtime_node.cluster.presence import Stay
from realtime_node.protocol.messages import ClientInfo

from .allowances import Permits
from .session_table import SessionTable
from .streams import Streams
from .verdicts import InMemoryVerdicts

_MAX_DEDUP: Final = 100_000
_DEDUP_TTL_S: Final = 300.0


class Member:
    """A node as its cluster knows it."""

    def __init__(self, node_id: str, describe: Callable[[], NodeInfo]) -> None:
        self.node_id = node_id
        self.describe = describe
        self.died_at: float | None = None
        self.waiting: deque[Entry] = deque()
        self.arrived = asyncio.Event()
        self.sequence = 0
        self.has_lost = False


class _Present(NamedTuple):
    node: str
    info: ClientInfo
    stay: Stay


class InMemoryCluster:
    """Streams, interest, presence and nodes of one process."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        lease_s: float = 10.0,
        max_channels: int = 100_000,
        inbox_limit: int = 100_000,
    ) -> None:
        """`clock` in seconds; `lease_s` is how long an abandoned node still counts."""
        self._clock = clock
        self._lease_s = lease_s
        self._inbox_limit = inbox_limit
        self.streams = Streams(clock, max_channels)
        self.verdicts = InMemoryVerdicts(clock=clock)
        self.permits = Permits(clock, lambda: {member.node_id for member in self.live_members()})
        self._members: dict[str, Member] = {}
        self._interest: dict[str, dict[str, None]] = {}
        self._presence: dict[str, dict[str, _Present]] = {}
        self._gone: dict[str, float] = {}
        self.sessions = SessionTable()
        self._dedup: OrderedDict[tuple[str, str], tuple[float, Published]] = OrderedDict()
        # Which node claimed to end itself last, and when that may be claimed again.
        self._restart: tuple[str, float] = ("", float("-inf"))

    # --- members --------------------------------------------------------------------------------

    def join(self, member: Member) -> None:
        """Enter a node."""
        self._members[member.node_id] = member

    def leave(self, member: Member) -> None:
        """Take a node out, with its interest and presence; clients with a grace stay for that."""
        self._members.pop(member.node_id, None)
        self._gone[member.node_id] = self._clock() if member.died_at is None else member.died_at
        for channel in list(self._interest):
            self.lose_interest(member, channel)
        self._drop_absent()

    def abandon(self, member: Member) -> None:
        """Leave a node's traces behind, as if its process had been killed."""
        member.died_at = self._clock()

    def live_members(self) -> list[Member]:
        """Nodes whose lease has not ended; the others are taken out."""
        now = self._clock()
        for member in list(self._members.values()):
            if member.died_at is not None and now - member.died_at > self._lease_s:
                self.leave(member)
        return list(self._members.values())

    def claim_restart(self, node_id: str, period_s: float) -> bool:
        """Claim the one end of a node by itself in a period; see `Backplane.claim_restart`."""
        claimed_by, until = self._restart
        if self._clock() >= until:
            claimed_by = node_id
            self._restart = node_id, self._clock() + period_s
        return claimed_by == node_id

    def now(self) -> float:
        """The time, in seconds of the cluster's clock."""
        return self._clock()

    def is_alive(self, node_id: str) -> bool:
        """Whether a node's lease has not ended."""
        return any(member.node_id == node_id for member in self.live_members())

    def heard_of(self, node_id: str) -> float:
        """When a node was heard of last."""
        member = self._members.get(node_id)
        if member is None:
            return self._gone.get(node_id, 0)
        return self._clock() if member.died_at is None else member.died_at

    # --- interest and inboxes -------------------------------------------------------------------

    def gain_interest(self, member: Member, channel: str) -> None:
        """Deliver a channel to a node from now on."""
        self._interest.setdefault(channel, {})[member.node_id] = None

    def lose_interest(self, member: Member, channel: str) -> None:
        """Deliver it no longer."""
        nodes = self._interest.get(channel)
        if nodes is not None:
            nodes.pop(member.node_id, None)
            if not nodes:
                del self._interest[channel]

    def deliver(self, channel: str, entry: Entry, publisher: Member) -> int | None:
        """Put an entry into the interested inboxes; its sequence in the publisher's own."""
        own: int | None = None
        for node_id in self._interest.get(channel, ()):
            member = self._members[node_id]
            sequence = self.put(member, entry)
            if member is publisher:
                own = sequence
        return own

    def put(self, member: Member, entry: Entry) -> int:
        """Put an entry into one inbox; returns its sequence there."""
        member.sequence += 1
        if member.died_at is None:
            member.waiting.append(msgspec.structs.replace(entry, sequence=member.sequence))
            if len(member.waiting) > self._inbox_limit:
                member.waiting.popleft()
                member.has_lost = True
            member.arrived.set()
        return member.sequence

    # --- idempotency ----------------------------------------------------------------------------

    def first_result(self, channel: str, key: str) -> Published | None:
        """What the first publish under this key returned, within five minutes."""
        kept = self._dedup.get((channel, key))
        if kept is None or kept[0] <= self._clock():
            return None
        return kept[1]

    def keep_result(self, channel: str, key: str, published: Published) -> None:
        """Remember a first result."""
        now = self._clock()
        self._dedup[channel, key] = (now + _DEDUP_TTL_S, published)
        self._dedup.move_to_end((channel, key))
        while self._dedup:
            ends, _ = next(iter(self._dedup.values()))
            if ends > now and len(self._dedup) <= _MAX_DEDUP:
                break
            self._dedup.popitem(last=False)

    # --- presence -------------------------------------------------------------------------------

    def add_present(self, member: Member, channel: str, info: ClientInfo, stay: Stay) -> bool:
        """Enter a client on behalf of a node; see `PresenceStore.add`."""
        self._drop_absent()
        clients = self._presence.setdefault(channel, {})
        entered = clients.get(info.client)
        if entered is None or entered.stay.token <= stay.token:
            clients[info.client] = _Present(member.node_id, info, stay)
        return entered is not None and stay.token > 0

    def remove_present(self, member: Member, channel: str, client: str, token: int) -> bool:
        """Take a client out; see `PresenceStore.remove`."""
        clients = self._presence.get(channel, {})
        entered = clients.get(client)
        if entered is None or entered.node != member.node_id or entered.stay.token > token:
            return False
        del clients[client]
        if not clients:
            del self._presence[channel]
        return True

    def present(self, channel: str) -> dict[str, ClientInfo]:
        """The clients of live nodes, and those of others within their grace."""
        self.live_members()
        self._drop_absent()
        return {client: each.info for client, each in self._presence.get(channel, {}).items()}

    def _drop_absent(self) -> None:
        """Take out whose node is gone, and with it the client's grace; nodes rarely go."""
        if not self._gone:
            return
        now, waited_for = self._clock(), set()
        for channel, clients in list(self._presence.items()):
            for client, (node, _, stay) in list(clients.items()):
                gone_at = self._gone.get(node)
                if gone_at is None:
                    continue
                if now - gone_at < stay.grace_ms / 1000:
                    waited_for.add(node)
                    continue
                del clients[client]
            if not clients:
                del self._presence[channel]
        waited_for.update(record.node for record in self.sessions.records.values())
        self._gone = {node: at for node, at in self._gone.items() if node in waited_for}
