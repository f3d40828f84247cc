"""A function per method of the HTTP API; `http_api` carries them over HTTP.

Every method works on any node for the whole cluster: what concerns sessions goes to all nodes as a
control message. A `ReplyError` becomes an error in the response.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec import Raw

from realtime_node.cluster.backplane import (
    WITHOUT_HISTORY,
)
from realtime_node.errors import BackplaneError, ReplyError, UnrecoverablePositionError
from realtime_node.protocol import codes
from realtime_node.protocol.messages import (
    HistoryResult,
    PresenceResult,
    PresenceStatsResult,
    Publication,
)
from realtime_node.server.api_cluster import Cluster
from realtime_node.server.api_connections import disconnect, subscribe, unsubscribe
from realtime_node.server.api_messages import (
    BroadcastRequest,
    BroadcastResult,
    ChannelRequest,
    DisconnectRequest,
    EmptyRequest,
    EmptyResult,
    HistoryRequest,
    InfoResult,
    Payload,
    PublishRequest,
    PublishResponse,
    PublishResult,
    SubscribeRequest,
    UnsubscribeRequest,
)
from realtime_node.server.api_payloads import data_of, error_body
from realtime_node.session.channels import ChannelRule

CONCURRENCY: Final = 256
"""Publications of one request that are on their way to the store at once."""


async def publish(cluster: Cluster, request: PublishRequest) -> PublishResult:
    """Publish into one channel."""
    return await _publish(cluster, request.channel, request, data_of(request))


async def broadcast(cluster: Cluster, request: BroadcastRequest) -> BroadcastResult:
    """Publish the same into many channels; each has its own result or error."""
    if not request.channels:
        raise ReplyError(*codes.BAD_COMMAND)
    data = data_of(request)

    async def one(channel: str) -> PublishResponse:
        try:
            return PublishResponse(result=await _publish(cluster, channel, request, data))
        except (ReplyError, BackplaneError) as error:
            return PublishResponse(error=error_body(error))

    responses: list[PublishResponse] = []
    for start in range(0, len(request.channels), CONCURRENCY):
        part = request.channels[start : start + CONCURRENCY]
        responses += await asyncio.gather(*map(one, part))
    return BroadcastResult(responses=responses)


async def _publish(cluster: Cluster, channel: str, payload: Payload, data: Raw) -> PublishResult:
    stream = cluster.rules.rule(channel).stream
    published = await cluster.backplane.publish(
        channel,
        Publication(data=data, tags=payload.tags or None),
        WITHOUT_HISTORY if payload.skip_history else stream,
        idempotency_key=payload.idempotency_key,
    )
    return PublishResult(offset=published.offset, epoch=published.epoch)


async def history(cluster: Cluster, request: HistoryRequest) -> HistoryResult:
    """Read a channel's stream: of what is asked for, as much as one call may return."""
    rule = _with_history(cluster, request.channel)
    most = cluster.history_limit
    try:
        page = await cluster.backplane.history(
            request.channel,
            rule.stream,
            limit=request.limit if 0 <= request.limit <= most else most,
            since=request.since,
            reverse=request.reverse,
        )
    except UnrecoverablePositionError as error:
        raise ReplyError(*codes.UNRECOVERABLE_POSITION) from error
    return HistoryResult(
        publications=page.publications, offset=page.top.offset, epoch=page.top.epoch
    )


async def history_remove(cluster: Cluster, request: ChannelRequest) -> EmptyResult:
    """Forget a channel's publications; offsets go on."""
    _with_history(cluster, request.channel)
    await cluster.backplane.remove_history(request.channel)
    return EmptyResult()


async def presence(cluster: Cluster, request: ChannelRequest) -> PresenceResult:
    """List the clients of a channel."""
    _with_presence(cluster, request.channel)
    limit = cluster.client.presence_max_clients
    return PresenceResult(presence=await cluster.presence.get(request.channel, limit=limit))


async def presence_stats(cluster: Cluster, request: ChannelRequest) -> PresenceStatsResult:
    """Count the clients of a channel."""
    _with_presence(cluster, request.channel)
    clients, users = await cluster.presence.stats(request.channel)
    return PresenceStatsResult(num_clients=clients, num_users=users)


async def info(cluster: Cluster, _request: EmptyRequest) -> InfoResult:
    """List the live nodes."""
    return InfoResult(nodes=await cluster.backplane.nodes())


def _with_history(cluster: Cluster, channel: str) -> ChannelRule:
    rule = cluster.rules.rule(channel)
    if not rule.stream.has_history:
        raise ReplyError(*codes.NOT_AVAILABLE)
    return rule


def _with_presence(cluster: Cluster, channel: str) -> None:
    if not cluster.rules.rule(channel).options.presence:
        raise ReplyError(*codes.NOT_AVAILABLE)


Method = Callable[[Cluster, Any], Awaitable[Any]]

METHODS: Final[Mapping[str, tuple[type, Method]]] = MappingProxyType(
    {
        "publish": (PublishRequest, publish),
        "broadcast": (BroadcastRequest, broadcast),
        "subscribe": (SubscribeRequest, subscribe),
        "unsubscribe": (UnsubscribeRequest, unsubscribe),
        "disconnect": (DisconnectRequest, disconnect),
        "history": (HistoryRequest, history),
        "history_remove": (ChannelRequest, history_remove),
        "presence": (ChannelRequest, presence),
        "presence_stats": (ChannelRequest, presence_stats),
        "info": (EmptyRequest, info),
    }
)
