"""The backplane: how a publication made on any node reaches the subscribers of every node.

The contract, whatever the implementation:

- **Order.** Within a channel there is one order, the same on every node: offset order where the
  channel has history, the order of execution elsewhere.
- **Acknowledged.** When `publish` returns, the publication has its offset, is in the history and in
  the inbox of every node that was interested at that moment, once, whatever happened to the
  connection meanwhile. When it raises `BackplaneUnavailableError` it may or may not have happened.
- **Inbox.** What a node is to know reaches it as entries of its own inbox, once and in order,
  handed to `Receiver.receive` in batches, one at a time. `sequence` grows by one per entry and
  partition, so that a hole is always noticed; it begins again with a new `node_id`. After a hole a
  channel's publications come from its history (their `sequence` is the one before the hole) if that
  has all of them; if not, `Receiver.lost` is called. Nothing is left out in silence.
- **Interest.** A node receives a channel from the moment `subscribe` returned until it called
  `release`. A `subscribe` answers for one instant: its position, what was missed before it, and the
  inbox after it together are the channel, without hole or overlap. The inbox may run ahead of the
  answer or lag behind it: compare offsets.
- **Epoch.** An offset means something within its epoch only. An epoch changes when a stream began
  anew or when it cannot be excluded that acknowledged publications were lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from realtime_node.protocol.messages import ClientInfo, Publication, StreamPosition


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a channel keeps history; `history_size` 0 means that it keeps none."""

    history_size: int = 0
    """Publications kept."""
    history_ttl_ms: int = 0
    """Life of the history after its last publication."""
    meta_ttl_ms: int = 720 * 3600 * 1000
    """Life of epoch and offset after the last use of the channel."""

    @property
    def has_history(self) -> bool:
        """Whether publications get offsets and can be recovered."""
        return self.history_size > 0 and self.history_ttl_ms > 0


WITHOUT_HISTORY = StreamOptions()


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """An acknowledged publication."""

    offset: int = 0
    """0 in channels without history."""
    epoch: str = ""
    sequence: tuple[int, int] | None = None
    """(partition, sequence) of its entry in the publishing node's own inbox, if it has one."""


