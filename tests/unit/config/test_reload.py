"""What new settings come to in a running node."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from realtime_node.config import Settings
from realtime_node.config.reload import (
    LIVE,
    NEEDS_RESTART,
    compare,
    live_keys,
    revision,
    why_restart,
)
from realtime_node.config.tree import Kind, all_keys, dotted
from realtime_node.errors import ConfigError

KEYS = {dotted(path): path for path in all_keys()}
LEAVES = [dotted(key.path) for key in all_keys().values() if key.kind is not Kind.SECTION]


def settings(**values: Any) -> Settings:
    """Settings as a file has them."""
    return Settings.model_validate(values)


@pytest.mark.parametrize("key", LEAVES)
def test_every_key_is_classified(key: str) -> None:
    """A key stands in exactly one table: whoever adds one decides whether it counts at once."""
    needs_restart = bool(why_restart(KEYS[key]))
    assert (key in live_keys()) is not needs_restart, f"name {key} in LIVE or in NEEDS_RESTART"


def test_the_tables_name_nothing_that_is_no_key() -> None:
    """Neither holds a key that has gone."""
    assert live_keys() <= KEYS.keys()
    assert NEEDS_RESTART.keys() <= KEYS.keys()
    assert all(NEEDS_RESTART.values()), "each says why"
    named = [f"{section}.{name}" for section, names in LIVE.items() for name in names.split()]
    assert len(named) == len(set(named))


def test_the_same_settings_change_nothing() -> None:
    """What was read again and says the same is no change."""
    old = settings(channel={"namespaces": [{"name": "chat"}]}, http_api={"key": "k"})
    reload = compare(old, old.model_copy(deep=True))
    assert (reload.changed, reload.needs_restart) == ((), ())


def test_what_counts_at_once() -> None:
    """Namespaces, limits and keys are taken over."""
    old = settings(http_api={"key": "one"})
    new = settings(
        http_api={"key": "two"},
        client={"channel_limit": 5, "token": {"hmac_secret_key": "k" * 32}},
        channel={"namespaces": [{"name": "chat"}]},
    )
    reload = compare(old, new)
    assert reload.settings is new
    assert reload.needs_restart == ()
    assert set(reload.changed) == {
        "http_api.key",
        "client.channel_limit",
        "client.token.hmac_secret_key",
        "channel.namespaces",
    }


def test_what_needs_a_restart_keeps_its_old_value() -> None:
    """The rest counts all the same, and each key that waits says why."""
    old = settings(
        engine={"type": "redis", "redis": {"address": "redis://ann:secret@one:6379"}},
        client={"ping_interval": "25s"},
        node={"name": "n-1"},
    )
    new = settings(
        engine={"type": "redis", "redis": {"address": "redis://two:6379"}},
        client={"ping_interval": "20s", "channel_limit": 7, "allowed_origins": ["https://a"]},
        admission={"trusted_proxies": ["10.0.0.0/8"], "handshake_timeout": "3s"},
        node={"name": "n-2"},
        proxies=[{"name": "billing", "endpoint": "https://backend/b"}],
    )
    reload = compare(old, new)
    assert reload.settings.engine == old.engine
    assert reload.settings.client == new.client.model_copy(
        update={"ping_interval": timedelta(seconds=25)}
    )
    assert reload.settings.node.name == "n-1"
    assert reload.settings.admission.trusted_proxies == ("10.0.0.0/8",)
    assert reload.settings.proxies == new.proxies
    assert {kept.key for kept in reload.needs_restart} == {
        "engine.redis.address",
        "engine.redis.password",
        "engine.redis.user",
        "client.ping_interval",
        "admission.handshake_timeout",
        "node.name",
    }
    assert all(kept.reason for kept in reload.needs_restart)
    assert "client.ping_interval" not in reload.changed
    assert "client.channel_limit" in reload.changed


def test_what_waits_is_named_at_every_reload() -> None:
    """A later reload compares with what the node goes by, not with what it read last."""
    old, new = settings(), settings(client={"ping_interval": "20s"})
    running = compare(old, new).settings
    again = compare(running, new)
    assert again.changed == ()
    assert [kept.key for kept in again.needs_restart] == ["client.ping_interval"]
    assert compare(running, old).needs_restart == ()


def test_what_counts_may_not_contradict_what_waits() -> None:
    """Settings that are fine by themselves are refused if they are not with the old ones kept."""
    old = settings(client={"ping_interval": "10s", "pong_timeout": "5s"})
    new = settings(client={"ping_interval": "60s", "pong_timeout": "30s"})
    with pytest.raises(ConfigError) as refused:
        compare(old, new)
    assert 'client.pong_timeout = "30s"' in str(refused.value)
    assert "the old client.ping_interval, until a restart" in str(refused.value)


def test_no_secret_is_shown_in_a_refusal() -> None:
    """What is hidden in a file stays hidden here."""
    old = settings(client={"ping_interval": "10s", "pong_timeout": "5s"})
    secrets = {"hmac_secret_key": "hush" * 8}
    new = settings(client={"ping_interval": "60s", "pong_timeout": "30s", "token": secrets})
    with pytest.raises(ConfigError) as refused:
        compare(old, new)
    assert "hush" not in str(refused.value)


def test_a_revision_names_what_is_said() -> None:
    """Equal settings have one revision on all nodes; secrets and the node's name are no part."""
    one = settings(client={"channel_limit": 3}, http_api={"key": "a"}, node={"name": "x"})
    same = settings(client={"channel_limit": 3}, http_api={"key": "b"}, node={"name": "y"})
    other = settings(client={"channel_limit": 4})
    assert revision(one) == revision(same)
    assert revision(one) != revision(other)


def test_rules_of_the_merged_settings_are_their_own() -> None:
    """Namespaces that came are found although something else waits for a restart."""
    old = settings(channel={"namespaces": [{"name": "chat"}]})
    assert old.channel.options_for("chat:1") is not None
    new = settings(channel={"namespaces": [{"name": "news"}]}, node={"name": "n"})
    merged = compare(old, new).settings
    assert merged.channel.options_for("news:1") is not None
    assert merged.channel.options_for("chat:1") is None
