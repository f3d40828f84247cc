"""A function per method of the HTTP API; `http_api` carries them over HTTP.

Every method works on any node for the whole cluster: what concerns sessions goes to all nodes as a
control message. A `ReplyError` becomes an error in the response.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from msgspec import UNSET, Raw, UnsetType

from realtime_node.cluster.backplane import (
    WITHOUT_HISTORY,
    Backplane,
    DisconnectUser,
    SubscribeUser,
    UnsubscribeUser,
)
from realtime_node.cluster.presence import PresenceStore
from realtime_node.cluster.session_store import KeptGrant, SessionStore
from realtime_node.cluster.verdicts import VerdictStore
from realtime_node.config import ClientSettings
from realtime_node.errors import BackplaneError, ReplyError, UnrecoverablePositionError
from realtime_node.protocol import codes
from realtime_node.protocol.codes import CloseCode
from realtime_node.protocol.json_codec import clean_json
from realtime_node.protocol.messages import (
    ErrorBody,
    HistoryResult,
    PresenceResult,
    PresenceStatsResult,
    Publication,
)
from realtime_node.server.api_messages import (
    BatchCommand,
    BatchReply,
    BatchRequest,
    BatchResult,
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
from realtime_node.session.channels import ChannelRule, ChannelRules
from realtime_node.session.resuming import Ending, ending_of

MAX_REASON_BYTES: Final = 123
"""What a close frame holds beside its code (RFC 6455, 5.5)."""
CONCURRENCY: Final = 256
"""Publications of one request that are on their way to the store at once."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the methods work on."""

    rules: ChannelRules
    backplane: Backplane
    presence: PresenceStore
    verdicts: VerdictStore
    sessions: SessionStore
    client: ClientSettings

    @property
    def remembered_ms(self) -> int:
        """How long sessions without a connection have to learn what was taken; 0: there are none.

        Some time longer than they wait: nobody knows at once that a node is dead.
        """
        if not self.client.session.enabled:
            return 0
        return int(self.client.session.resume_window.total_seconds() * 1000) + _UNNOTICED_MS


_UNNOTICED_MS: Final = 60_000

Method = Callable[[Cluster, Any], Awaitable[Any]]


async def publish(cluster: Cluster, request: PublishRequest) -> PublishResult:
    """Publish into one channel."""
    return await _publish(cluster, request.channel, request, _data(request))


async def broadcast(cluster: Cluster, request: BroadcastRequest) -> BroadcastResult:
    """Publish the same into many channels; each has its own result or error."""
    if not request.channels:
        raise ReplyError(*codes.BAD_COMMAND)
    data = _data(request)

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


def _data(payload: Payload) -> Raw:
    data = _json(payload.data, payload.b64data)
    if data is None:
        raise ReplyError(codes.BAD_COMMAND.code, "bad request: data is required")
    return Raw(data)


def _json(raw: Raw | UnsetType, encoded: str) -> bytes | None:
    """Return JSON given as it is or in base64.

    Raises `ReplyError` 107: clients of the JSON protocol can be sent nothing else.
    """
    if encoded:
        try:
            data = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise ReplyError(codes.BAD_COMMAND.code, "bad request: invalid base64") from error
    elif raw is not UNSET:
        data = bytes(raw)
    else:
        return None
    try:
        return clean_json(data)
    except ValueError as error:
        raise ReplyError(codes.BAD_COMMAND.code, f"bad request: not JSON: {error}") from error


async def subscribe(cluster: Cluster, request: SubscribeRequest) -> EmptyResult:
    """Subscribe a user's connections from the server's side, and those to come if that is kept.

    Raises `ReplyError` 106 if as many are kept as may be.
    """
    cluster.rules.rule(request.channel)
    wish = SubscribeUser(
        user=request.user,
        channel=request.channel,
        client=request.client,
        chan_info=_json(request.info, request.b64info),
        data=_json(request.data, request.b64data),
        recover_since=request.recover_since,
        session=request.session,
        expires_at=request.expire_at,
    )
    await _keep(cluster, wish)
    await cluster.backplane.control(wish)
    return EmptyResult()


async def _keep(cluster: Cluster, wish: SubscribeUser) -> None:
    """Let a subscription outlive the connections that it is made for, where that is wanted."""
    client = cluster.client
    of_session = bool(wish.session) and client.session.enabled
    of_user = not wish.session and bool(wish.user) and client.api_subscriptions.kept
    if wish.client or not (of_session or of_user):
        return
    grant = KeptGrant(
        server_side=True, expires_at=wish.expires_at, chan_info=wish.chan_info, data=wish.data
    )
    limit = client.api_subscriptions.limit
    is_kept = await cluster.sessions.subscribe(
        wish.user, wish.channel, grant, session=wish.session, limit=limit
    )
    if not is_kept and of_user:
        raise ReplyError(*codes.LIMIT_EXCEEDED)


