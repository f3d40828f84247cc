"""Making a subscription, whoever asked for it: a command, a token, or the HTTP API.

The order matters. The joiner is registered with the hub first, then the backplane is asked; the
client is told its position, and only then does the hub deliver what follows it. Presence is entered
before the reply, so that a client that asks right after it finds itself.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from realtime_node.cluster.backplane import (
    WITHOUT_HISTORY,
    EntryKind,
    Subscribed,
    SubscribeUser,
)
from realtime_node.errors import BackplaneError, ReplyError
from realtime_node.protocol import codes
from realtime_node.protocol.messages import (
    Push,
    StreamPosition,
    SubscribePush,
    SubscribeResult,
)
from realtime_node.session.continuing import granted_channels, keep_grant, stay_in
from realtime_node.session.departures import Departure
from realtime_node.session.expiring import refreshes, watch_subscriptions
from realtime_node.session.offenders import is_repeat_offender
from realtime_node.session.recovery import Reason, Recovery, bounded, fit, reads_all, recover
from realtime_node.session.subscription import Grant, Subscription, decide_subscription

if TYPE_CHECKING:
    from realtime_node.delivery.joining import Joiner
    from realtime_node.session.channels import ChannelRule
    from realtime_node.session.session import Session

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """A subscription that is made but not delivered to yet."""

    session: Session
    channel: str
    subscription: Subscription
    joiner: Joiner
    top: StreamPosition
    result: SubscribeResult

    async def start(self) -> None:
        """Deliver and announce; call it right after the client was told `result`."""
        if self.deliver():
            await self.announce()

    def deliver(self) -> bool:
        """Deliver what follows the position; return whether the channel is to hear of a join."""
        if self.session.subscriptions.get(self.channel) is not self.subscription:
            return False  # the session ended while the reply was on its way
        self.subscription.is_active = True
        self.session.services.hub.finish_join(self.channel, self.joiner, self.top)
        if self.subscription.expires_at:
            watch_subscriptions(self.session)
        return self.subscription.announces and not self.subscription.was_present

    async def announce(self) -> None:
        """Tell the channel that this client came, if it is still there."""
        if self.session.subscriptions.get(self.channel) is not self.subscription:
            return  # what was delivered to it ended it
        info = self.session.info(self.channel)
        try:
            await self.session.services.backplane.announce(self.channel, EntryKind.JOIN, info)
        except BackplaneError as error:
            logger.warning("a join of %s is not announced: %s", self.channel, error)


def demand_room(session: Session, channel: str) -> None:
    """Raise `ReplyError`: 105 for a second subscription to a channel, 106 for one too many."""
    if channel in session.subscriptions:
        raise ReplyError(*codes.ALREADY_SUBSCRIBED)
    if len(session.subscriptions) >= session.services.settings.channel_limit:
        raise ReplyError(*codes.LIMIT_EXCEEDED)


def _demand_to_be_told(session: Session, subscription: Subscription) -> None:
    if subscription.has_presence and session.services.departures.is_full:
        raise ReplyError(*codes.INTERNAL, temporary=True)


async def open_subscription(
    session: Session,
    channel: str,
    subscription: Subscription,
    *,
    recovers: bool = False,
    since: StreamPosition | None = None,
) -> Opened:
    """Make a subscription for an allowed session, continuing from `since` if it `recovers`.

    Raises `ReplyError` 102 for an unknown namespace, 105 if it has one to this channel, 106 if it
    has as many as it may, and 100 (temporary) if more was published meanwhile than could be kept,
    or if so many are gone that the store does not know of yet; `BackplaneError` as it comes. In
    every case nothing of the attempt is left.
    """
    services = session.services
    try:
        rule = services.rules.rule(channel)
        demand_room(session, channel)
        _demand_to_be_told(session, subscription)
    except ReplyError:
        _release(subscription)
        raise
    session.hold_subscription(channel, subscription)
    if session.resumption is not None:
        subscription.stay = stay_in(session, rule.options)
    joiner = services.hub.begin_join(
        channel,
        session,
        follows_stream=subscription.positioned,
        wants_join_leave=subscription.wants_join_leave,
    )
    asked = (since or StreamPosition()) if recovers and subscription.recoverable else None
    was_entered = False
    try:
        state = await _ask_backplane(session, channel, subscription, rule, asked)
        if subscription.has_presence:
            was_entered = True
            subscription.was_present = services.departures.revoke(
                channel, session.client_id, subscription.stay.token
            )
            subscription.was_present = await services.presence.add(
                channel, session.info(channel), subscription.stay
            )
            subscription.is_present = True
        _demand_complete(joiner)
    except BaseException:
        _abandon(session, channel, subscription, was_entered=was_entered)
        raise
    recovery = None if asked is None else _recover(session, channel, asked, state, rule)
    result = _result(session, channel, subscription, state.top, recovery, was_recovering=recovers)
    subscription.since = result.offset
    return Opened(session, channel, subscription, joiner, state.top, result)


def subscribe_from_server(session: Session, wish: SubscribeUser) -> None:
    """Subscribe a session as the HTTP API asked, in turn with the client's own commands."""
    session.enqueue_for_api(partial(_subscribe_from_server, session, wish))


