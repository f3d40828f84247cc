"""Options of the Redis backplane: addresses and what is refused."""

from __future__ import annotations

import msgspec
import pytest

from realtime_node.cluster.on_redis.options import Address, RedisOptions, parse_address
from realtime_node.errors import ConfigError

CLUSTER = {"cluster_nodes": (("a", 1), ("b", 2))}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("localhost:6380", Address("localhost", 6380, "", None, "", "", tls=False)),
        ("localhost", Address("localhost", 6379, "", None, "", "", tls=False)),
        ("redis://h:1/2", Address("h", 1, "", 2, "", "", tls=False)),
        ("rediss://h", Address("h", 6379, "", None, "", "", tls=True)),
        ("redis://u:p%40@h", Address("h", 6379, "", None, "u", "p@", tls=False)),
        ("redis://:p@h", Address("h", 6379, "", None, "", "p", tls=False)),
        (
            "unix:///run/redis.sock",
            Address("127.0.0.1", 6379, "/run/redis.sock", None, "", "", tls=False),
        ),
        ("unix:///s?db=3", Address("127.0.0.1", 6379, "/s", 3, "", "", tls=False)),
        ("redis://[::1]:7", Address("::1", 7, "", None, "", "", tls=False)),
    ],
)
def test_addresses_are_taken_apart(address: str, expected: Address) -> None:
    """Redis URLs, sockets and `host:port` are understood."""
    assert parse_address(address) == expected


@pytest.mark.parametrize("address", ["http://h", "unix://", "redis://h:port", "h:99999999"])
def test_a_wrong_address_is_refused(address: str) -> None:
    """Anything else is an error that says what is allowed."""
    with pytest.raises(ConfigError, match="allowed"):
        parse_address(address)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prefix": ""}, "prefix is ''"),
        ({"prefix": "a{b}"}, "prefix is 'a{b}'"),
        ({"partitions": 0}, "partitions is 0: from 1 to 256"),
        ({"partitions": 257}, "partitions is 257"),
        ({"lease_s": 5.0}, "lease is 5.0 s: at least three heartbeats"),
        ({"address": "http://h"}, "address cannot be read"),
        ({**CLUSTER, "sentinels": (("s", 1),), "sentinel_master": "m"}, "only one can be asked"),
        ({**CLUSTER, "address": "unix:///s"}, "cannot be a unix socket"),
        ({**CLUSTER, "address": "redis://h/1"}, "only database 0"),
        ({**CLUSTER, "db": 1}, "only database 0"),
    ],
)
def test_a_wrong_option_is_refused(change: dict[str, object], message: str) -> None:
    """An option no cluster can work with names itself, its value and what is allowed."""
    with pytest.raises(ConfigError, match=message.replace("{", r"\{")):
        RedisOptions(**change)  # type: ignore[arg-type]


def test_a_password_is_never_shown() -> None:
    """Neither its representation nor its name for logs holds a secret."""
    options = RedisOptions(address="redis://u:secret1@h:1", password="secret2")
    assert "secret" not in repr(options)
    assert options.server_name == "h:1"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (RedisOptions(address="unix:///s"), "/s"),
        (RedisOptions(sentinels=(("s", 1),), sentinel_master="m"), "primary m of Sentinel"),
        (RedisOptions(cluster_nodes=(("a", 1), ("b", 2))), "the Redis Cluster of a:1, b:2"),
    ],
)
def test_the_server_is_named_by_how_it_is_found(options: RedisOptions, name: str) -> None:
    """Errors and logs say where a node looks for Redis."""
    assert options.server_name == name


def test_options_are_frozen() -> None:
    """Nobody changes what others were built with."""
    with pytest.raises(AttributeError):
        RedisOptions().prefix = "x"  # type: ignore[misc]
    assert msgspec.structs.replace(RedisOptions(), prefix="x").prefix == "x"
