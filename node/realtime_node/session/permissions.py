"""Who may do what in a channel.

Pure rules over a channel's options and a user. Every rule returns a `Verdict`: the reason is for
the log, the error for the client. Semantics are Centrifugo's, so a team's configuration keeps its
meaning: `insecure` mode allows what no other rule does, a private channel needs a token even then,
and `..._for_anonymous` opens a permission to users without an id.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from realtime_node.config import ChannelOptions, ChannelSettings
from realtime_node.protocol import codes
from realtime_node.protocol.codes import ErrorCode


class Verdict(NamedTuple):
    """Whether something is allowed, and why."""

    allowed: bool
    reason: str
    error: ErrorCode = codes.PERMISSION_DENIED


class Asker(NamedTuple):
    """Who asks: a user (empty: anonymous) and how it stands to the channel."""

    user: str
    is_subscribed: bool = False
    insecure: bool = False
    """The node runs with `client.insecure`."""


ALLOWED: Final = Verdict(allowed=True, reason="allowed by the namespace")
ALLOWED_INSECURE: Final = Verdict(allowed=True, reason="client.insecure is on")


def asks_backend(channel: str, options: ChannelOptions, settings: ChannelSettings) -> bool:
    """Whether the team's backend decides a subscription that brings no token.

    It does not where the channel's name decides: where it is private, or says who its users are.
    """
    names_users = options.allow_user_limited_channels and settings.is_user_limited(channel)
    return options.subscribe_proxy_enabled and not names_users and not settings.is_private(channel)


def may_subscribe(
    channel: str, options: ChannelOptions, settings: ChannelSettings, asker: Asker
) -> Verdict:
    """Decide a subscription that brings no token."""
    if settings.is_private(channel):
        return Verdict(allowed=False, reason="a private channel needs a subscription token")
    names_users = options.allow_user_limited_channels and settings.is_user_limited(channel)
    if names_users and settings.is_for_user(channel, asker.user):
        return Verdict(allowed=True, reason="named by the channel")
    open_to_clients = options.allow_subscribe_for_client and not names_users
    if open_to_clients and (asker.user or options.allow_subscribe_for_anonymous):
        return ALLOWED
    if asker.insecure:
        return ALLOWED_INSECURE
    reason = "allow_subscribe_for_client is off"
    if names_users:
        reason = "not among the users the channel names"
    elif open_to_clients:
        reason = "allow_subscribe_for_anonymous is off"
    return Verdict(allowed=False, reason=reason)


def may_publish(options: ChannelOptions, asker: Asker) -> Verdict:
    """Decide a publish."""
    return _may(
        asker,
        for_client=options.allow_publish_for_client,
        for_subscriber=options.allow_publish_for_subscriber,
        for_anonymous=options.allow_publish_for_anonymous,
        what="publish",
    )


def may_read_history(options: ChannelOptions, asker: Asker) -> Verdict:
    """Decide a read of the stream; also whether a client may recover on its own wish."""
    if not options.history_size or not options.history_ttl:
        return Verdict(allowed=False, reason="no history here", error=codes.NOT_AVAILABLE)
    return _may(
        asker,
        for_client=options.allow_history_for_client,
        for_subscriber=options.allow_history_for_subscriber,
        for_anonymous=options.allow_history_for_anonymous,
        what="history",
    )


def may_read_presence(options: ChannelOptions, asker: Asker) -> Verdict:
    """Decide a look at who is present."""
    if not options.presence:
        return Verdict(allowed=False, reason="no presence here", error=codes.NOT_AVAILABLE)
    return may_see_others(options, asker)


def may_see_others(options: ChannelOptions, asker: Asker) -> Verdict:
    """Decide whether a client may learn who comes and goes, if the channel tells it at all."""
    return _may(
        asker,
        for_client=options.allow_presence_for_client,
        for_subscriber=options.allow_presence_for_subscriber,
        for_anonymous=options.allow_presence_for_anonymous,
        what="presence",
    )


def _may(
    asker: Asker, *, for_client: bool, for_subscriber: bool, for_anonymous: bool, what: str
) -> Verdict:
    open_to_asker = for_client or (for_subscriber and asker.is_subscribed)
    if open_to_asker and (asker.user or for_anonymous):
        return ALLOWED
    if asker.insecure:
        return ALLOWED_INSECURE
    if open_to_asker:
        return Verdict(allowed=False, reason=f"allow_{what}_for_anonymous is off")
    if for_subscriber:
        return Verdict(allowed=False, reason=f"allow_{what}_for_subscriber: not subscribed")
    return Verdict(allowed=False, reason=f"allow_{what}_for_client is off")
