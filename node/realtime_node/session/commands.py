"""A function per command of the protocol.

Each takes the session, the command's id and its request, and returns an `Outcome`: the reply, and
what has to happen right after it was written. A `ReplyError` it raises becomes an error reply, a
`Disconnect` a close. `EXECUTE` is the whole list.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from realtime_node.errors import (
    Disconnect,
    ReplyError,
    TokenError,
    TokenExpiredError,
    UnrecoverablePositionError,
)
from realtime_node.protocol import codes
from realtime_node.protocol.messages import (
    Command,
    EmptyResult,
    HistoryRequest,
    HistoryResult,
    PingRequest,
    PresenceRequest,
    PresenceResult,
    PresenceStatsRequest,
    PresenceStatsResult,
    Publication,
    PublishRequest,
    Reply,
    RpcRequest,
    RpcResult,
    SendRequest,
    StreamPosition,
    SubRefreshRequest,
    SubRefreshResult,
    SubscribeRequest,
    UnsubscribeRequest,
)
from realtime_node.session import permissions, proxied
from realtime_node.session.connecting import connect, refresh
from realtime_node.session.continuing import (
    change_channel_info,
    demand_ownership,
    granted,
    keep_grant,
)
from realtime_node.session.expiring import has_ended, refreshes, watch_subscriptions
from realtime_node.session.outcome import Execute, Outcome
from realtime_node.session.permissions import Verdict
from realtime_node.session.subscribing import open_subscription, remaining_seconds
from realtime_node.session.subscription import NO_GRANT, Grant, decide_subscription, raw_or_unset

if TYPE_CHECKING:
    from realtime_node.session.claims import SubscriptionClaims
    from realtime_node.session.session import Session


logger = logging.getLogger(__name__)

_ENDED: Final = (codes.TOKEN_EXPIRED.code, codes.EXPIRED.code)
"""Errors of tokens that were good once."""


# --- Connection ----------------------------------------------------------------------------------


async def ping(_session: Session, command_id: int, _request: PingRequest) -> Outcome:
    """Answer."""
    return Outcome(Reply(id=command_id, ping=EmptyResult()))


async def send(_session: Session, _command_id: int, _request: SendRequest) -> Outcome:
    """Refuse: nothing takes a client's messages."""
    raise Disconnect(*codes.NOT_AVAILABLE_CLOSE)


async def rpc(session: Session, command_id: int, request: RpcRequest) -> Outcome:
    """Let the team's backend answer."""
    data = await session.services.proxies.rpc(session.caller(), request.method, request.data)
    return Outcome(Reply(id=command_id, rpc=RpcResult(data=raw_or_unset(data))))


# --- Subscriptions -------------------------------------------------------------------------------


async def subscribe(session: Session, command_id: int, request: SubscribeRequest) -> Outcome:
    """Join a channel, and recover what was missed if asked to."""
    channel = _named(request.channel, "subscribe")
    rules = session.services.rules
    rule = rules.rule(channel)
    options = rule.options
    asker = session.asker()
    grant = _grant(session, channel, request.token)
    wish: SubscribeRequest | None = request
    if grant is None and permissions.asks_backend(channel, options, rules.settings):
        grant, wish = await proxied.subscription_grant(session, options, request), None
        # The settings may have changed meanwhile; `open_subscription` refuses what is gone.
        options = (rules.find(channel) or rule).options
    elif grant is None:
        _demand(permissions.may_subscribe(channel, options, rules.settings, asker))
    opened = await open_subscription(
        session,
        channel,
        decide_subscription(options, asker, wish, grant or NO_GRANT),
        recovers=request.recover,
        since=StreamPosition(offset=request.offset, epoch=request.epoch),
    )
    if grant is not None:
        keep_grant(session, channel, grant)
    return Outcome(Reply(id=command_id, subscribe=opened.result), opened.start)


