"""Where partitions are, as far as it can be told without a server."""

from __future__ import annotations

import pytest

from realtime_node.cluster.on_redis.discovery import parse_slots, places
from realtime_node.cluster.on_redis.keys import Keys
from realtime_node.cluster.on_redis.options import RedisOptions

_ASKED = "10.0.0.9"


@pytest.mark.parametrize(
    ("server", "place"),
    [
        ([b"10.0.0.1", 6379, b"id", []], ("10.0.0.1", 6379)),
        ([b"10.0.0.1", 6379, b"id"], ("10.0.0.1", 6379)),
        ([b"redis-0.redis", 6380, b"id", [b"ip", b"10.0.0.1"]], ("redis-0.redis", 6380)),
        # A node that was met by nobody yet, and one that was told to hide its address.
        ([b"", 6379, b"id", []], (_ASKED, 6379)),
        ([None, 6379, b"id", []], (_ASKED, 6379)),
    ],
)
def test_who_serves_a_slot_is_read(server: list[object], place: tuple[str, int]) -> None:
    """The first server of a range is its primary, whatever way its address is told."""
    replica = [b"10.0.0.2", 6379, b"id", []]
    ranges, nodes = parse_slots([[0, 8191, server, replica]], _ASKED)
    assert ranges == [(0, 8191, place)]
    assert nodes == [place, ("10.0.0.2", 6379)]


def test_a_server_without_an_address_serves_nobody() -> None:
    """A node that is known by name only ('?') cannot be connected to."""
    ranges, nodes = parse_slots([[0, 8191, [b"?", 6379, b"id", []]]], _ASKED)
    assert (ranges, nodes) == ([], [])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (RedisOptions(partitions=3), [(0, 1, 2)]),
        (RedisOptions(partitions=3, cluster_nodes=(("a", 1),)), [(0,), (1,), (2,)]),
    ],
)
def test_only_a_cluster_parts_partitions(
    options: RedisOptions, expected: list[tuple[int, ...]]
) -> None:
    """One server has all partitions; in a Redis Cluster each goes its own way."""
    found = places(options, Keys(options.prefix, options.partitions))
    assert [place.partitions for place in found] == expected
