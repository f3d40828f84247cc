"""Key names: one partition per script, and the same names in every release."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from realtime_node.cluster.on_redis.keys import Keys


def test_names_are_these() -> None:
    """A running cluster is joined by their names: a change needs another schema format."""
    keys = Keys("realtime", 1)
    assert keys.channel("a:b") == (
        b"realtime:{0}:generation",
        b"realtime:{0}:interest:a:b",
        b"realtime:{0}:meta:a:b",
        b"realtime:{0}:history:a:b",
        b"realtime:{0}:presence:a:b",
        b"realtime:{0}:presence_counts:a:b",
        b"realtime:{0}:dedup:3:a:b:",
    )
    assert keys.node(0, "n") == (
        b"realtime:{0}:node:n",
        b"realtime:{0}:inbox:n",
        b"realtime:{0}:mark:n",
        b"realtime:{0}:channels:n",
        b"realtime:{0}:present:n",
        b"realtime:{0}:sessions:n",
    )
    assert keys.partition(0) == (
        b"realtime:{0}:schema",
        b"realtime:{0}:generation",
        b"realtime:{0}:nodes",
        b"realtime:{0}:described",
        b"realtime:{0}:departed",
        b"realtime:{0}:verdict:",
        b"realtime:{0}:revocations",
        b"realtime:{0}:revoked:",
        b"realtime:{0}:traffic",
        b"realtime:{0}:budget",
        b"realtime:{0}:reconnects",
        b"realtime:{0}:connects",
        b"realtime:{0}:restart",
    )
    assert keys.user(0, "ann") == (b"realtime:{0}:user:ann", b"realtime:{0}:taken:ann")
    assert keys.session(0, "s") == b"realtime:{0}:session:s"


@pytest.mark.parametrize(("channel", "partition"), [("news", 0), ("chat:1", 2), ("ü", 5), ("", 0)])
def test_a_channels_partition_is_the_same_everywhere(channel: str, partition: int) -> None:
    """The partition follows from the name alone, whatever process or machine asks."""
    assert Keys("p", 16).partition_of(channel) == partition


def test_all_partitions_are_used() -> None:
    """Channels spread over the partitions."""
    keys = Keys("p", 8)
    used = [keys.partition_of(f"channel {number}") for number in range(800)]
    assert set(used) == set(range(8))
    assert max(used.count(partition) for partition in range(8)) < 200


def test_a_partition_is_one_slot() -> None:
    """All keys that a script may touch together are of one slot, the one that `slot_of` names."""
    keys = Keys("p", 16)
    touched = [*keys.channel("chat:1"), *keys.node(2, "n"), *keys.partition(2)]
    touched += [*keys.user(2, "ann"), keys.session(2, "s")]
    assert {key_slot(key) for key in touched} == {keys.slot_of(2)}


def test_braces_in_a_channel_do_not_move_its_slot() -> None:
    """The first braces of a key are ours: Redis Cluster looks at no others."""
    keys = Keys("p", 4).channel("{x}")
    assert all(key.split(b"{")[1].split(b"}")[0].isdigit() for key in keys)
