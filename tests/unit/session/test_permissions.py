"""Who may do what: every combination of options, against the rules that teams know.

The expectations are written as Centrifugo's documentation tells them, not as our code is built.
"""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from realtime_node.config import ChannelOptions, ChannelSettings
from realtime_node.protocol import codes
from realtime_node.session.permissions import (
    Asker,
    Verdict,
    may_publish,
    may_read_history,
    may_read_presence,
    may_see_others,
    may_subscribe,
)

SETTINGS = ChannelSettings()
HISTORY: dict[str, Any] = {"history_size": 10, "history_ttl": timedelta(seconds=60)}
SWITCHES = list(itertools.product([False, True], repeat=3))


def askers() -> list[Asker]:
    """Everybody who may ask."""
    return [
        Asker(user, is_subscribed, insecure)
        for user in ("", "ann")
        for is_subscribed in (False, True)
        for insecure in (False, True)
    ]


# --- subscribe --------------------------------------------------------------------------------


def subscribes(channel: str, options: ChannelOptions, asker: Asker) -> bool:
    """The rules, one sentence each."""
    if channel.startswith("$"):
        return False  # a private channel needs a token, even in insecure mode
    if asker.insecure:
        return True
    if options.allow_user_limited_channels and "#" in channel:
        return asker.user != "" and asker.user in channel.rsplit("#", maxsplit=1)[-1].split(",")
    if not options.allow_subscribe_for_client:
        return False
    return asker.user != "" or options.allow_subscribe_for_anonymous


@pytest.mark.parametrize(
    "channel",
    ["news", "$news", "news#ann", "news#bob", "news#bob,ann", "news#", "$news#ann", "a#bob#ann"],
)
def test_subscribe_follows_the_rules(channel: str) -> None:
    """All switches, users and modes: allowed exactly when the rules say so."""
    for for_client, for_anonymous, user_limited in SWITCHES:
        options = ChannelOptions(
            allow_subscribe_for_client=for_client,
            allow_subscribe_for_anonymous=for_anonymous,
            allow_user_limited_channels=user_limited,
        )
        for asker in askers():
            verdict = may_subscribe(channel, options, SETTINGS, asker)
            assert verdict.allowed == subscribes(channel, options, asker), (options, asker)
            assert verdict.allowed or verdict.error == codes.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("channel", "options", "asker", "reason"),
    [
        ("$a", {}, Asker("ann", insecure=True), "a private channel needs a subscription token"),
        ("a", {}, Asker("ann"), "allow_subscribe_for_client is off"),
        (
            "a",
            {"allow_subscribe_for_client": True},
            Asker(""),
            "allow_subscribe_for_anonymous is off",
        ),
        (
            "a#bob",
            {"allow_subscribe_for_client": True, "allow_user_limited_channels": True},
            Asker("ann"),
            "not among the users the channel names",
        ),
        ("a", {}, Asker("", insecure=True), "client.insecure is on"),
    ],
)
def test_verdict_names_the_switch(
    channel: str, options: dict[str, Any], asker: Asker, reason: str
) -> None:
    """An operator who reads the log knows which setting decided."""
    assert may_subscribe(channel, ChannelOptions(**options), SETTINGS, asker).reason == reason


# --- publish, history, presence ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "decide", "needed", "missing"),
    [
        ("publish", may_publish, {}, None),
        ("history", may_read_history, HISTORY, codes.NOT_AVAILABLE),
        ("presence", may_read_presence, {"presence": True}, codes.NOT_AVAILABLE),
        ("presence", may_see_others, {}, None),
    ],
)
def test_access_follows_the_rules(
    what: str, decide: Any, needed: dict[str, Any], missing: codes.ErrorCode | None
) -> None:
    """Clients or subscribers, anonymous ones only where they are let; insecure mode lets all."""
    for for_client, for_subscriber, for_anonymous in SWITCHES:
        switches: dict[str, Any] = {
            f"allow_{what}_for_client": for_client,
            f"allow_{what}_for_subscriber": for_subscriber,
            f"allow_{what}_for_anonymous": for_anonymous,
        }
        for asker in askers():
            verdict: Verdict = decide(ChannelOptions(**switches, **needed), asker)
            is_open = for_client or (for_subscriber and asker.is_subscribed)
            expected = asker.insecure or (is_open and (asker.user != "" or for_anonymous))
            assert verdict.allowed == expected, (switches, asker)
            assert verdict.allowed or verdict.error == codes.PERMISSION_DENIED
            if missing is not None:
                without: Verdict = decide(ChannelOptions(**switches), asker)
                assert (without.allowed, without.error) == (False, missing)


@pytest.mark.parametrize(
    ("switches", "asker", "reason"),
    [
        ({}, Asker("ann"), "allow_publish_for_client is off"),
        (
            {"allow_publish_for_subscriber": True},
            Asker("ann"),
            "allow_publish_for_subscriber: not subscribed",
        ),
        ({"allow_publish_for_client": True}, Asker(""), "allow_publish_for_anonymous is off"),
        (
            {"allow_publish_for_subscriber": True},
            Asker("", is_subscribed=True),
            "allow_publish_for_anonymous is off",
        ),
    ],
)
def test_refusal_names_the_switch(switches: dict[str, bool], asker: Asker, reason: str) -> None:
    """An operator who reads the log knows which switch to turn."""
    assert may_publish(ChannelOptions.model_validate(switches), asker).reason == reason
