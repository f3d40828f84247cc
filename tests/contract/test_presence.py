"""The contract of `PresenceStore`, held against every implementation with several nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import UNSET, Raw

from realtime_node.cluster.presence import Stay
from realtime_node.errors import ReplyError
from realtime_node.protocol.messages import ClientInfo
from tests.support.backplanes import HISTORY

if TYPE_CHECKING:
    from tests.support.backplanes import Cluster


def _info(client: str, user: str = "u") -> ClientInfo:
    return ClientInfo(user=user, client=client)


async def test_presence_is_seen_on_every_node(cluster: Cluster) -> None:
    """What one node enters all nodes read, whole."""
    a, b = await cluster.node("a"), await cluster.node("b")
    entered = ClientInfo(user="u", client="c1", conn_info=Raw(b'{"x":1}'))
    await a.presence.add("room", entered)
    await b.presence.add("room", _info("c2"))
    for node in (a, b):
        present = await node.presence.get("room")
        assert set(present) == {"c1", "c2"}
        got = present["c1"]
        assert (got.user, got.client, got.chan_info) == ("u", "c1", UNSET)
        assert isinstance(got.conn_info, Raw)
        assert bytes(got.conn_info) == b'{"x":1}'
    assert await a.presence.get("another room") == {}


async def test_entering_again_replaces(cluster: Cluster) -> None:
    """A client is present once, with the info entered last."""
    a = await cluster.node("a")
    await a.presence.add("room", _info("c1"))
    await a.presence.add("room", ClientInfo(user="u", client="c1", chan_info=Raw(b"2")))
    present = await a.presence.get("room")
    assert list(present) == ["c1"]
    assert present["c1"].chan_info is not UNSET


async def test_a_removed_client_is_absent_at_once(cluster: Cluster) -> None:
    """Removal takes effect at once, of one client in one channel; an absent one is no error."""
    a, b = await cluster.node("a"), await cluster.node("b")
    for channel in ("room", "hall"):
        await a.presence.add(channel, _info("c1"))
        await a.presence.add(channel, _info("c2"))
    await a.presence.remove("room", "c1")
    await a.presence.remove("room", "never there")
    assert set(await b.presence.get("room")) == {"c2"}
    assert set(await b.presence.get("hall")) == {"c1", "c2"}
    await a.presence.remove("room", "c2")
    assert await b.presence.get("room") == {}


async def test_a_client_taken_over_is_not_removed_by_its_old_node(cluster: Cluster) -> None:
    """The entry belongs to the node that entered the client last."""
    a, b = await cluster.node("a"), await cluster.node("b")
    await a.presence.add("room", _info("c1"))
    await b.presence.add("room", _info("c1"))
    await a.presence.remove("room", "c1")
    assert set(await a.presence.get("room")) == {"c1"}


async def test_stats_count_clients_and_users(cluster: Cluster) -> None:
    """Two clients of one user are two clients and one user."""
    a, b = await cluster.node("a"), await cluster.node("b")
    await a.presence.add("room", _info("c1", "u1"))
    await a.presence.add("room", _info("c2", "u1"))
    await b.presence.add("room", _info("c3", "u2"))
    assert await b.presence.stats("room") == (3, 2)
    assert await b.presence.stats("empty") == (0, 0)


async def test_a_killed_nodes_clients_vanish_with_its_lease(cluster: Cluster) -> None:
    """Nobody refreshes a client; a dead node's clients count until its lease has ended."""
    a, b = await cluster.node("a"), await cluster.node("b")
    await a.presence.add("room", _info("stays"))
    await b.presence.add("room", _info("vanishes"))
    await b.kill()
    assert set(await a.presence.get("room")) == {"stays", "vanishes"}
    await cluster.pass_time(cluster.lease_s + 0.2)
    assert set(await a.presence.get("room")) == {"stays"}


async def test_a_closed_nodes_clients_vanish_at_once(cluster: Cluster) -> None:
    """A node that leaves in order takes its clients along, in every channel."""
    a, b = await cluster.node("a"), await cluster.node("b")
    for channel in ("room", "hall"):
        await b.presence.add(channel, _info("c1"))
    await b.backplane.subscribe("room", HISTORY)
    await b.backplane.close()
    assert await a.presence.get("room") == {}
    assert await a.presence.get("hall") == {}


async def test_a_client_with_a_grace_outlives_its_node(cluster: Cluster) -> None:
    """It counts for its grace after its node was heard of last, cleaned away or not."""
    grace_s = cluster.lease_s + 3.0
    a, b = await cluster.node("a"), await cluster.node("b")
    await a.presence.add("room", _info("c1"), Stay(1, int(grace_s * 1000)))
    await a.presence.add("room", _info("c2"), Stay(1, 0))
    await a.kill()
    await cluster.pass_time(cluster.lease_s + 0.2)
    assert set(await b.presence.get("room")) == {"c1"}
    await cluster.pass_time(1.5)
    assert set(await b.presence.get("room")) == {"c1"}
    await cluster.pass_time(2.0)
    assert await b.presence.get("room") == {}


