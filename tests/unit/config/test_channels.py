"""Which rules a channel has, by its name."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from realtime_node.config import ChannelOptions, ChannelSettings


def settings(**values: object) -> ChannelSettings:
    """Channel settings with a namespace `chat`."""
    chat = {"name": "chat", "history_size": 10, "history_ttl": "300s", "history_meta_ttl": "2h"}
    return ChannelSettings.model_validate({"namespaces": [chat, {"name": "news"}]} | values)


@pytest.mark.parametrize("channel", ["chat:room", "$chat:room", "chat:", "chat:a:b"])
def test_finds_the_namespace_before_the_first_boundary(channel: str) -> None:
    """The namespace is what stands before the first colon, after the private prefix."""
    options = settings().options_for(channel)
    assert options is not None
    assert options.history_size == 10


@pytest.mark.parametrize("channel", ["room", "chat", "$room", ":room", "$:room", ""])
def test_gives_channels_without_a_namespace_their_own_rules(channel: str) -> None:
    """A name without a boundary, or with nothing before it, is in no namespace."""
    options = settings(without_namespace={"presence": True}).options_for(channel)
    assert options is not None
    assert options.presence


@pytest.mark.parametrize("channel", ["chats:room", "Chat:room", "$$chat:room", "cha:t"])
def test_knows_no_rules_for_an_unknown_namespace(channel: str) -> None:
    """An unknown namespace has no rules, rather than those of channels without one."""
    assert settings().options_for(channel) is None


@given(st.text(max_size=20))
def test_decides_for_every_name(channel: str) -> None:
    """Any name has rules or has none; no name is an error."""
    options = settings().options_for(channel)
    assert options is None or isinstance(options, ChannelOptions)


def test_without_a_boundary_there_are_no_namespaces() -> None:
    """An empty boundary puts every channel outside of namespaces."""
    options = settings(namespace_boundary="", namespaces=[]).options_for("chat:room")
    assert options is not None
    assert not options.history_size


def test_namespaces_inherit_the_life_of_positions() -> None:
    """A namespace's `history_meta_ttl` of 0 is the one given for all channels."""
    channels = settings(history_meta_ttl="1h")
    chat, news, none = (channels.options_for(name) for name in ("chat:a", "news:a", "a"))
    assert chat is not None
    assert news is not None
    assert none is not None
    assert chat.history_meta_ttl == timedelta(hours=2)
    assert news.history_meta_ttl == timedelta(hours=1)
    assert none.history_meta_ttl == timedelta(hours=1)


def test_tells_private_channels_by_their_prefix() -> None:
    """A private channel begins with the prefix; with an empty prefix none is private."""
    assert settings().is_private("$room")
    assert not settings().is_private("room$")
    assert not settings(private_prefix="").is_private("$room")


@pytest.mark.parametrize(
    ("channel", "user", "named"),
    [
        ("room#ann", "ann", True),
        ("room#ann,bob", "bob", True),
        ("room#ann#bob", "ann", False),
        ("room#ann#bob", "bob", True),
        ("room#ann,bob", "ann,bob", False),
        ("room#ann", "an", False),
        ("room#", "", False),
        ("room#,ann", "", False),
    ],
)
def test_a_user_limited_channel_is_for_those_it_names(
    channel: str, user: str, *, named: bool
) -> None:
    """Only whole user ids after the last boundary count, and an anonymous user is never named."""
    assert settings().is_user_limited(channel)
    assert settings().is_for_user(channel, user) is named


def test_without_a_separator_a_channel_names_one_user() -> None:
    """With an empty separator all after the boundary is one user's id."""
    channels = settings(user_separator="")
    assert channels.is_for_user("room#ann,bob", "ann,bob")
    assert not channels.is_for_user("room#ann,bob", "ann")
    assert not settings(user_boundary="").is_user_limited("room#ann")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"history_size": 5}, "history_ttl: history needs it"),
        ({"history_ttl": "5s"}, "history_size: history needs it"),
        ({"history_size": 5, "history_ttl": "1500ms"}, "history_ttl: it is counted in whole"),
        ({"history_meta_ttl": "1500ms"}, "history_meta_ttl: it is counted in whole"),
        (
            {"history_size": 5, "history_ttl": "5s", "history_meta_ttl": "4s"},
            "history_meta_ttl: it cannot be shorter",
        ),
        ({"force_recovery": True}, "force_recovery: it needs history"),
        ({"allow_recovery": True}, "allow_recovery: it needs history"),
        ({"force_positioning": True}, "force_positioning: it needs history"),
        ({"force_push_join_leave": True}, "force_push_join_leave: it needs join_leave"),
        ({"slow_client": {"policy": "queue"}}, "slow_client.policy: with queue, a client that is"),
        ({"slow_client": {"policy": "disconnect"}}, "set history_size and history_ttl, or may_lo"),
        ({"slow_client": {"key": "symbol"}}, "key: it needs policy latest"),
        ({"slow_client": {"policy": "drop", "max_bytes": 9}}, "max_bytes: it needs policy queue"),
        ({"slow_client": {"policy": "latest", "max_age": "1s"}}, "max_age: it needs policy queue"),
        ({"slow_client": {"policy": "drop", "may_lose": True}}, "may_lose: it needs policy queue"),
        (
            {"history_size": 1, "history_ttl": "1s", "slow_client": {"may_lose": True}},
            "slow_client.may_lose: it is not needed",
        ),
        (
            {
                "history_size": 1,
                "history_ttl": "1s",
                "force_recovery": True,
                "slow_client": {"policy": "drop"},
            },
            "force_recovery: slow_client.policy is drop",
        ),
        ({"stagger": "1ms"}, "stagger: it is longer than batch.interval, 0s"),
        ({"batch": {"interval": "1m"}}, "interval"),
    ],
)
def test_refuses_options_that_contradict_each_other(
    values: dict[str, object], problem: str
) -> None:
    """What needs history, or another option, is refused without it."""
    with pytest.raises(ValidationError, match=problem):
        ChannelOptions.model_validate(values)


@pytest.mark.parametrize(
    "values",
    [
        {"slow_client": {"policy": "queue", "may_lose": True}},
        {"slow_client": {"max_bytes": 1000}},
        {"slow_client": {"policy": "latest", "key": "symbol", "max_messages": 5}},
        {"slow_client": {"policy": "drop"}},
        {"history_size": 1, "history_ttl": "1s", "slow_client": {"policy": "queue"}},
        {"batch": {"interval": "200ms"}, "stagger": "200ms"},
    ],
)
def test_takes_rules_for_slow_clients_and_batches(values: dict[str, object]) -> None:
    """What goes together is taken."""
    ChannelOptions.model_validate(values)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"namespaces": [{"name": "ab"}, {"name": "ab"}]}, r"namespaces\[1\].name: another"),
        ({"namespace_boundary": ""}, "namespace_boundary: it cannot be empty"),
        ({"namespace_boundary": "a"}, r"namespaces\[0\].name: it contains"),
        ({"history_meta_ttl": "2m", "without_namespace": {"history_ttl": "3m", "history_size": 1}},
         "without_namespace.history_ttl: it is longer than channel.history_meta_ttl, 2m"),
        ({"history_meta_ttl": "1ms"}, "history_meta_ttl: it is counted in whole"),
    ],
)  # fmt: skip
def test_refuses_namespaces_that_contradict_each_other(
    values: dict[str, object], problem: str
) -> None:
    """Namespaces have to be told apart, and their positions outlive their histories."""
    with pytest.raises(ValidationError, match=problem):
        settings(**values)
