"""Methods of the HTTP API about a user's connections, on whichever node these are."""

from __future__ import annotations

from typing import Final

from realtime_node.cluster.backplane import (
    DisconnectUser,
    SubscribeUser,
    UnsubscribeUser,
)
from realtime_node.cluster.session_store import KeptGrant
from realtime_node.errors import ReplyError
from realtime_node.protocol import codes
from realtime_node.protocol.codes import CloseCode
from realtime_node.server.api_cluster import Cluster
from realtime_node.server.api_messages import (
    DisconnectRequest,
    EmptyResult,
    SubscribeRequest,
    UnsubscribeRequest,
)
from realtime_node.server.api_payloads import json_of
from realtime_node.session.expiring import has_ended
from realtime_node.session.resuming import Ending, ending_of

MAX_REASON_BYTES: Final = 123
"""What a close frame holds beside its code (RFC 6455, 5.5)."""


async def subscribe(cluster: Cluster, request: SubscribeRequest) -> EmptyResult:
    """Subscribe a user's connections from the server's side, and those to come if that is kept.

    Raises `ReplyError` 106 if as many are kept as may be, 107 for a request that names nobody, and
    110 if it would have ended by now.
    """
    _demand_somebody(request)
    if has_ended(request.expire_at, cluster.wall_clock()):
        raise ReplyError(*codes.EXPIRED)
    cluster.rules.rule(request.channel)
    wish = SubscribeUser(
        user=request.user,
        channel=request.channel,
        client=request.client,
        chan_info=json_of(request.info, request.b64info),
        data=json_of(request.data, request.b64data),
        recover_since=request.recover_since,
        session=request.session,
        expires_at=request.expire_at,
    )
    await _keep(cluster, wish)
    await cluster.backplane.control(wish)
    return EmptyResult()


def _demand_somebody(request: SubscribeRequest | UnsubscribeRequest | DisconnectRequest) -> None:
    """Raise `ReplyError` 107 for a request that names neither a user nor a client nor a session.

    The empty user is that of all anonymous clients: one forgotten field would mean every one of
    them, at once and outside of the reconnect budget.
    """
    if not (request.user or request.client or request.session):
        message = "bad request: user is required; for anonymous clients, client or session"
        raise ReplyError(codes.BAD_COMMAND.code, message)


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
    """End subscriptions of a user's connections; without a channel, all of them.

    Raises `ReplyError` 107 for a request that names nobody.
    """
    _demand_somebody(request)
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
    """Close a user's connections.

    Raises `ReplyError` 107 for a request that names nobody, and for a reason that is too long.
    """
    _demand_somebody(request)
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
