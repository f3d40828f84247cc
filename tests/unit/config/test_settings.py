"""The settings' own rules: forms of values, what goes together, what is warned of."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from realtime_node.config import (
    ClientSettings,
    HttpServerSettings,
    RedisSettings,
    Settings,
    SubscriptionTokenSettings,
)


def test_everything_has_a_default() -> None:
    """A node starts without any settings: by itself, open to nobody."""
    settings = Settings()
    assert settings.engine.type == "memory"
    assert not settings.client.insecure
    assert not settings.http_api.insecure


def test_nothing_changes_afterwards() -> None:
    """Settings are frozen, at every depth."""
    with pytest.raises(ValidationError, match="frozen"):
        Settings().engine.redis.partitions = 2


def test_secrets_do_not_show() -> None:
    """The text of settings, which may end up in a log, holds no secret."""
    settings = Settings.model_validate(
        {
            "http_api": {"key": "hush-1"},
            "client": {"token": {"hmac_secret_key": "hush-2"}},
            "engine": {"redis": {"address": "redis://ann:hush-3@host"}},
        }
    )
    assert "hush" not in f"{settings} {settings!r} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("given", "address", "url"),
    [
        ("host", "redis://host:6379", "redis://host:6379"),
        ("host:7000", "redis://host:7000", "redis://host:7000"),
        (["host:7000"], "redis://host:7000", "redis://host:7000"),
        ("redis://host/3", "redis://host:6379/3", "redis://host:6379/3"),
        ("redis://host/", "redis://host:6379", "redis://host:6379"),
        ("rediss://host:1", "rediss://host:1", "rediss://host:1"),
        ("redis://[::1]:7000", "redis://[::1]:7000", "redis://[::1]:7000"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("redis://ann:a%40b@host", "redis://host:6379", "redis://ann:a%40b@host:6379"),
        ("redis://:p@ss@host", "redis://host:6379", "redis://:p%40ss@host:6379"),
        (["ann:pw@host:1"], "redis://host:1", "redis://ann:pw@host:1"),
    ],
)
def test_reads_every_form_of_a_redis_address(given: object, address: str, url: str) -> None:
    """An address becomes a URL with its port; what is secret in it moves to keys of its own."""
    redis = RedisSettings.model_validate({"address": given})
    assert (redis.address, redis.url) == (address, url)


@pytest.mark.parametrize(
    "address",
    ["", "http://host", "host:port", "host:0", "host:65536", "redis://host/x", "redis://a b",
     "redis://host?db=1", "unix://relative", "unix:///", [], ["a", "b"], 6379, None, [6379]],
)  # fmt: skip
def test_refuses_what_is_no_redis_address(address: object) -> None:
    """Anything else, several addresses included, is refused."""
    with pytest.raises(ValidationError):
        RedisSettings.model_validate({"address": address})


def test_credentials_of_their_own_win() -> None:
    """A password set by itself, e.g. by the environment, replaces the one in the address."""
    redis = RedisSettings.model_validate({"address": "redis://ann:old@host", "password": "new"})
    assert redis.url == "redis://ann:new@host:6379"


def test_tls_makes_an_address_secure() -> None:
    """`tls.enabled` and `rediss://` say the same; a unix socket has no TLS."""
    redis = RedisSettings.model_validate({"address": "host", "tls": {"enabled": True}})
    assert redis.url == "rediss://host:6379"
    with pytest.raises(ValidationError, match="a unix socket has no TLS"):
        RedisSettings.model_validate({"address": "unix:///s", "tls": {"enabled": True}})


@pytest.mark.parametrize(
    ("given", "port"), [("9000", 9000), (9001, 9001), ("", None), (None, None), ("0", 0)]
)
def test_an_internal_port_may_be_text(given: object, port: int | None) -> None:
    """Centrifugo's internal_port is text, empty for none; a number is as good."""
    assert HttpServerSettings.model_validate({"internal_port": given}).internal_port == port


