"""Sentinel, Redis Cluster and TLS, as Centrifugo's settings name them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from realtime_node.config.engine import EngineSettings, RedisSettings


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("one", (("one", 26379),)),
        (["one:1", "two"], (("one", 1), ("two", 26379))),
        (["one:1,two:2"], (("one", 1), ("two", 2))),
        ("[::1]:5", (("::1", 5),)),
    ],
)
def test_addresses_of_sentinels(given: object, understood: tuple[tuple[str, int], ...]) -> None:
    """A text, a list, or texts with commas; the usual port unless another is given."""
    settings = RedisSettings.model_validate(
        {"sentinel_address": given, "sentinel_master_name": "main"}
    )
    assert settings.sentinels == understood


@pytest.mark.parametrize(
    "settings",
    [
        {"sentinel_address": "one"},
        {"sentinel_address": "one:0", "sentinel_master_name": "main"},
        {"sentinel_address": "redis://one", "sentinel_master_name": "main"},
        {"sentinel_address": 5, "sentinel_master_name": "main"},
        {"sentinel_address": "one", "sentinel_master_name": "main", "address": "unix:///s"},
    ],
    ids=["no name", "no port", "no URL", "a number", "a socket"],
)
def test_sentinels_that_make_no_sense(settings: dict[str, object]) -> None:
    """What cannot work is refused before anything is started."""
    with pytest.raises(ValidationError):
        RedisSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("one", (("one", 6379),)),
        (["one:1", "two"], (("one", 1), ("two", 6379))),
        (["one:1, two:2"], (("one", 1), ("two", 2))),
        ("[::1]:5", (("::1", 5),)),
        ([], ()),
    ],
)
def test_addresses_of_a_redis_cluster(
    given: object, understood: tuple[tuple[str, int], ...]
) -> None:
    """They are written as those of Sentinels are, with the port of Redis where none is said."""
    assert RedisSettings.model_validate({"cluster_address": given}).cluster_nodes == understood


@pytest.mark.parametrize("address", ["", "one:0", "one:70000", "redis://one", "a b", 5, ["a", 5]])
def test_refuses_what_is_no_address_of_a_server(address: object) -> None:
    """A URL, a number, or a text without a host is no HOST:PORT."""
    with pytest.raises(ValidationError):
        RedisSettings.model_validate({"cluster_address": address})


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"sentinel_address": "s", "sentinel_master_name": "m"},
            "cluster_address: a Redis Cluster has no Sentinel",
        ),
        ({"address": "redis://h/1"}, "address: a Redis Cluster has no other database than 0"),
        ({"address": "unix:///s"}, "address: cluster_address says where Redis is"),
    ],
)
def test_a_redis_cluster_excludes_other_ways(settings: dict[str, object], problem: str) -> None:
    """Redis is found in one way, and a cluster has one database."""
    with pytest.raises(ValidationError, match=problem):
        RedisSettings.model_validate({"cluster_address": "c", **settings})


@pytest.mark.parametrize("address", ["rediss://h", "redis://ann:pw@h/0"])
def test_the_address_may_still_say_how_a_redis_cluster_is_spoken_to(address: str) -> None:
    """TLS, credentials, and the database that there is."""
    assert RedisSettings.model_validate({"cluster_address": "c", "address": address}).cluster_nodes


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"tls": {"enabled": True, "cert_pem": "c"}}, "key_pem: cert_pem needs its private key"),
        ({"tls": {"enabled": True, "key_pem": "k"}}, "cert_pem: key_pem needs its certificate"),
        ({"tls": {"server_ca_pem": "a"}}, "tls.enabled: the other settings of engine.redis.tls"),
        (
            {"sentinel_tls": {"insecure_skip_verify": True}},
            "sentinel_tls.enabled: the other settings of engine.redis.sentinel_tls need it",
        ),
    ],
)
def test_tls_is_set_up_wholly(settings: dict[str, object], problem: str) -> None:
    """Half a key pair, or certificates where no TLS is spoken, are mistakes."""
    with pytest.raises(ValidationError, match=problem):
        RedisSettings.model_validate(settings)


def test_a_secure_address_takes_the_settings_of_tls() -> None:
    """`rediss://` enables TLS as well as `tls.enabled` does."""
    settings = RedisSettings.model_validate(
        {"address": "rediss://h", "tls": {"server_ca_pem": "/ca.pem"}}
    )
    assert settings.speaks_tls


def test_what_is_likely_a_mistake_is_warned_of() -> None:
    """Certificates that are not looked at, and a Redis Cluster of which one primary is used."""
    settings = EngineSettings.model_validate(
        {
            "type": "redis",
            "redis": {
                "cluster_address": "c",
                "tls": {"enabled": True, "insecure_skip_verify": True},
            },
        }
    )
    skipped, one = settings.warnings()
    assert "engine.redis.tls.insecure_skip_verify" in skipped
    assert "engine.redis.partitions is 1" in one