async def unsubscribe(cluster: Cluster, request: UnsubscribeRequest) -> EmptyResult:
    """End subscriptions of a user's connections; without a channel, all of them."""
    if request.channel:
        cluster.rules.rule(request.channel)
    # What the team's backend allowed is over: it is asked when the client subscribes again.
    await cluster.verdicts.revoke(request.user)
    outlives = cluster.remembered_ms or cluster.client.api_subscriptions.kept
    if outlives and not request.client and (request.user or request.session):
        await cluster.sessions.unsubscribe(
            request.user,
            request.channel,
            session=request.session,
            remembered_ms=cluster.remembered_ms,
        )
    await cluster.backplane.control(
        UnsubscribeUser(
            user=request.user,
            channel=request.channel,
            client=request.client,
            session=request.session,
        )
    )
    return EmptyResult()


async def disconnect(cluster: Cluster, request: DisconnectRequest) -> EmptyResult:
    """Close a user's connections."""
    close = request.disconnect
    code, reason = (close.code, close.reason) if close else codes.FORCE_DISCONNECT
    if len(reason.encode()) > MAX_REASON_BYTES:
        message = f"bad request: reason is longer than {MAX_REASON_BYTES} bytes"
        raise ReplyError(codes.BAD_COMMAND.code, message)
    # Before anybody is closed: who comes back must not be let in by what was said of them.
    await cluster.verdicts.revoke(request.user)
    is_for_all = (request.user or request.session) and not (request.client or request.whitelist)
    ends_sessions = ending_of(CloseCode(code, reason)) is Ending.FOR_GOOD
    if cluster.remembered_ms and ends_sessions and is_for_all:
        await cluster.sessions.revoke(
            request.user, session=request.session, remembered_ms=cluster.remembered_ms
        )
    await cluster.backplane.control(
        DisconnectUser(
            user=request.user,
            client=request.client,
            session=request.session,
            whitelist=tuple(request.whitelist),
            code=code,
            reason=reason,
        )
    )
    return EmptyResult()


async def history(cluster: Cluster, request: HistoryRequest) -> HistoryResult:
    """Read a channel's stream."""
    rule = _with_history(cluster, request.channel)
    try:
        page = await cluster.backplane.history(
            request.channel,
            rule.stream,
            limit=request.limit,
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
    return PresenceResult(presence=await cluster.presence.get(request.channel))


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


async def batch(cluster: Cluster, request: BatchRequest) -> BatchResult:
    """Execute several commands; each has its own result or error."""
    replies: list[BatchReply] = []
    for group in _groups(request):
        replies += await asyncio.gather(*(_reply(cluster, command) for command in group))
    return BatchResult(replies=replies)


def _groups(request: BatchRequest) -> list[Sequence[BatchCommand]]:
    """Cut a batch into runs that may be on their way together.

    Publications leave in the order they were given over one connection, so a run of them keeps its
    order without waiting for each answer; any other command waits for what stands before it.
    """
    commands = request.commands
    if request.parallel:
        return [commands[i : i + CONCURRENCY] for i in range(0, len(commands), CONCURRENCY)]
    groups: list[list[BatchCommand]] = []
    for command in commands:
        last = groups[-1] if groups else []
        if command.publish and last and last[-1].publish and len(last) < CONCURRENCY:
            last.append(command)
        else:
            groups.append([command])
    return list(groups)


async def _reply(cluster: Cluster, command: BatchCommand) -> BatchReply:
    try:
        name = _method_of(command)
        result = await METHODS[name][1](cluster, getattr(command, name))
    except (ReplyError, BackplaneError) as error:
        return BatchReply(error=error_body(error))
    return BatchReply(**{name: result})


def _method_of(command: BatchCommand) -> str:
    given = [name for name in METHODS if getattr(command, name) is not None]
    if len(given) != 1:
        raise ReplyError(*codes.METHOD_NOT_FOUND)
    return given[0]


def error_body(error: ReplyError | BackplaneError) -> ErrorBody:
    """Return the error a caller gets; what the store says stays in our log."""
    if isinstance(error, ReplyError):
        return ErrorBody(code=error.code, message=error.message)
    return ErrorBody(code=codes.INTERNAL.code, message=codes.INTERNAL.message)
