"""What the team's backend decides about commands.

`commands` and `connecting` come here where the settings say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import Raw, UnsetType

from realtime_node.cluster.backplane import WITHOUT_HISTORY, StreamOptions
from realtime_node.errors import Disconnect, ReplyError
from realtime_node.protocol import codes
from realtime_node.protocol.messages import (
    ConnectRequest,
    Publication,
    PublishRequest,
    SubscribeRequest,
)
from realtime_node.proxy.answers import PublishVerdict
from realtime_node.proxy.headers import Kept, TooManyHeadersError
from realtime_node.proxy.holding import Hold
from realtime_node.session.claims import ConnectionClaims, ServerSideSubscription
from realtime_node.session.expiring import has_ended
from realtime_node.session.subscribing import demand_room
from realtime_node.session.subscription import Grant

if TYPE_CHECKING:
    from realtime_node.config import ChannelOptions
    from realtime_node.session.session import Session


class Admission(NamedTuple):
    """Who is let in."""

    claims: ConnectionClaims
    data: bytes | None = None
    """JSON for the client."""
    hold: Hold | None = None
    is_proxied: bool = False
    """The team's backend let it in, and decides alone about server-side subscriptions."""


def with_emulated_headers(session: Session, headers: dict[str, str]) -> Kept:
    """Return what is kept of a client's headers; raises `Disconnect` 3501 for too many."""
    try:
        return session.services.proxies.keep_emulated(session.kept, headers)
    except TooManyHeadersError:
        raise Disconnect(*codes.BAD_REQUEST, detail="too many headers") from None


async def connection(
    session: Session, request: ConnectRequest, data: Raw | UnsetType
) -> Admission | None:
    """Ask who connects without a token, with `data`; None: the backend does not say."""
    verdict, hold = await session.services.proxies.connect(
        session.caller(),
        data,
        name=request.name,
        version=request.version,
        channels=request.subs,
    )
    if verdict is None:
        return None
    if has_ended(verdict.expire_at, session.services.wall_clock()):
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
    if has_ended(verdict.expire_at, session.services.wall_clock()):
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
