"""The messages of the Centrifuge client protocol, as both codecs know them.

Field names are the wire's. Zero values are left out when a message is written, except where an SDK
or the HTTP API's users expect them (presence, client info). `data` and `info` of users stay raw
JSON from their arrival to every subscriber: the node never looks inside.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Raw, UnsetType

# Command ids are uint32 and offsets uint64 on the wire; Redis stream ids hold the same range.
CommandId = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Limit = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class Message(msgspec.Struct, omit_defaults=True, kw_only=True, frozen=True):
    """Base of what is written to the wire: zero values are left out."""


# --- Requests: what a client may ask -----------------------------------------------------------


class SubscribeRequest(Message, frozen=True):
    """Join a channel; with `recover`, receive what was published since `offset` of `epoch`."""

    channel: str = ""
    token: str = ""
    recover: bool = False
    epoch: str = ""
    offset: Offset = 0
    data: Raw | UnsetType = UNSET
    positioned: bool = False
    recoverable: bool = False
    join_leave: bool = False


class ConnectRequest(Message, frozen=True):
    """The first command of a connection; `subs` are positions of server-side subscriptions."""

    token: str = ""
    data: Raw | UnsetType = UNSET
    subs: dict[str, SubscribeRequest] = {}
    name: str = ""
    version: str = ""
    headers: dict[str, str] = {}
    """What a browser would have liked to send as headers of its handshake."""


class UnsubscribeRequest(Message, frozen=True):
    """Leave a channel."""

    channel: str = ""


class PublishRequest(Message, frozen=True):
    """Publish `data` into a channel."""

    channel: str = ""
    data: Raw | UnsetType = UNSET


class StreamPosition(Message, frozen=True):
    """A place in a channel's stream: the last offset already seen, within an epoch."""

    offset: Offset = 0
    epoch: str = ""


class HistoryRequest(Message, frozen=True):
    """Read a channel's stream: `limit` 0 asks for the position alone, -1 for everything."""

    channel: str = ""
    limit: Limit = 0
    since: StreamPosition | None = None
    reverse: bool = False


class PresenceRequest(Message, frozen=True):
    """Who is subscribed to a channel."""

    channel: str = ""


class PresenceStatsRequest(Message, frozen=True):
    """How many are subscribed to a channel."""

    channel: str = ""


class PingRequest(Message, frozen=True):
    """An application-level ping, answered with an empty result."""


class SendRequest(Message, frozen=True):
    """A message for the backend, without a reply."""

    data: Raw | UnsetType = UNSET


class RpcRequest(Message, frozen=True):
    """A call to the backend."""

    method: str = ""
    data: Raw | UnsetType = UNSET


class RefreshRequest(Message, frozen=True):
    """A new connection token, before the old one expires."""

    token: str = ""


class SubRefreshRequest(Message, frozen=True):
    """A new subscription token, before the old one expires."""

    channel: str = ""
    token: str = ""


class Command(Message, frozen=True):
    """What a client sends: an id and one request. Without both it is the answer to a ping."""

    id: CommandId = 0
    connect: ConnectRequest | None = None
    subscribe: SubscribeRequest | None = None
    unsubscribe: UnsubscribeRequest | None = None
    publish: PublishRequest | None = None
    presence: PresenceRequest | None = None
    presence_stats: PresenceStatsRequest | None = None
    history: HistoryRequest | None = None
    ping: PingRequest | None = None
    send: SendRequest | None = None
    rpc: RpcRequest | None = None
    refresh: RefreshRequest | None = None
    sub_refresh: SubRefreshRequest | None = None


# --- Values shared by results and pushes -------------------------------------------------------


class ClientInfo(msgspec.Struct, kw_only=True, frozen=True):
    """Who a client is; empty values are written out, as presence readers expect."""

    user: str = ""
    client: str = ""
    conn_info: Raw | UnsetType = UNSET
    chan_info: Raw | UnsetType = UNSET