@pytest.mark.parametrize("given", ["x", "-1", 65536, "70000", True, 1.5])
def test_refuses_other_ports(given: object) -> None:
    """What is no port is refused, whether number or text."""
    with pytest.raises(ValidationError):
        HttpServerSettings.model_validate({"internal_port": given})


def test_two_servers_need_two_ports() -> None:
    """The internal server cannot share the port of the other one, unless both are any free one."""
    with pytest.raises(ValidationError, match="internal_port: it is the same"):
        HttpServerSettings(port=9000, internal_port=9000)
    assert HttpServerSettings(port=0, internal_port=0).internal_port == 0


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"ping_interval": "1500ms", "pong_timeout": "1s"},
            "ping_interval: it is counted in whole",
        ),
        ({"ping_interval": "8s"}, "pong_timeout: it has to be shorter"),
        ({"ping_interval": "0s"}, "greater than"),
        ({"queue_max_size": 0}, "greater than"),
        ({"allowed_origins": "*"}, "tuple"),
    ],
)
def test_refuses_wrong_client_settings(values: dict[str, object], problem: str) -> None:
    """A pong is due before the next ping, bounds are above zero, lists are lists."""
    with pytest.raises(ValidationError, match=problem):
        ClientSettings.model_validate(values)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"hmac_secret_key": "x"}, "enabled: the other settings"),
        ({"issuer": "x"}, "enabled: the other settings"),
        ({"enabled": True}, "hmac_secret_key: it is needed"),
    ],
)
def test_subscription_tokens_are_set_up_wholly(values: dict[str, object], problem: str) -> None:
    """A key that is not enabled, or enabled without a key, is a mistake that would open or shut."""
    with pytest.raises(ValidationError, match=problem):
        SubscriptionTokenSettings.model_validate(values)


def test_warns_of_what_is_likely_a_mistake() -> None:
    """Settings that let in everybody or nobody, and secrets that can be guessed, are told."""
    closed = "\n".join(Settings().warnings())
    assert "http_api.key is not set" in closed
    assert "no client can connect" in closed
    opened = "\n".join(
        Settings.model_validate(
            {
                "http_api": {"insecure": True},
                "client": {
                    "insecure": True,
                    "allowed_origins": ["*"],
                    "token": {"hmac_secret_key": "short"},
                },
            }
        ).warnings()
    )
    assert "http_api.insecure" in opened
    assert "client.insecure" in opened
    assert "client.allowed_origins" in opened
    assert "client.token.hmac_secret_key has 5 bytes" in opened
    assert "short" not in opened


def test_has_nothing_to_warn_of_in_sound_settings() -> None:
    """Settings as they should be in production give no warning."""
    sound = Settings.model_validate(
        {
            "http_api": {"key": "k"},
            "client": {
                "allowed_origins": ["https://example.com"],
                "token": {"hmac_secret_key": "x" * 32},
            },
        }
    )
    assert list(sound.warnings()) == []


def test_an_admin_key_without_a_port_of_its_own_is_warned_of() -> None:
    """The API that it is for is never on the clients' port."""
    key = {"admin": {"key": "k" * 32}}
    alone = Settings.model_validate(key).warnings()
    assert any("POST /drain, /shed and /budget are off" in warning for warning in alone)
    both = Settings.model_validate({**key, "http_server": {"internal_port": 9000}}).warnings()
    assert not any("/drain" in warning for warning in both)


@pytest.mark.parametrize(("timeout", "is_warned"), [("30s", False), ("6s", False), ("5s", True)])
def test_a_grace_that_propagation_eats_up_is_warned_of(timeout: str, *, is_warned: bool) -> None:
    """Closing clients needs time as well."""
    settings = Settings.model_validate({"shutdown": {"timeout": timeout}})
    told = any("drain.propagation" in warning for warning in settings.warnings())
    assert told is is_warned
