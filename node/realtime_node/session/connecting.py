"""Letting a client in, and letting it stay: the commands connect and refresh.

`connect` turns a token into a user, makes the server-side subscriptions that the token or a
returning client brings along, and tells the ping contract. `commands` lists both functions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Raw, UnsetType, structs

from realtime_node.cluster.backplane import DisconnectUser
from realtime_node.errors import (
    Disconnect,
    ReplyError,
    TokenError,
    TokenExpiredError,
)
from realtime_node.protocol import codes
from realtime_node.protocol.messages import (
    ConnectRequest,
    ConnectResult,
    RefreshRequest,
    RefreshResult,
    Reply,
    StreamPosition,
    SubscribeRequest,
)
from realtime_node.session import permissions, proxied
from realtime_node.session.claims import ANONYMOUS
from realtime_node.session.continuing import change_channel_info, change_info
from realtime_node.session.expiring import has_ended, set_expiry
from realtime_node.session.lifecycle import NEVER
from realtime_node.session.outcome import Outcome
from realtime_node.session.proxied import Admission
from realtime_node.session.recent_calls import Call
from realtime_node.session.registry import apply_call
from realtime_node.session.resuming import NOTHING_KEPT, Ending, Kept, told, without_wish
from realtime_node.session.subscribing import Opened, open_subscription, remaining_seconds
from realtime_node.session.subscription import Grant, decide_subscription, raw_or_unset
from realtime_node.session.together import finish_all

if TYPE_CHECKING:
    from realtime_node.session.claims import ConnectionClaims
    from realtime_node.session.session import Session

logger = logging.getLogger(__name__)

_WISHED: Final = Grant(server_side=True)
"""What a returning client may have by itself."""


async def connect(session: Session, command_id: int, request: ConnectRequest) -> Outcome:
    """Let a client in: who it is, its server-side subscriptions, the ping contract.

    Raises `ReplyError` 111 while the node is overloaded: connecting costs more than the handshake
    did, and the client comes back with its back-off. A cordon refuses nobody here: who was let in
    before it is served.
    """
    services = session.services
    if services.is_shedding():
        raise ReplyError(*codes.TOO_MANY_REQUESTS, temporary=True)
    calls = services.registry.calls
    began_at = calls.number
    admission = await _admission(session, request)
    claims = admission.claims
    session.rely_on(admission.hold)
    kept = NOTHING_KEPT
    if services.keeper.is_enabled:
        kept = await services.keeper.admit(session, claims, request)
    settings = services.settings
    # The backend, or the store, may have been slow: what was decided meanwhile counts.
    if not calls.knows(began_at):
        raise ReplyError(*codes.INTERNAL, temporary=True)
    missed = calls.since(began_at, claims.user, session.client_id)
    _demand_not_disconnected(session, missed)
    limit = settings.user_connection_limit
    if limit and claims.user and services.registry.connections_of(claims.user) >= limit:
        raise Disconnect(*codes.CONNECTION_LIMIT)
    session.kept = services.proxies.keep_connected(session.kept)
    info, expires_at = _identity(admission, kept, request.token, services.wall_clock())
    session.identify(claims.user, info)
    for call in missed:
        apply_call(session, call)  # in turn, behind this connect
    if not session.is_open:
        return Outcome()  # they were too many, and have closed it
    granted = claims.server_side_grants()
    session.token_channels = None if admission.is_proxied else frozenset(granted)
    wished = {} if admission.is_proxied else _wished_grants(session, request)
    grants = wished | granted
    if len(grants) > settings.channel_limit:
        raise Disconnect(*codes.CHANNEL_LIMIT)
    _add_kept(session, grants, kept.server_side)
    opened = await _open_all(session, grants, request)
    session.connect(0 if settings.insecure else expires_at)
    result = _result(session, opened, _data(admission, kept))
    if kept.session:
        services.keeper.connected(session, kept)

    async def then() -> None:
        # Every channel is delivered to from here on; only then is anything waited for.
        joining = [each for each in opened if each.deliver()]
        await finish_all(each.announce() for each in joining)

    return Outcome(Reply(id=command_id, connect=result), then if opened else None)


def _result(session: Session, opened: Iterable[Opened], data: Raw | UnsetType) -> ConnectResult:
    """Return what a client is told that was let in."""
    services = session.services
    limits = services.limits
    ends = 0 if services.proxies.refreshes else session.expires_at
    return ConnectResult(
        client=session.client_id,
        version=services.version,
        expires=bool(ends),
        ttl=remaining_seconds(ends, services.wall_clock()),
        subs={each.channel: each.result for each in opened},
        ping=int(limits.ping_interval),
        pong=limits.ping_interval > 0 and limits.pong_timeout > 0,
        node=services.backplane.node_id,
        time=(
            int(services.wall_clock() * 1000)
            if services.settings.connect_include_server_time
            else 0
        ),
        data=data,
    )


def _demand_not_disconnected(session: Session, calls: Iterable[Call]) -> None:
    """Raise `Disconnect` as the first of the calls says that is to close this client."""
    for call in calls:
        if isinstance(call, DisconnectUser) and session.client_id not in call.whitelist:
            detail = "disconnected by the API while it was let in"
            raise Disconnect(call.code, call.reason, detail=detail)


async def _admission(session: Session, request: ConnectRequest) -> Admission:
    """Return who connects: as the token says, or where there is none, the team's backend."""
    proxies = session.services.proxies
    session.kept = proxied.with_emulated_headers(session, request.headers)
    if not request.token and proxies.lets_in:
        admission = await proxied.connection(session, request, _asked_with(session, request))
        if admission is not None:
            return admission
    return Admission(_connection_claims(session, request.token))