class Publication(Message, frozen=True):
    """A message in a channel. `offset` is 0 in channels without history."""

    data: Raw
    info: ClientInfo | None = None
    offset: Offset = 0
    tags: dict[str, str] | None = None


# --- Results -----------------------------------------------------------------------------------


class ErrorBody(Message, frozen=True):
    """Why a command failed; `temporary` asks the SDK to try again by itself."""

    code: int
    message: str
    temporary: bool = False


class SubscribeResult(Message, frozen=True):
    """What a subscriber needs to know: its position and, when it recovers, what it missed."""

    expires: bool = False
    ttl: int = 0
    recoverable: bool = False
    epoch: str = ""
    publications: list[Publication] = []
    recovered: bool = False
    offset: Offset = 0
    positioned: bool = False
    data: Raw | UnsetType = UNSET
    was_recovering: bool = False


class ConnectResult(Message, frozen=True):
    """The identity of a connection, its ping contract (seconds) and server-side subscriptions."""

    client: str
    version: str
    expires: bool = False
    ttl: int = 0
    data: Raw | UnsetType = UNSET
    subs: dict[str, SubscribeResult] = {}
    ping: int = 0
    pong: bool = False
    node: str = ""
    time: int = 0
    """Of the server, in Unix milliseconds, if it is to be told."""


class RpcResult(Message, frozen=True):
    """What the backend returned."""

    data: Raw | UnsetType = UNSET


class EmptyResult(Message, frozen=True):
    """Done, nothing to say."""


class HistoryResult(msgspec.Struct, kw_only=True, frozen=True):
    """A page of a stream and the stream's top position."""

    publications: list[Publication] = []
    epoch: str = ""
    offset: Offset = 0


class PresenceResult(msgspec.Struct, kw_only=True, frozen=True):
    """Clients of a channel by their client id."""

    presence: dict[str, ClientInfo] = {}


class PresenceStatsResult(msgspec.Struct, kw_only=True, frozen=True):
    """How many clients, and how many different users, a channel has."""

    num_clients: int = 0
    num_users: int = 0


class RefreshResult(Message, frozen=True):
    """The new end of a connection's life; `ttl` in seconds."""

    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: int = 0


class SubRefreshResult(Message, frozen=True):
    """The new end of a subscription's life; `ttl` in seconds."""

    expires: bool = False
    ttl: int = 0


class Reply(Message, frozen=True):
    """The answer to the command of the same id: an error or exactly one result."""

    id: CommandId
    error: ErrorBody | None = None
    connect: ConnectResult | None = None
    subscribe: SubscribeResult | None = None
    unsubscribe: EmptyResult | None = None
    publish: EmptyResult | None = None
    presence: PresenceResult | None = None
    presence_stats: PresenceStatsResult | None = None
    history: HistoryResult | None = None
    ping: EmptyResult | None = None
    rpc: RpcResult | None = None
    refresh: RefreshResult | None = None
    sub_refresh: SubRefreshResult | None = None


# --- Pushes ------------------------------------------------------------------------------------


class JoinLeave(Message, frozen=True):
    """Somebody came to a channel or left it."""

    info: ClientInfo


class UnsubscribePush(Message, frozen=True):
    """The server ended a subscription; from code 2500 the SDK subscribes again."""

    code: int
    reason: str


class SubscribePush(Message, frozen=True):
    """The server made a subscription for this connection."""

    recoverable: bool = False
    epoch: str = ""
    offset: Offset = 0
    positioned: bool = False
    data: Raw | UnsetType = UNSET


class Push(Message, frozen=True):
    """A message the client did not ask for, about one channel or about the connection."""

    channel: str = ""
    pub: Publication | None = None
    join: JoinLeave | None = None
    leave: JoinLeave | None = None
    unsubscribe: UnsubscribePush | None = None
    subscribe: SubscribePush | None = None
