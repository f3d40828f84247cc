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
from typing import Final

import msgspec

from realtime_node.cluster.backplane import Entry, NodeInfo, Published
from realtime_node.protocol.messages import ClientInfo

from .allowances import Permits
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
        self._presence: dict[str, dict[str, tuple[str, ClientInfo]]] = {}
        self._dedup: OrderedDict[tuple[str, str], tuple[float, Published]] = OrderedDict()

    # --- members --------------------------------------------------------------------------------

    def join(self, member: Member) -> None:
        """Enter a node."""
        self._members[member.node_id] = member

    def leave(self, member: Member) -> None:
        """Take a node out, with its interest and presence."""
        self._members.pop(member.node_id, None)
        for channel in list(self._interest):
            self.lose_interest(member, channel)
        for channel, clients in list(self._presence.items()):
            for client, (owner, _) in list(clients.items()):
                if owner == member.node_id:
                    self.remove_present(member, channel, client)

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

    def add_present(self, member: Member, channel: str, info: ClientInfo) -> None:
        """Enter a client on behalf of a node."""
        self._presence.setdefault(channel, {})[info.client] = (member.node_id, info)

    def remove_present(self, member: Member, channel: str, client: str) -> None:
        """Take a client out, unless another node has taken it over."""
        clients = self._presence.get(channel, {})
        if client in clients and clients[client][0] == member.node_id:
            del clients[client]
            if not clients:
                del self._presence[channel]

    def present(self, channel: str) -> dict[str, ClientInfo]:
        """The clients of live nodes."""
        self.live_members()
        return {client: info for client, (_, info) in self._presence.get(channel, {}).items()}
