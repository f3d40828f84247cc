"""What the team's backend decides for a session: commands that ask it, and refreshing by itself.

`commands` and `connecting` come here where the settings say so. A refresh is done in turn with the
client's commands. Before the backend is asked, what is about to expire is given some more time, so
an answer that does not come changes nothing and is asked for again later.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Raw

from realtime_node.cluster.backplane import WITHOUT_HISTORY, StreamOptions
from realtime_node.errors import BackendError, Disconnect, ReplyError
from realtime_node.protocol import codes
from realtime_node.protocol.messages import (
    ConnectRequest,
    Publication,
    PublishRequest,
    SubscribeRequest,
)
from realtime_node.proxy.answers import PublishVerdict
from realtime_node.proxy.headers import Kept, TooManyHeadersError
from realtime_node.proxy.proxies import Hold
from realtime_node.session.claims import ConnectionClaims, ServerSideSubscription
from realtime_node.session.subscribing import demand_room
from realtime_node.session.subscription import Grant, Subscription, raw_or_unset

if TYPE_CHECKING:
    from realtime_node.config import ChannelOptions
    from realtime_node.session.session import Session

logger = logging.getLogger(__name__)

ANOTHER_TRY_S: Final = 60.0
"""What expires goes on for about so long while the backend cannot be asked."""


class Admission(NamedTuple):
    """Who is let in."""

    claims: ConnectionClaims
    data: bytes | None = None
    """JSON for the client."""
    hold: Hold | None = None
    is_proxied: bool = False
    """The team's backend let it in, and decides alone about server-side subscriptions."""


# --- commands ------------------------------------------------------------------------------------


def with_emulated_headers(session: Session, headers: dict[str, str]) -> Kept:
    """Return what is kept of a client's headers; raises `Disconnect` 3501 for too many."""
    try:
        return session.services.proxies.keep_emulated(session.kept, headers)
    except TooManyHeadersError:
        raise Disconnect(*codes.BAD_REQUEST, detail="too many headers") from None


async def connection(session: Session, request: ConnectRequest) -> Admission | None:
    """Ask who connects without a token; None: the backend does not say."""
    verdict, hold = await session.services.proxies.connect(
        session.caller(),
        request.data,
        name=request.name,
        version=request.version,
        channels=request.subs,
    )
    if verdict is None:
        return None
    now = session.services.wall_clock()
    if verdict.expire_at and verdict.expire_at <= now:
        _release(hold)
        raise ReplyError(*codes.EXPIRED)
    claims = ConnectionClaims(
        user=verdict.user,
        expire_at=verdict.expire_at,
        info=verdict.info,
        subs={
            channel: ServerSideSubscription(info=sub.info, data=sub.data, override=sub.override)
            for channel, sub in verdict.subs.items()
        },
    )
    return Admission(claims, verdict.data, hold, is_proxied=True)


async def subscription_grant(
    session: Session, options: ChannelOptions, request: SubscribeRequest
) -> Grant:
    """Ask whether a client may subscribe, and how."""
    channel = request.channel
    demand_room(session, channel)
    verdict, hold = await session.services.proxies.subscribe(
        options.subscribe_proxy_name, session.caller(), channel, request.data
    )
    if verdict.expire_at and verdict.expire_at <= session.services.wall_clock():
        _release(hold)
        raise ReplyError(*codes.EXPIRED)
    return Grant(
        expires_at=verdict.expire_at,
        chan_info=verdict.info,
        data=verdict.data,
        override=verdict.override,
        hold=hold,
    )


async def publish_verdict(
    session: Session, options: ChannelOptions, request: PublishRequest
) -> PublishVerdict:
    """Ask whether a client may publish, and what."""
    return await session.services.proxies.publish(
        options.publish_proxy_name, session.caller(), request.channel, request.data
    )


def as_allowed(
    verdict: PublishVerdict, publication: Publication, stream: StreamOptions
) -> tuple[Publication, StreamOptions, str]:
    """Return a publication as the backend wants it, into which stream, and its idempotency key."""
    data = publication.data if verdict.data is None else Raw(verdict.data)
    changed = msgspec.structs.replace(publication, data=data, tags=verdict.tags)
    return changed, WITHOUT_HISTORY if verdict.skip_history else stream, verdict.idempotency_key


def _release(hold: Hold | None) -> None:
    if hold is not None:
        hold.release()


# --- refreshing ----------------------------------------------------------------------------------


def refresh_soon(session: Session) -> None:
    """Ask, in turn, whether a connection that expires may go on."""
    session.set_expiry(_another_try(session))
    session.enqueue(partial(_refresh, session))


def refresh_subscription_soon(session: Session, channel: str, held: Subscription) -> None:
    """Ask, in turn, whether a subscription that expires may go on."""
    held.expires_at = _another_try(session)
    session.enqueue(partial(_refresh_subscription, session, channel, held))


def _another_try(session: Session) -> float:
    """Some time from now, other for each, so that those who expire together do not try together."""
    services = session.services
    return services.wall_clock() + ANOTHER_TRY_S * (0.5 + services.random())


async def _refresh(session: Session) -> None:
    services = session.services
    try:
        verdict = await services.proxies.refresh(session.caller(), session.hold)
    except BackendError as error:
        logger.debug("client %s: not refreshed, goes on for now: %s", session.client_id, error)
        return
    if verdict.expired or 0 < verdict.expire_at <= services.wall_clock():
        session.close(codes.CONNECTION_EXPIRED)
        return
    if verdict.info is not None:
        session.conn_info = raw_or_unset(verdict.info)
    session.set_expiry(verdict.expire_at)


async def _refresh_subscription(session: Session, channel: str, held: Subscription) -> None:
    services = session.services
    if session.subscriptions.get(channel) is not held:
        return
    name = services.rules.rule(channel).options.sub_refresh_proxy_name
    try:
        verdict = await services.proxies.sub_refresh(name, session.caller(), channel, held.hold)
    except BackendError as error:
        logger.debug("client %s: %s is not refreshed: %s", session.client_id, channel, error)
        return
    if session.subscriptions.get(channel) is not held:
        return
    if verdict.expired or 0 < verdict.expire_at <= services.wall_clock():
        session.end_subscription(channel, codes.UNSUBSCRIBED_EXPIRED)
        return
    if verdict.info is not None:
        held.chan_info = raw_or_unset(verdict.info)
    held.expires_at = verdict.expire_at
    session.watch_subscriptions()