def _asked_with(session: Session, request: ConnectRequest) -> Raw | UnsetType:
    """Return the data that the team's backend is to see."""
    keeps_sessions = session.services.keeper.keeps_sessions
    return without_wish(request.data) if keeps_sessions else request.data


def _connection_claims(session: Session, token: str) -> ConnectionClaims:
    """Return who connects; nothing that a token opens ends in insecure mode.

    Raises `ReplyError` 109 for an expired token, and 110 for one that may be used and opens what
    has ended: success would reset the client's back-off before a close that is certain. Raises
    `Disconnect` 3500 for an invalid token, 3501 for a missing one, and 3507 for an anonymous one
    where those are not allowed.
    """
    services = session.services
    settings = services.settings
    if not token:
        if settings.insecure or settings.allow_anonymous_connect_without_token:
            return ANONYMOUS
        raise Disconnect(*codes.BAD_REQUEST, detail="a connection token is required")
    try:
        claims = services.tokens.verify_connection_token(token, now=services.wall_clock())
    except TokenExpiredError as error:
        raise ReplyError(*codes.TOKEN_EXPIRED) from error
    except TokenError as error:
        raise Disconnect(*codes.INVALID_TOKEN, detail=str(error)) from error
    if not claims.user and settings.disallow_anonymous_connection_tokens:
        raise Disconnect(*codes.PERMISSION_DENIED_CLOSE, detail="anonymous connection token")
    if settings.insecure:
        return structs.replace(claims, expire_at=0)
    if has_ended(claims.expire_at, services.wall_clock()):
        raise ReplyError(*codes.EXPIRED)
    return claims


def _data(admission: Admission, kept: Kept) -> Raw | UnsetType:
    """Return what the client is told by the team's backend, and of its session."""
    data = raw_or_unset(admission.data)
    return told(data, kept.session, resumed=kept.resumed) if kept.session else data


def _identity(
    admission: Admission, kept: Kept, token: str, now: float
) -> tuple[bytes | None, float]:
    """Return `conn_info` and end of a connection.

    A token, or the team's backend, says who its user is now; else a session knows what it was,
    until that ends.
    """
    claims = admission.claims
    if token or admission.is_proxied or has_ended(kept.expires_at, now):
        return claims.info, claims.expire_at
    return claims.info or kept.conn_info, claims.expire_at or kept.expires_at


