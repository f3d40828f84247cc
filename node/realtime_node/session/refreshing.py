"""What is done about connections and subscriptions that expire.

Where the settings say so the team's backend is asked whether they may go on, in turn with the
client's commands. Before it is asked, what is about to expire is given some more time, so an answer
that does not come changes nothing and is asked for again later. Without a backend it is the client
that brings a better token, or loses what expired.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Final

from realtime_node.errors import BackendError, BackplaneError
from realtime_node.protocol import codes
from realtime_node.session.continuing import (
    change_channel_info,
    change_info,
    keep_grant,
    prolong_grant,
)
from realtime_node.session.expiring import (
    has_ended,
    refreshes,
    set_expiry,
    watch_subscriptions,
)
from realtime_node.session.subscription import Subscription, raw_or_unset

if TYPE_CHECKING:
    from realtime_node.session.session import Session

logger = logging.getLogger(__name__)

ANOTHER_TRY_S: Final = 60.0
"""What expires goes on for about so long while the backend cannot be asked."""


def refresh_soon(session: Session) -> None:
    """Ask, in turn, whether a connection that expires may go on."""
    set_expiry(session, _another_try(session))
    session.enqueue(partial(_refresh, session))


def expire_subscriptions(session: Session) -> None:
    """Ask about the subscriptions that expire, or end those whose time is over."""
    now = session.services.wall_clock()
    for channel, held in list(session.subscriptions.items()):
        if not held.is_active or not held.expires_at:
            continue
        if refreshes(session, channel):
            if held.expires_at <= now:
                _refresh_subscription_soon(session, channel, held)
        elif held.expires_at <= now - session.services.limits.expiry_grace:
            keep_grant(session, channel, None)
            session.end_subscription(channel, codes.UNSUBSCRIBED_EXPIRED)
    watch_subscriptions(session)


def _refresh_subscription_soon(session: Session, channel: str, held: Subscription) -> None:
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
    if verdict.expired or has_ended(verdict.expire_at, services.wall_clock()):
        session.close(codes.CONNECTION_EXPIRED)
        return
    if verdict.info is not None:
        await _known_by(session, change_info(session, raw_or_unset(verdict.info)))
    set_expiry(session, verdict.expire_at)
    services.keeper.touch(session)


async def _refresh_subscription(session: Session, channel: str, held: Subscription) -> None:
    services = session.services
    if session.subscriptions.get(channel) is not held:
        return
    if not refreshes(session, channel):
        watch_subscriptions(session)  # the settings have changed since
        return
    name = services.rules.rule(channel).options.sub_refresh_proxy_name
    try:
        verdict = await services.proxies.sub_refresh(name, session.caller(), channel, held.hold)
    except BackendError as error:
        logger.debug("client %s: %s is not refreshed: %s", session.client_id, channel, error)
        return
    if session.subscriptions.get(channel) is not held:
        return
    if verdict.expired or has_ended(verdict.expire_at, services.wall_clock()):
        session.end_subscription(channel, codes.UNSUBSCRIBED_EXPIRED)
        return
    if verdict.info is not None:
        info = raw_or_unset(verdict.info)
        await _known_by(session, change_channel_info(session, channel, held, info))
        if session.subscriptions.get(channel) is not held:
            return
    held.expires_at = verdict.expire_at
    prolong_grant(session, channel, held)
    watch_subscriptions(session)


async def _known_by(session: Session, change: Awaitable[None]) -> None:
    """Change what a client is known by; while the store is away, the next refresh tries again."""
    try:
        await change
    except BackplaneError as error:
        logger.warning("client %s: its info stays as it was: %s", session.client_id, error)
