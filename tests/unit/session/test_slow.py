"""Slow clients as sessions: closed, cut off, and what they are given when they are back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from realtime_node.telemetry.metrics import total
from tests.support.fakes import publication, settle

if TYPE_CHECKING:
    from tests.support.fakes import FakeClient, FakeNode
    from tests.unit.session.conftest import MakeNode


async def publish(node: FakeNode, channel: str, count: int) -> None:
    """Publish and deliver, one by one."""
    stream = node.services.rules.rule(channel).stream
    for number in range(count):
        await node.backplane.publish(channel, publication("x" * 40 + str(number)), stream)
        await node.backplane.deliver()


async def choke(node: FakeNode, client: FakeClient, channel: str) -> int:
    """Publish to a client that reads nothing until it is closed; return its last offset."""
    client.transport.stall()
    while not client.link.closes:
        await publish(node, channel, 1)
    offsets: list[int] = [each["offset"] for each in client.pushes()]
    return max(offsets)


def position(client: FakeClient, reply: dict[str, Any]) -> dict[str, Any]:
    """What an SDK asks with to continue behind all that it got."""
    result = reply["subscribe"]
    offsets = [each["offset"] for each in (*result.get("publications", []), *client.pushes())]
    return {
        "recover": True,
        "epoch": result["epoch"],
        "offset": max([result.get("offset", 0), *offsets]),
    }


async def test_a_slow_client_recovers_all_that_it_missed(make_node: MakeNode) -> None:
    """What was queued for it when it was closed is in the history."""
    node = make_node(queue_max_size=500)
    client = await node.connected()
    reply = await client.ask(subscribe={"channel": "kept:a"})
    last = await choke(node, client, "kept:a")
    assert client.link.closes == [(3008, "slow")]
    back = await node.connected()
    asked = position(client, reply)
    assert asked["offset"] == last
    result = (await back.ask(subscribe={"channel": "kept:a", **asked}))["subscribe"]
    assert result["recovered"]
    assert result["publications"][0]["offset"] == last + 1


async def test_who_is_closed_three_times_gets_the_newest_alone(make_node: MakeNode) -> None:
    """The fourth connection is told that it did not recover, and has nothing to choke on."""
    node = make_node(queue_max_size=500)
    client = await node.connected()
    reply = await client.ask(subscribe={"channel": "kept:a"})
    for time in range(3):
        await choke(node, client, "kept:a")
        back = await node.connected()
        reply = await back.ask(subscribe={"channel": "kept:a", **position(client, reply)})
        client = back
        assert reply["subscribe"].get("recovered", False) is (time < 2)
    result = reply["subscribe"]
    assert result["was_recovering"]
    assert [each["offset"] for each in result["publications"]] == [result["offset"]]
    assert total(node.metrics.session.newest_only) == 1


async def test_another_client_of_the_same_user_recovers_as_ever(make_node: MakeNode) -> None:
    """Only who comes from where the slow one was is taken for it."""
    node = make_node(queue_max_size=500)
    healthy = await node.connected()
    reply = await healthy.ask(subscribe={"channel": "kept:b"})
    for _ in range(3):
        slow = await node.connected()
        await slow.ask(subscribe={"channel": "kept:a"})
        await choke(node, slow, "kept:a")
    await publish(node, "kept:b", 2)
    healthy.session.ended()
    back = await node.connected()
    asked = {**position(healthy, reply), "offset": 1}
    result = (await back.ask(subscribe={"channel": "kept:b", **asked}))["subscribe"]
    assert result["recovered"]


async def test_what_is_dropped_is_not_recovered(node: FakeNode) -> None:
    """A channel of dropped messages grants no recovery, even where its history may be read."""
    client = await node.connected(node.trust("ann"))
    request = {"channel": "typing:a", "recoverable": True, "positioned": True}
    result = (await client.ask(subscribe=request))["subscribe"]
    assert "recoverable" not in result
    await publish(node, "typing:a", 3)
    back = await node.connected(node.trust("ann"))
    asked = {"recover": True, "epoch": result["epoch"], "offset": 0}
    result = (await back.ask(subscribe={"channel": "typing:a", **asked}))["subscribe"]
    assert result["was_recovering"]
    assert "recovered" not in result
    assert "publications" not in result


async def test_the_newest_value_of_each_key_is_recovered(node: FakeNode) -> None:
    """Of all that was missed in a channel of values the newest of each key comes."""
    client = await node.connected()
    epoch = (await client.ask(subscribe={"channel": "prices:a"}))["subscribe"]["epoch"]
    await publish(node, "prices:a", 4)
    back = await node.connected()
    asked = {"recover": True, "epoch": epoch, "offset": 1}
    result = (await back.ask(subscribe={"channel": "prices:a", **asked}))["subscribe"]
    assert (result["recovered"], result["offset"]) == (True, 1)
    assert [each["offset"] for each in result["publications"]] == [4]


async def test_a_stalled_client_is_cut_off(make_node: MakeNode) -> None:
    """It is not told anything, nothing of it is left, and it is counted as what it sees: 1006."""
    node = make_node(queue_max_size=1_000_000, write_timeout="2s")
    client = await node.connected()
    await client.ask(subscribe={"channel": "prices:a"})
    client.transport.stall()
    client.outbound.send(b"x" * 2000)
    node.pass_time(3)
    assert client.link.closes == []
    assert node.registry.num_clients == 0
    assert 'realtime_disconnects_total{code="1006"} 1.0' in node.metrics.expose().decode()


async def test_a_publish_is_answered_before_a_frame_that_is_held_back(node: FakeNode) -> None:
    """In a channel with an interval the reply does not wait for the publication."""
    client = await node.connected()
    await client.ask(subscribe={"channel": "prices:a"})
    client.say(publish={"channel": "prices:a", "data": 1})
    await settle()
    assert [each.get("id") for each in client.unread()][-1] == 3


@pytest.mark.parametrize("count", [20, 21])
async def test_commands_are_limited(make_node: MakeNode, count: int) -> None:
    """A connection that sends more than its burst is closed, to come back later."""
    node = make_node(command_rate=10, command_burst=20)
    client = await node.connected()
    node.clock.advance(2)
    client.send(*({"id": number + 2, "ping": {}} for number in range(count)))
    await settle(100)
    assert client.link.closes == ([] if count == 20 else [(3013, "too many requests")])