def _add_kept(session: Session, grants: dict[str, Grant], kept: Mapping[str, Grant]) -> None:
    """Add what outlived the last connection to what this one brings.

    Left out are channels of namespaces that are not in the settings any more, and those for which
    the connection has no room: neither is a reason to refuse a client.
    """
    services = session.services
    for channel, grant in kept.items():
        brought = grants.get(channel)
        if brought is None and len(grants) >= services.settings.channel_limit:
            logger.warning("client %s: no room for kept %s", session.client_id, channel)
            continue
        try:
            services.rules.rule(channel)
        except ReplyError as error:
            logger.warning("client %s: kept %s is left out: %s", session.client_id, channel, error)
            continue
        # What a token says is newer than what is kept, and both say more than a wish.
        if brought is None or brought == _WISHED:
            grants[channel] = grant


def _wished_grants(session: Session, request: ConnectRequest) -> dict[str, Grant]:
    """Return server-side subscriptions that a returning client had and may make by itself.

    Those it may not are the server's to give again; they are left out without an error.
    """
    rules = session.services.rules
    wished = {}
    for channel in request.subs:
        try:
            options = rules.rule(channel).options
        except ReplyError:
            continue
        if permissions.asks_backend(channel, options, rules.settings):
            continue  # nobody but the team's backend may allow it
        if permissions.may_subscribe(channel, options, rules.settings, session.asker()).allowed:
            wished[channel] = _WISHED
    return wished


async def _open_all(
    session: Session, grants: Mapping[str, Grant], request: ConnectRequest
) -> list[Opened]:
    """Make the server-side subscriptions, all of them or none.

    They are asked for together, so that many cost the store one pipeline and the client one wait.
    """
    opening = (
        _open_server_side(session, channel, grant, request) for channel, grant in grants.items()
    )
    try:
        return await finish_all(opening)
    except Exception:
        # Those that could not be made have left nothing, and there were none before.
        for channel in list(session.subscriptions):
            session.forget(channel, Ending.LOST)
        raise


async def _open_server_side(
    session: Session, channel: str, grant: Grant, request: ConnectRequest
) -> Opened:
    options = session.services.rules.rule(channel).options
    subscription = decide_subscription(options, session.asker(), grant=grant)
    position = request.subs.get(channel, SubscribeRequest())
    return await open_subscription(
        session,
        channel,
        subscription,
        recovers=position.recover,
        since=StreamPosition(offset=position.offset, epoch=position.epoch),
    )


async def refresh(session: Session, command_id: int, request: RefreshRequest) -> Outcome:
    """Prolong a connection with a new token of the same user.

    A client that was told to refresh does so, even if changed settings have the team's backend
    asked from now on. Raises `ReplyError` 110 for a token that opens what has ended; `Disconnect`
    3005, from which SDKs come back, for one that has expired.
    """
    services = session.services
    if services.proxies.refreshes and session.deadlines.expiry is NEVER:
        raise Disconnect(*codes.BAD_REQUEST, detail="the node refreshes connections")
    if not request.token:
        raise Disconnect(*codes.BAD_REQUEST, detail="refresh without token")
    try:
        claims = _connection_claims(session, request.token)
    except ReplyError as error:
        if error.code != codes.TOKEN_EXPIRED.code:
            raise
        # What the client has is over: it comes back and asks for a newer token then.
        raise Disconnect(*codes.CONNECTION_EXPIRED) from error
    if claims.user != session.user:
        raise Disconnect(*codes.INVALID_TOKEN, detail="a token of another user")
    granted = claims.server_side_grants()
    if session.token_channels is not None and granted.keys() != session.token_channels:
        # The client comes back with the new token, and is subscribed to what that grants.
        raise Disconnect(*codes.INSUFFICIENT_STATE, detail="the new token grants other channels")
    await change_info(session, raw_or_unset(claims.info))
    await finish_all(
        change_channel_info(session, channel, held, raw_or_unset(grant.chan_info))
        for channel, grant in granted.items()
        # A token that only names a channel says nothing of what its client is known by there.
        if grant != _WISHED and (held := session.subscriptions.get(channel)) and held.server_side
    )
    set_expiry(session, claims.expire_at)
    services.keeper.touch(session)
    ends = 0 if services.proxies.refreshes else session.expires_at
    result = RefreshResult(
        client=session.client_id,
        version=services.version,
        expires=bool(ends),
        ttl=remaining_seconds(ends, services.wall_clock()),
    )
    return Outcome(Reply(id=command_id, refresh=result))
