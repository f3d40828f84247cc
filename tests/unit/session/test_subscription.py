"""What a subscriber gets, by what the channel offers, what it asks for and who it is."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

from msgspec import UNSET, Raw

from realtime_node.config import ChannelOptions
from realtime_node.protocol.messages import SubscribeRequest
from realtime_node.session.permissions import Asker
from realtime_node.session.subscription import Grant, decide_subscription

HISTORY: dict[str, Any] = {"history_size": 10, "history_ttl": timedelta(seconds=60)}
ANN = Asker("ann")
BOTH = (False, True)


def test_recovery_is_forced_allowed_or_earned() -> None:
    """Recovery comes by force, or on request where it is allowed or the history may be read."""
    for forced, allowed, readable, asked in itertools.product(BOTH, repeat=4):
        options = ChannelOptions(
            **HISTORY,
            force_recovery=forced,
            allow_recovery=allowed,
            allow_history_for_subscriber=readable,
        )
        request = SubscribeRequest(channel="a", recoverable=asked)
        subscription = decide_subscription(options, ANN, request)
        expected = forced or (asked and (allowed or readable))
        assert subscription.recoverable == subscription.positioned == expected


def test_positioning_is_forced_allowed_or_earned() -> None:
    """Positioning comes in the same ways, and brings no recovery with it."""
    for forced, allowed, readable, asked in itertools.product(BOTH, repeat=4):
        options = ChannelOptions(
            **HISTORY,
            force_positioning=forced,
            allow_positioning=allowed,
            allow_history_for_subscriber=readable,
        )
        request = SubscribeRequest(channel="a", positioned=asked)
        subscription = decide_subscription(options, ANN, request)
        assert subscription.positioned == (forced or (asked and (allowed or readable)))
        assert not subscription.recoverable


def test_nothing_follows_a_stream_that_is_not_kept() -> None:
    """Without history neither is granted, not even in insecure mode."""
    request = SubscribeRequest(channel="a", recoverable=True, positioned=True)
    subscription = decide_subscription(ChannelOptions(), Asker("", insecure=True), request)
    assert not subscription.recoverable
    assert not subscription.positioned


def test_joins_are_seen_where_they_are_told_and_presence_may_be_read() -> None:
    """Joins come by force, or on request where presence may be read; never if none are told."""
    for told, forced, readable, asked in itertools.product(BOTH, repeat=4):
        if forced and not told:
            continue  # the settings refuse it
        options = ChannelOptions(
            join_leave=told,
            force_push_join_leave=forced,
            allow_presence_for_subscriber=readable,
        )
        request = SubscribeRequest(channel="a", join_leave=asked)
        subscription = decide_subscription(options, ANN, request)
        assert subscription.wants_join_leave == (told and (forced or (asked and readable)))
        assert subscription.announces == told


def test_anonymous_subscriber_earns_nothing_by_options_for_users() -> None:
    """What opens the history to users does not open it to those without an id."""
    options = ChannelOptions(**HISTORY, allow_history_for_subscriber=True)
    request = SubscribeRequest(channel="a", recoverable=True, positioned=True)
    assert not decide_subscription(options, Asker(""), request).positioned


def test_server_side_subscription_gets_what_is_forced() -> None:
    """Without a request there is nothing to grant beyond what everybody gets."""
    options = ChannelOptions(**HISTORY, allow_recovery=True, presence=True, join_leave=True)
    subscription = decide_subscription(options, ANN, grant=Grant(server_side=True))
    assert subscription.server_side
    assert subscription.has_presence
    assert not subscription.recoverable
    assert not subscription.wants_join_leave
    forced = decide_subscription(
        ChannelOptions(**HISTORY, force_recovery=True), ANN, grant=Grant(server_side=True)
    )
    assert forced.recoverable


def test_grant_is_carried_over() -> None:
    """What a token says of a subscription is what others see and the client gets."""
    subscription = decide_subscription(
        ChannelOptions(), ANN, grant=Grant(expires_at=5, chan_info=b"{}", data=b"[1]")
    )
    assert subscription.expires_at == 5
    assert subscription.chan_info == Raw(b"{}")
    assert subscription.data == Raw(b"[1]")
    assert decide_subscription(ChannelOptions(), ANN).data is UNSET
