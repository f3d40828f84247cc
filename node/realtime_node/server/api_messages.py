"""Requests and results of the HTTP API, in Centrifugo's shapes."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Raw, UnsetType

from realtime_node.cluster.backplane import NodeInfo
from realtime_node.protocol.messages import (
    ErrorBody,
    HistoryResult,
    Limit,
    PresenceResult,
    PresenceStatsResult,
    StreamPosition,
)

MAX_COMMANDS = 10_000
"""Channels of one broadcast, or commands of one batch."""


class ApiMessage(msgspec.Struct, omit_defaults=True, kw_only=True, frozen=True):
    """Base of requests and results: zero values are left out."""


class Payload(ApiMessage, frozen=True):
    """What a publish and a broadcast have in common: `data`, or the same in base64."""

    data: Raw | UnsetType = UNSET
    b64data: str = ""
    skip_history: bool = False
    tags: dict[str, str] = {}
    idempotency_key: Annotated[str, msgspec.Meta(max_length=255)] = ""


class PublishRequest(Payload, frozen=True):
    """Publish into one channel."""

    channel: str = ""


class BroadcastRequest(Payload, frozen=True):
    """Publish the same into many channels."""

    channels: Annotated[list[str], msgspec.Meta(max_length=MAX_COMMANDS)] = []


class PublishResult(ApiMessage, frozen=True):
    """The place of a publication in its stream; empty in channels without history."""

    offset: int = 0
    epoch: str = ""


class PublishResponse(ApiMessage, frozen=True):
    """A result or an error of one channel of a broadcast."""

    result: PublishResult | None = None
    error: ErrorBody | None = None


class BroadcastResult(ApiMessage, frozen=True):
    """One response per channel, in the order of the request."""

    responses: list[PublishResponse]


class SubscribeRequest(ApiMessage, frozen=True):
    """Subscribe a user's connections from the server's side."""

    user: str = ""
    channel: str = ""
    client: str = ""
    info: Raw | UnsetType = UNSET
    b64info: str = ""
    data: Raw | UnsetType = UNSET
    b64data: str = ""
    recover_since: StreamPosition | None = None
    session: str = ""
    expire_at: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Unix seconds; 0: never."""


class UnsubscribeRequest(ApiMessage, frozen=True):
    """End subscriptions of a user's connections."""

    user: str = ""
    channel: str = ""
    client: str = ""
    session: str = ""


class DisconnectObject(ApiMessage, frozen=True):
    """The close code and reason to use."""

    code: Annotated[int, msgspec.Meta(ge=3000, le=4999)]
    reason: str = ""


class DisconnectRequest(ApiMessage, frozen=True):
    """Close a user's connections."""

    user: str = ""
    client: str = ""
    session: str = ""
    whitelist: list[str] = []
    disconnect: DisconnectObject | None = None


class ChannelRequest(ApiMessage, frozen=True):
    """A call about one channel."""

    channel: str = ""


class HistoryRequest(ApiMessage, frozen=True):
    """Read a channel's stream: `limit` 0 asks for the position alone, -1 for everything."""

    channel: str = ""
    limit: Limit = 0
    since: StreamPosition | None = None
    reverse: bool = False


class EmptyRequest(ApiMessage, frozen=True):
    """A call without parameters."""


class EmptyResult(ApiMessage, frozen=True):
    """Done, nothing to say."""


class InfoResult(ApiMessage, frozen=True):
    """All live nodes."""

    nodes: list[NodeInfo]


class BatchCommand(ApiMessage, frozen=True):
    """One command of a batch: exactly one field is set."""

    publish: PublishRequest | None = None
    broadcast: BroadcastRequest | None = None
    subscribe: SubscribeRequest | None = None
    unsubscribe: UnsubscribeRequest | None = None
    disconnect: DisconnectRequest | None = None
    history: HistoryRequest | None = None
    history_remove: ChannelRequest | None = None
    presence: ChannelRequest | None = None
    presence_stats: ChannelRequest | None = None
    info: EmptyRequest | None = None


class BatchRequest(ApiMessage, frozen=True):
    """Several commands in one request, in order unless `parallel`."""

    commands: Annotated[list[BatchCommand], msgspec.Meta(max_length=MAX_COMMANDS)] = []
    parallel: bool = False


class BatchReply(ApiMessage, frozen=True):
    """The answer to one command of a batch: its result under its name, or an error."""

    error: ErrorBody | None = None
    publish: PublishResult | None = None
    broadcast: BroadcastResult | None = None
    subscribe: EmptyResult | None = None
    unsubscribe: EmptyResult | None = None
    disconnect: EmptyResult | None = None
    history: HistoryResult | None = None
    history_remove: EmptyResult | None = None
    presence: PresenceResult | None = None
    presence_stats: PresenceStatsResult | None = None
    info: InfoResult | None = None


class BatchResult(ApiMessage, frozen=True):
    """The answers, in the order of the commands."""

    replies: list[BatchReply]