def _grant(session: Session, channel: str, token: str) -> Grant | None:
    """Return what a token grants, or did in the client's session; None without either.

    Raises as `_subscription_claims`; an expired token is as good as none where the grant lives.
    """
    kept = None if session.resumption is None else granted(session, channel)
    if token:
        try:
            claims = _subscription_claims(session, channel, token)
        except ReplyError as error:
            if kept is None or error.code not in _ENDED:
                raise
        else:
            return Grant(expires_at=claims.expire_at, chan_info=claims.info, data=claims.data)
    return kept


def _subscription_claims(session: Session, channel: str, token: str) -> SubscriptionClaims:
    """Return what a subscription token grants.

    Raises `ReplyError` 109 for an expired token, 110 for one whose subscription would have ended by
    now and 103 for an invalid one, `Disconnect` 3500 for a valid one that was made for another
    channel, user or client.
    """
    services = session.services
    try:
        claims = services.tokens.verify_subscription_token(token, now=services.wall_clock())
    except TokenExpiredError as error:
        raise ReplyError(*codes.TOKEN_EXPIRED) from error
    except TokenError as error:
        raise ReplyError(*codes.PERMISSION_DENIED) from error
    if claims.channel != channel:
        raise Disconnect(*codes.INVALID_TOKEN, detail="a token for another channel")
    if claims.user != session.user:
        raise Disconnect(*codes.INVALID_TOKEN, detail="a token of another user")
    if claims.client and claims.client != session.client_id:
        raise Disconnect(*codes.INVALID_TOKEN, detail="a token of another client")
    if has_ended(claims.expire_at, services.wall_clock()):
        raise ReplyError(*codes.EXPIRED)
    return claims


async def sub_refresh(session: Session, command_id: int, request: SubRefreshRequest) -> Outcome:
    """Prolong a subscription with a new token.

    Raises `Disconnect` 3006, from which SDKs come back, for a token that has expired or whose
    subscription has ended.
    """
    channel = _named(request.channel, "sub_refresh")
    if channel in session.subscriptions and refreshes(session, channel):
        raise Disconnect(*codes.BAD_REQUEST, detail="the node refreshes this subscription")
    if not request.token:
        raise Disconnect(*codes.BAD_REQUEST, detail="sub_refresh without token")
    held = session.subscriptions.get(channel)
    if held is None:
        raise ReplyError(*codes.PERMISSION_DENIED)
    try:
        claims = _subscription_claims(session, channel, request.token)
    except ReplyError as error:
        if error.code not in _ENDED:
            raise
        # An error reply ends a subscription of the SDKs for good; from this close they come back,
        # and ask for a newer token.
        raise Disconnect(*codes.SUBSCRIPTION_EXPIRED) from error
    await change_channel_info(session, channel, held, raw_or_unset(claims.info))
    if session.subscriptions.get(channel) is not held:
        raise ReplyError(*codes.PERMISSION_DENIED)
    held.expires_at = claims.expire_at
    grant = Grant(held.server_side, claims.expire_at, claims.info, claims.data)
    keep_grant(session, channel, grant)
    watch_subscriptions(session)
    ttl = remaining_seconds(claims.expire_at, session.services.wall_clock())
    result = SubRefreshResult(expires=bool(claims.expire_at), ttl=ttl)
    return Outcome(Reply(id=command_id, sub_refresh=result))


async def unsubscribe(session: Session, command_id: int, request: UnsubscribeRequest) -> Outcome:
    """Leave a channel; leaving one that was never joined is no error."""
    channel = _named(request.channel, "unsubscribe")
    keep_grant(session, channel, None)
    if channel in session.subscriptions:
        session.forget(channel)
    return Outcome(Reply(id=command_id, unsubscribe=EmptyResult()))


# --- Channels ------------------------------------------------------------------------------------


