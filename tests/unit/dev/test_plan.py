"""What the nodes of a development cluster are told."""

from __future__ import annotations

from typing import Any

import pytest

from realtime_node.config import Settings
from realtime_node.dev.plan import OPEN_CHANNELS, NodePlace, Secret, Secrets, node_values

EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing listens here
PLACE = NodePlace("node-1", "127.0.0.1", 8000, 40_001)
SECRETS = Secrets(Secret("s" * 64, is_given=False), Secret("k" * 64, is_given=False))
REDIS = "unix:///tmp/x/valkey.sock"


def planned(given: dict[str, Any] | None = None, place: NodePlace = PLACE) -> Settings:
    """The settings that a node reads, when somebody gave these."""
    settings = Settings.model_validate(given or {})
    secrets = Secrets.of(settings) if given else SECRETS
    return Settings.model_validate(node_values(settings, place, REDIS, secrets))


def test_without_settings_everything_can_be_tried_out_with_a_token() -> None:
    """Channels are open to users with a token, and warnings are not called for."""
    settings = planned()
    for channel in ("chat:lobby", "news"):
        options = settings.channel.options_for(channel)
        assert options is not None
        assert options.history_size == OPEN_CHANNELS["history_size"]
        assert options.force_recovery
        assert options.allow_publish_for_client
        assert not options.allow_subscribe_for_anonymous
    assert not settings.client.allow_anonymous_connect_without_token
    assert list(settings.warnings()) == []


def test_a_node_listens_where_the_cluster_says_and_shares_its_engine() -> None:
    """Ports, names and engine are the cluster's, whatever was given."""
    given = {
        "http_server": {"address": EVERYWHERE, "port": 80, "internal_port": 81},
        "engine": {"type": "memory", "redis": {"prefix": "mine", "address": "elsewhere:1"}},
        "node": {"name": "given"},
    }
    settings = planned(given)
    assert (settings.http_server.port, settings.http_server.internal_port) == (8000, 40_001)
    assert settings.http_server.internal_address == "127.0.0.1"
    assert settings.node.name == "node-1"
    assert (settings.engine.type, settings.engine.redis.url) == ("redis", REDIS)
    assert settings.engine.redis.prefix == "mine"


def test_with_a_port_of_its_own_a_node_serves_all_on_it() -> None:
    """No internal port is left over from what was given."""
    settings = planned(
        {"http_server": {"internal_port": 81}}, NodePlace("node-2", "127.0.0.1", 8001, None)
    )
    assert (settings.http_server.port, settings.http_server.internal_port) == (8001, None)


def test_given_secrets_and_settings_are_kept() -> None:
    """Whoever brings settings tries out these, secrets included."""
    given = {
        "client": {
            "token": {"hmac_secret_key": "g" * 32, "audience": "app"},
            "allowed_origins": ["https://example.com"],
            "ping_interval": "20s",
        },
        "http_api": {"key": "given-key"},
        "shutdown": {"timeout": "1s"},
    }
    settings = planned(given)
    assert settings.client.token.hmac_secret_key.get_secret_value() == "g" * 32
    assert settings.client.token.audience == "app"
    assert settings.client.allowed_origins == ("https://example.com",)
    assert settings.client.ping_interval.total_seconds() == 20
    assert settings.http_api.key.get_secret_value() == "given-key"
    assert settings.shutdown.timeout.total_seconds() == 1


def test_missing_secrets_are_made_up_anew_each_time() -> None:
    """No two clusters share a secret by accident, and none is short enough to be guessed."""
    first, second = Secrets.of(Settings()), Secrets.of(Settings())
    assert first.hmac_secret_key.value != second.hmac_secret_key.value
    assert first.api_key.value != first.hmac_secret_key.value
    assert len(first.hmac_secret_key.value) >= 32
    assert not first.hmac_secret_key.is_given


def test_given_channels_are_not_opened() -> None:
    """Beside the chat page's namespace there are just the channels that were given."""
    given = {"channel": {"namespaces": [{"name": "orders", "presence": True}]}}
    settings = planned(given)
    orders = settings.channel.options_for("orders:1")
    assert orders is not None
    assert orders.presence
    assert not orders.allow_subscribe_for_client
    without_namespace = settings.channel.options_for("news")
    assert without_namespace is not None
    assert not without_namespace.allow_subscribe_for_client
    chat = settings.channel.options_for("chat:lobby")
    assert chat is not None
    assert chat.allow_subscribe_for_client


def test_a_given_chat_namespace_stays_as_it_is() -> None:
    """The page then lives with the rules that were given."""
    settings = planned({"channel": {"namespaces": [{"name": "chat"}]}})
    assert [each.name for each in settings.channel.namespaces] == ["chat"]
    assert not settings.channel.namespaces[0].allow_subscribe_for_client


def test_without_namespaces_none_is_added() -> None:
    """A cluster whose channels have no namespaces still starts."""
    settings = planned({"channel": {"namespace_boundary": ""}})
    assert settings.channel.namespaces == ()


@pytest.mark.parametrize(
    ("place", "public", "internal"),
    [
        (PLACE, "http://127.0.0.1:8000", "http://127.0.0.1:40001"),
        (NodePlace("n", EVERYWHERE, 8000, None), "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        (NodePlace("n", "", 8000, 9), "http://127.0.0.1:8000", "http://127.0.0.1:9"),
        (NodePlace("n", "::1", 8000, None), "http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_urls_are_those_a_browser_on_this_machine_uses(
    place: NodePlace, public: str, internal: str
) -> None:
    """A wildcard is no address to connect to, and IPv6 stands in brackets."""
    assert (place.public_url, place.internal_url) == (public, internal)
