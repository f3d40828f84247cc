"""What a session holds for each channel it is subscribed to, and how that is decided.

Pure: the channel's options, what the client asked for and what its token grants go in, a
`Subscription` comes out. `subscribing` carries it out.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from realtime_node.cluster.presence import NO_STAY, Stay
from realtime_node.config import ChannelOptions
from realtime_node.protocol.messages import SubscribeRequest
from realtime_node.proxy.answers import Override
from realtime_node.proxy.proxies import Hold
from realtime_node.session import permissions
from realtime_node.session.permissions import Asker


class Subscription(msgspec.Struct, kw_only=True):
    """One channel of one session."""

    positioned: bool = False
    """The node watches that no publication is missed."""
    recoverable: bool = False
    """The client may come back with its position."""
    has_presence: bool = False
    announces: bool = False
    """The channel is told when this client comes and goes."""
    wants_join_leave: bool = False
    """This client is told when others come and go."""
    server_side: bool = False
    is_active: bool = False
    """False until its subscribe was answered."""
    is_present: bool = False
    """Whether its presence was entered: it has to be taken out when the subscription ends."""
    stay: Stay = NO_STAY
    """How its presence stands, if its client has a session."""
    was_present: bool = False
    """The client had been in the channel all along: nobody is told that it came."""
    expires_at: float = 0
    """Unix seconds; 0: never."""
    since: int = 0
    """The offset from which it was delivered to, if it has a position."""
    chan_info: Raw | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    hold: Hold | None = None
    """What stands behind it, if the team's backend allowed it and that is kept."""


class Grant(NamedTuple):
    """What a token, the team's backend, or the server itself, adds to a subscription."""

    server_side: bool = False
    expires_at: float = 0
    chan_info: bytes | None = None
    data: bytes | None = None
    override: Override | None = None
    hold: Hold | None = None


NO_GRANT = Grant()


def decide_subscription(
    options: ChannelOptions,
    asker: Asker,
    request: SubscribeRequest | None = None,
    grant: Grant = NO_GRANT,
) -> Subscription:
    """Return the subscription an allowed asker gets.

    Without a `request` (server-side) it has just what the namespace forces on everybody.
    """
    if grant.override is not None:
        options = options.model_copy(update=dict(grant.override.changes()))
    asker = asker._replace(is_subscribed=True)
    wish = request or SubscribeRequest()
    has_history = options.history_size > 0 and bool(options.history_ttl)
    may_follow = permissions.may_read_history(options, asker).allowed
    may_see = permissions.may_see_others(options, asker).allowed
    # What is dropped for a slow client is not worth anything later, so nobody comes back for it.
    may_recover = options.slow_client.policy != "drop"
    recoverable = (has_history and may_recover) and (
        options.force_recovery or (wish.recoverable and (options.allow_recovery or may_follow))
    )
    positioned = has_history and (
        options.force_positioning or (wish.positioned and (options.allow_positioning or may_follow))
    )
    return Subscription(
        # Whoever may come back to its position has one that is watched meanwhile.
        positioned=positioned or recoverable,
        recoverable=recoverable,
        has_presence=options.presence,
        announces=options.join_leave,
        wants_join_leave=options.join_leave
        and (options.force_push_join_leave or (wish.join_leave and may_see)),
        server_side=grant.server_side,
        expires_at=grant.expires_at,
        chan_info=raw_or_unset(grant.chan_info),
        data=raw_or_unset(grant.data),
        hold=grant.hold,
    )


def raw_or_unset(data: bytes | None) -> Raw | UnsetType:
    """Return JSON in the form that messages carry it."""
    return UNSET if data is None else Raw(data)