class Subscribed(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a channel at the instant a node's interest in it was certain."""

    top: StreamPosition
    """The last offset given out. Without history both fields are zero values."""
    publications: list[Publication]
    """What follows the asked position, oldest first, at most `limit`; empty if none was asked."""


class HistoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a channel's stream."""

    publications: list[Publication]
    top: StreamPosition


class EntryKind(StrEnum):
    """What an inbox entry brings."""

    PUBLICATION = "p"
    JOIN = "j"
    LEAVE = "l"
    CONTROL = "c"


class UnsubscribeUser(msgspec.Struct, frozen=True, kw_only=True, tag="unsubscribe"):
    """End the subscriptions to `channel` of a user's connections (or of one `client`)."""

    user: str
    channel: str
    client: str = ""
    session: str = ""


class SubscribeUser(msgspec.Struct, frozen=True, kw_only=True, tag="subscribe"):
    """Subscribe a user's connections (or one `client`) to `channel` from the server's side."""

    user: str
    channel: str
    client: str = ""
    chan_info: bytes | None = None
    data: bytes | None = None
    recover_since: StreamPosition | None = None
    session: str = ""
    expires_at: float = 0
    """Unix seconds; 0: never."""


class DisconnectUser(msgspec.Struct, frozen=True, kw_only=True, tag="disconnect"):
    """Close a user's connections (or one `client`), except those in `whitelist`."""

    user: str
    client: str = ""
    whitelist: tuple[str, ...] = ()
    code: int
    reason: str
    session: str = ""


class SupersedeSession(msgspec.Struct, frozen=True, kw_only=True, tag="supersede"):
    """End the connection of a resumable session that has an older `token` than this."""

    session: str
    token: int


Control = UnsubscribeUser | SubscribeUser | DisconnectUser | SupersedeSession


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a node's inbox. Exactly the field that `kind` names is set."""

    partition: int
    sequence: int
    kind: EntryKind
    channel: str = ""
    epoch: str = ""
    publication: Publication | None = None
    info: ClientInfo | None = None
    control: Control | None = None


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a node tells the others about itself with every heartbeat."""

    uid: str
    name: str
    version: str
    num_clients: int = 0
    num_users: int = 0
    num_subs: int = 0
    num_channels: int = 0
    uptime: int = 0
    """Seconds since the node started."""
    ready: bool = True
    """Whether it is ready: it serves, is not ending, and no loop of it fails by its own fault."""


class Receiver(Protocol):
    """Where a backplane hands over what arrived. No method may raise."""

    async def receive(self, entries: Sequence[Entry]) -> None:
        """Take entries of the inbox, in order; one call has returned before the next begins.

        It returns once there is room for more: a node that cannot deliver as fast as others
        publish reads its inbox more slowly, and the backlog stays in the store, which bounds it.
        """

    def positions(self, channels: Iterable[str]) -> dict[str, StreamPosition]:
        """Tell where the streams of these channels stand: the last publication received.

        Channels without a position are left out: those without history, and those nobody here has
        been told a position in.
        """

    def lost(self, partition: int, channels: Sequence[str] | None) -> None:
        """Learn that entries of these channels (None: any of the partition) are gone for good.

        Their subscribers have to be told that their position cannot be continued.
        """


class Backplane(Protocol):
    """A node's connection to the others; see the module for the contract."""

    @property
    def node_id(self) -> str:
        """This node's identity in the cluster; a fenced node gets a new one."""

    async def start(self, receiver: Receiver, describe: Callable[[], NodeInfo]) -> None:
        """Join the cluster and begin to hand entries to `receiver`.

        Waits for a store that cannot be reached; `obstacles` tells why meanwhile. A part of a store
        that has several is enough: commands for the rest fail until it can be reached too.

        `describe` is asked at every heartbeat. Raises `BackplaneUnavailableError` if waiting took
        as long as the settings allow, `ConfigError` if the store refuses our settings or has some
        that would lose publications, and `SchemaMismatchError` if its keys are not ours to use.
        """

    async def close(self) -> None:
        """Leave the cluster in order: interest and presence released, loops ended."""

    def obstacles(self) -> list[str]:
        """What of the store cannot be used at the moment, and why, for an operator.

        Empty when all is well. Reads no network.
        """

    def is_available(self) -> bool:
        """Whether the store answered within the last few seconds; reads no network."""

    async def publish(
        self,
        channel: str,
        publication: Publication,
        options: StreamOptions,
        *,
        idempotency_key: str = "",
    ) -> Published:
        """Publish; the publication's own `offset` is ignored, the stream gives it one.

        The same `idempotency_key` within five minutes returns the first result and publishes
        nothing.
        """

    async def announce(self, channel: str, kind: EntryKind, info: ClientInfo) -> None:
        """Tell the nodes interested in a channel of a JOIN or LEAVE; at most once."""

    async def subscribe(
        self,
        channel: str,
        options: StreamOptions,
        *,
        since: StreamPosition | None = None,
        limit: int = 0,
    ) -> Subscribed:
        """Make this node interested in a channel and read its state in the same instant.

        `since` asks for what was published after its offset, at most `limit` publications: one
        more than fit means that not all is returned, and perhaps less than `limit`, which shows as
        a hole below `top`. Its epoch is not checked here: `session.recovery` decides.
        """

    def release(self, channel: str) -> None:
        """Say that no local subscriber is left; the interest ends some time after."""

    async def history(
        self,
        channel: str,
        options: StreamOptions,
        *,
        limit: int,
        since: StreamPosition | None = None,
        reverse: bool = False,
    ) -> HistoryPage:
        """Read a page: `limit` 0 the position only, -1 all; `since` excludes its own offset.

        Raises `UnrecoverablePositionError` when `since` names another epoch.
        """

    async def remove_history(self, channel: str) -> None:
        """Forget a channel's publications; offsets go on from where they were."""

    async def control(self, message: Control) -> None:
        """Hand a message to every live node, this one too."""

    async def nodes(self) -> list[NodeInfo]:
        """Every live node, in the order of their uid."""

    async def claim_restart(self, period_s: float) -> bool:
        """Claim for this node that it alone, of the whole cluster, ends itself within a period.

        False: another node has claimed that less than `period_s` ago. The same node may ask again
        and gets the same answer. A store that lost its last writes may let a second one end.
        Raises `BackplaneError` if that cannot be known.
        """