def unsubscribe_from_server(session: Session, channels: Sequence[str] | None) -> None:
    """End subscriptions (None: all), in turn with the client's own commands as well."""
    session.enqueue_for_api(partial(_unsubscribe_from_server, session, channels))


async def _unsubscribe_from_server(session: Session, channels: Sequence[str] | None) -> None:
    for name in granted_channels(session) if channels is None else channels:
        keep_grant(session, name, None)
        session.end_subscription(name, codes.UNSUBSCRIBED_BY_SERVER)


async def _subscribe_from_server(session: Session, wish: SubscribeUser) -> None:
    if not session.is_connected:
        return  # its connect, for which this had to wait, was refused
    grant = Grant(
        server_side=True, expires_at=wish.expires_at, chan_info=wish.chan_info, data=wish.data
    )
    try:
        options = session.services.rules.rule(wish.channel).options
        subscription = decide_subscription(options, session.asker(), grant=grant)
        opened = await open_subscription(
            session,
            wish.channel,
            subscription,
            recovers=wish.recover_since is not None,
            since=wish.recover_since,
        )
    except (ReplyError, BackplaneError) as error:
        client, channel = session.client_id, wish.channel
        logger.warning("client %s: not subscribed to %s: %s", client, channel, error)
        return
    keep_grant(session, wish.channel, grant)
    result = opened.result
    body = SubscribePush(
        recoverable=result.recoverable,
        epoch=result.epoch,
        offset=result.offset,
        positioned=result.positioned,
        data=result.data,
    )
    session.send_push(Push(channel=wish.channel, subscribe=body))
    for publication in result.publications:
        session.send_push(Push(channel=wish.channel, pub=publication))
    await opened.start()


async def _ask_backplane(
    session: Session,
    channel: str,
    subscription: Subscription,
    rule: ChannelRule,
    since: StreamPosition | None,
) -> Subscribed:
    backplane = session.services.backplane
    if not subscription.positioned:
        return await backplane.subscribe(channel, WITHOUT_HISTORY)
    limit = min(_most_read(session, rule), rule.stream.history_size)
    return await backplane.subscribe(channel, rule.stream, since=since, limit=limit)


def _most_read(session: Session, rule: ChannelRule) -> int:
    if reads_all(rule.flow.slow):
        return rule.stream.history_size
    return session.services.settings.recovery_max_publication_limit


def _demand_complete(joiner: Joiner) -> None:
    if joiner.is_incomplete:
        raise ReplyError(*codes.INTERNAL, temporary=True)


def _abandon(
    session: Session, channel: str, subscription: Subscription, *, was_entered: bool
) -> None:
    """Leave nothing of an attempt behind; `was_entered`: the store was asked to enter presence."""
    services = session.services
    info = session.info(channel)
    if session.subscriptions.get(channel) is subscription:
        session.release_subscription(channel)
        _release(subscription)
    services.hub.leave(channel, session)
    if was_entered:
        # Whether the entry was written is not known; taking it out is right in any case, and for
        # one who was present before it is so when the grace has ended.
        was_present, stay = subscription.was_present, subscription.stay
        departure = Departure(
            info,
            has_presence=True,
            announces=subscription.announces and was_present,
            token=stay.token,
        )
        after_s = stay.grace_ms / 1000 if was_present else 0
        services.departures.add(channel, departure, after_s=after_s)


def _release(subscription: Subscription) -> None:
    if subscription.hold is not None:
        subscription.hold.release()


def _result(  # noqa: PLR0913 - what the reply is made of
    session: Session,
    channel: str,
    subscription: Subscription,
    top: StreamPosition,
    recovery: Recovery | None,
    *,
    was_recovering: bool,
) -> SubscribeResult:
    # What the node refreshes by itself ends for no client to care.
    ends = 0 if refreshes(session, channel) else subscription.expires_at
    return SubscribeResult(
        expires=bool(ends),
        ttl=remaining_seconds(ends, session.services.wall_clock()),
        recoverable=subscription.recoverable,
        positioned=subscription.positioned,
        epoch=top.epoch,
        offset=top.offset if recovery is None else recovery.offset,
        publications=[] if recovery is None else recovery.publications,
        recovered=recovery is not None and recovery.recovered,
        was_recovering=was_recovering,
        data=subscription.data,
    )


def _recover(
    session: Session, channel: str, asked: StreamPosition, state: Subscribed, rule: ChannelRule
) -> Recovery:
    services = session.services
    now = services.monotonic()
    if not session.strikes:
        session.strikes = services.offenders.take(session.user, channel, asked, now)
    recovery = fit(
        recover(asked, state.top, state.publications, limit=_most_read(session, rule)),
        state.publications,
        rule.flow.slow,
        is_repeat_offender=is_repeat_offender(session.strikes, now),
    )
    limit = services.settings.recovery_max_publication_limit
    recovery = bounded(recovery, state.top, limit=limit)
    services.metrics.recoveries.labels("yes" if recovery.recovered else "no").inc()
    if recovery.reason is Reason.TOO_SLOW:
        services.metrics.newest_only.inc()
    return recovery


def remaining_seconds(expires_at: float, now: float) -> int:
    """Return what SDKs are told as `ttl`: whole seconds, at least one; 0 if there is no end."""
    return max(int(expires_at - now), 1) if expires_at else 0
