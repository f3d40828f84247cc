"""The name of every key, in one place.

`{p}` is the channel's partition as a hash tag: all keys that one script touches are of one
partition and so, in Redis Cluster, of one slot.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from redis.crc import key_slot


class ChannelKeys(NamedTuple):
    """The keys of a channel."""

    generation: bytes
    interest: bytes
    meta: bytes
    history: bytes
    presence: bytes
    presence_counts: bytes
    """Hash: how many clients each node and each user has there."""
    dedup: bytes
    """Prefix of the idempotency keys. It tells how long the channel's name is: a key may hold what
    separates it from a channel, and a channel what begins a key."""

    @property
    def of_presence(self) -> tuple[bytes, bytes]:
        """Those that change together when a client comes or goes."""
        return self.presence, self.presence_counts


class NodeKeys(NamedTuple):
    """The keys of a node within a partition."""

    node: bytes
    """Hash: last heartbeat, tombstone."""
    inbox: bytes
    mark: bytes
    channels: bytes
    """Set of the channels that the node is interested in."""
    present: bytes
    """Set of the channels in which clients of the node are present."""
    sessions: bytes
    """Set of the sessions whose records the node's connections own."""


class PartitionKeys(NamedTuple):
    """The keys that all nodes of a partition share."""

    schema: bytes
    """Format version and number of partitions, the same for the whole cluster."""
    generation: bytes
    nodes: bytes
    """Sorted set of nodes by their last heartbeat, Redis time in ms."""
    described: bytes
    """Hash node → `NodeInfo`."""
    departed: bytes
    """Sorted set of `<client> <channel>` left behind by dead nodes, by the end of their grace."""
    verdicts: bytes
    """Prefix of what the team's backend said, by digest."""
    revocations: bytes
    """How many revocations of users there have been."""
    revoked: bytes
    """Prefix of the last revocation of each user, for a while."""
    traffic: bytes
    """Hash node → whether it accepts clients, and how many per second came to it."""
    budget: bytes
    """The reconnect budget and its version, if it was changed at run time."""
    reconnects: bytes
    """The permits of that budget."""
    connects: bytes
    """The permits of arrivals that the whole cluster meters."""
    restart: bytes
    """The node that claimed to end itself, until the next one may."""


class UserKeys(NamedTuple):
    """The keys of a user."""

    subscriptions: bytes
    """Hash of server-side subscriptions."""
    taken: bytes
    """Hash of what was taken from the user's sessions, and when."""


class Keys:
    """Names keys below `prefix`, spread over `partitions`."""

    def __init__(self, prefix: str, partitions: int) -> None:
        self._prefix = prefix
        self.partitions = partitions

    def slot_of(self, partition: int) -> int:
        """The slot of a Redis Cluster that holds all keys of a partition."""
        return key_slot(self.partition(partition).generation)

    def partition_of(self, channel: str) -> int:
        """The partition of a channel: stable over releases and machines."""
        if self.partitions == 1:
            return 0
        return zlib.crc32(channel.encode()) % self.partitions

    def channel(self, channel: str) -> ChannelKeys:
        """The keys of a channel."""
        base = f"{self._prefix}:{{{self.partition_of(channel)}}}:"
        return ChannelKeys(
            generation=f"{base}generation".encode(),
            interest=f"{base}interest:{channel}".encode(),
            meta=f"{base}meta:{channel}".encode(),
            history=f"{base}history:{channel}".encode(),
            presence=f"{base}presence:{channel}".encode(),
            presence_counts=f"{base}presence_counts:{channel}".encode(),
            dedup=f"{base}dedup:{len(channel.encode())}:{channel}:".encode(),
        )

    def node(self, partition: int, node: str) -> NodeKeys:
        """The keys of a node within a partition."""
        base = f"{self._prefix}:{{{partition}}}:"
        return NodeKeys(
            node=f"{base}node:{node}".encode(),
            inbox=f"{base}inbox:{node}".encode(),
            mark=f"{base}mark:{node}".encode(),
            channels=f"{base}channels:{node}".encode(),
            present=f"{base}present:{node}".encode(),
            sessions=f"{base}sessions:{node}".encode(),
        )

    def partition(self, partition: int) -> PartitionKeys:
        """The keys that the nodes of a partition share."""
        base = f"{self._prefix}:{{{partition}}}:"
        return PartitionKeys(
            schema=f"{base}schema".encode(),
            generation=f"{base}generation".encode(),
            nodes=f"{base}nodes".encode(),
            described=f"{base}described".encode(),
            departed=f"{base}departed".encode(),
            verdicts=f"{base}verdict:".encode(),
            revocations=f"{base}revocations".encode(),
            revoked=f"{base}revoked:".encode(),
            traffic=f"{base}traffic".encode(),
            budget=f"{base}budget".encode(),
            reconnects=f"{base}reconnects".encode(),
            connects=f"{base}connects".encode(),
            restart=f"{base}restart".encode(),
        )

    def user(self, partition: int, user: str) -> UserKeys:
        """The keys of a user, in the user's partition; nobody's, which never exist, in any."""
        base = f"{self._prefix}:{{{partition}}}:"
        return UserKeys(
            subscriptions=f"{base}user:{user}".encode(),
            taken=f"{base}taken:{user}".encode(),
        )

    def session(self, partition: int, session: str) -> bytes:
        """The record of a session: in the partition of its user, of nobody in that of its id."""
        return f"{self._prefix}:{{{partition}}}:session:{session}".encode()