async def publish(session: Session, command_id: int, request: PublishRequest) -> Outcome:
    """Publish into a channel on behalf of the client, who is named in the publication."""
    channel = _named(request.channel, "publish")
    services = session.services
    rule = services.rules.rule(channel)
    if request.data is UNSET:
        raise ReplyError(*codes.BAD_COMMAND)
    if session.resumption is not None:
        await demand_ownership(session)
        rule = services.rules.rule(channel)  # the settings may have changed meanwhile
    stream, key = rule.stream, ""
    publication = Publication(
        data=services.codec.publishable(request.data), info=session.info(channel)
    )
    if rule.options.publish_proxy_enabled:
        verdict = await proxied.publish_verdict(session, rule.options, request)
        stream = services.rules.rule(channel).stream  # the settings may have changed once more
        publication, stream, key = proxied.as_allowed(verdict, publication, stream)
    else:
        _demand(permissions.may_publish(rule.options, session.asker(channel)))
    published = await services.backplane.publish(channel, publication, stream, idempotency_key=key)
    if published.sequence is not None and channel in session.subscriptions:
        await session.await_own_publication(channel, published.sequence[1])
    return Outcome(Reply(id=command_id, publish=EmptyResult()))


async def history(session: Session, command_id: int, request: HistoryRequest) -> Outcome:
    """Read a channel's stream: of what is asked for, as much as one reply may hold."""
    channel = _named(request.channel, "history")
    services = session.services
    rule = services.rules.rule(channel)
    _demand(permissions.may_read_history(rule.options, session.asker(channel)))
    if request.reverse and request.since is not None and not request.since.offset:
        raise ReplyError(*codes.BAD_COMMAND)  # nothing lies before the beginning
    most = services.settings.history_max_publication_limit
    try:
        page = await services.backplane.history(
            channel,
            rule.stream,
            limit=request.limit if 0 <= request.limit <= most else most,
            since=request.since,
            reverse=request.reverse,
        )
    except UnrecoverablePositionError as error:
        raise ReplyError(*codes.UNRECOVERABLE_POSITION) from error
    result = HistoryResult(
        publications=page.publications, epoch=page.top.epoch, offset=page.top.offset
    )
    return Outcome(Reply(id=command_id, history=result))


async def presence(session: Session, command_id: int, request: PresenceRequest) -> Outcome:
    """List the clients of a channel."""
    channel = _may_read_presence(session, request.channel, "presence")
    services = session.services
    present = await services.presence.get(channel, limit=services.settings.presence_max_clients)
    result = PresenceResult(presence=present)
    return Outcome(Reply(id=command_id, presence=result))


async def presence_stats(
    session: Session, command_id: int, request: PresenceStatsRequest
) -> Outcome:
    """Count the clients of a channel."""
    channel = _may_read_presence(session, request.channel, "presence_stats")
    clients, users = await session.services.presence.stats(channel)
    result = PresenceStatsResult(num_clients=clients, num_users=users)
    return Outcome(Reply(id=command_id, presence_stats=result))


def _may_read_presence(session: Session, channel: str, method: str) -> str:
    options = session.services.rules.rule(_named(channel, method)).options
    _demand(permissions.may_read_presence(options, session.asker(channel)))
    return channel


def _named(channel: str, method: str) -> str:
    if not channel:
        raise Disconnect(*codes.BAD_REQUEST, detail=f"{method} without channel")
    return channel


def _demand(verdict: Verdict) -> None:
    if not verdict.allowed:
        logger.debug("refused: %s", verdict.reason)
        raise ReplyError(*verdict.error)


EXECUTE: Final[Mapping[str, Execute]] = MappingProxyType(
    {
        "connect": connect,
        "subscribe": subscribe,
        "unsubscribe": unsubscribe,
        "publish": publish,
        "presence": presence,
        "presence_stats": presence_stats,
        "history": history,
        "ping": ping,
        "send": send,
        "rpc": rpc,
        "refresh": refresh,
        "sub_refresh": sub_refresh,
    }
)


def method_of(command: Command) -> tuple[str, Any]:
    """Return the name and request of a command; the name is empty if it has none that is known."""
    for method in EXECUTE:
        request = getattr(command, method)
        if request is not None:
            return method, request
    return "", None