async def test_a_client_with_a_grace_outlives_a_closed_node(cluster: Cluster) -> None:
    """A node that leaves in order leaves those behind that may come back."""
    a, b = await cluster.node("a"), await cluster.node("b")
    await a.presence.add("room", _info("c1"), Stay(1, 2000))
    await a.presence.add("room", _info("c2"))
    await a.backplane.close()
    assert set(await b.presence.get("room")) == {"c1"}
    await cluster.pass_time(2.2)
    assert await b.presence.get("room") == {}


async def test_who_comes_back_was_there(cluster: Cluster) -> None:
    """Entering tells whether the client counted before: on a dead node too, within the grace."""
    a, b = await cluster.node("a"), await cluster.node("b")
    assert not await a.presence.add("room", _info("c1"), Stay(1, 60_000))
    assert await b.presence.add("room", _info("c1"), Stay(2, 60_000))
    await b.kill()
    await cluster.pass_time(cluster.lease_s + 1.3)
    assert await a.presence.add("room", _info("c1"), Stay(3, 0))
    assert set(await a.presence.get("room")) == {"c1"}


async def test_an_earlier_connection_changes_nothing(cluster: Cluster) -> None:
    """Neither adding nor removing by an older token has an effect on a later one's entry."""
    a, b = await cluster.node("a"), await cluster.node("b")
    await a.presence.add("room", _info("c1"), Stay(1, 0))
    await b.presence.add("room", ClientInfo(user="u", client="c1", chan_info=Raw(b"2")), Stay(2, 0))
    assert await a.presence.add("room", _info("c1"), Stay(1, 0))
    assert not await a.presence.remove("room", "c1", 1)
    assert not await b.presence.remove("room", "c1", 1)
    present = await a.presence.get("room")
    assert present["c1"].chan_info is not UNSET
    assert await b.presence.remove("room", "c1", 2)
    assert not await b.presence.remove("room", "c1", 2)
    assert await a.presence.get("room") == {}


async def test_stats_follow_every_change(cluster: Cluster) -> None:
    """Whatever adds, replaces or removes a client, the numbers are those of the list."""
    a, b = await cluster.node("a"), await cluster.node("b")

    async def agree(clients: int, users: int) -> None:
        for node in (a, b):
            present = await node.presence.get("room")
            assert (len(present), len({info.user for info in present.values()})) == (clients, users)
            assert await node.presence.stats("room") == (clients, users)

    await a.presence.add("room", _info("c1", "ann"))
    await a.presence.add("room", _info("c1", "ann"))
    await a.presence.add("room", _info("c2", "ann"))
    await agree(2, 1)
    await a.presence.add("room", _info("c2", "ben"))
    await agree(2, 2)
    await b.presence.add("room", _info("c2", "ben"))
    await a.presence.remove("room", "c2")
    await agree(2, 2)
    await a.presence.add("room", _info("c3", ""), Stay(2, 60_000))
    await b.presence.add("room", _info("c3", ""), Stay(1, 60_000))
    await agree(3, 3)
    await b.presence.remove("room", "c3", 1)
    await agree(3, 3)
    await a.presence.remove("room", "c3", 2)
    await a.presence.remove("room", "c1")
    await agree(1, 1)
    await b.presence.remove("room", "c2")
    await agree(0, 0)
    await a.presence.add("room", _info("c1", "ann"))
    await agree(1, 1)


@pytest.mark.parametrize("length", [0, 31, 32, 255, 256, 65_536])
async def test_stats_count_users_of_any_name_and_info(cluster: Cluster, length: int) -> None:
    """How a name is stored depends on its length, and infos follow it as binary data."""
    a = await cluster.node("a")
    user = "\u00fc" * (length // 2) + "x" * (length % 2)
    for client, info in (("c1", UNSET), ("c2", Raw(b'{"name":"Ann"}')), ("c3", Raw(b"1"))):
        name = user if client != "c3" else "other"
        await a.presence.add(
            "room", ClientInfo(user=name, client=client, conn_info=info, chan_info=info)
        )
    assert await a.presence.stats("room") == (3, 2)
    await a.presence.remove("room", "c3")
    assert await a.presence.stats("room") == (2, 1)


async def test_stats_leave_out_the_clients_of_dead_nodes(cluster: Cluster) -> None:
    """As the list does: from the end of the lease on, cleaned away or not, but for a grace."""
    a, b = await cluster.node("a"), await cluster.node("b")
    await a.presence.add("room", _info("c1", "ann"))
    await b.presence.add("room", _info("c2", "ben"))
    grace_ms = int((cluster.lease_s + 60) * 1000)
    await b.presence.add("room", _info("c3", "ben"), Stay(1, grace_ms))
    await b.kill()
    assert await a.presence.stats("room") == (3, 2)
    await cluster.pass_time(cluster.lease_s + 0.2)
    for _ in range(4):
        present = await a.presence.get("room")
        assert set(present) == {"c1", "c3"}
        assert await a.presence.stats("room") == (2, 2)
        await cluster.pass_time(0.3)


async def test_a_list_has_a_limit(cluster: Cluster) -> None:
    """A channel with more clients is an error and no part of the list; they can be counted."""
    a = await cluster.node("a")
    for number in range(3):
        await a.presence.add("room", _info(f"c{number}"))
    assert len(await a.presence.get("room", limit=3)) == 3
    with pytest.raises(ReplyError, match="106: limit exceeded"):
        await a.presence.get("room", limit=2)
    assert await a.presence.stats("room") == (3, 1)
