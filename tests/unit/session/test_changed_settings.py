"""Settings that change while sessions are in the middle of something."""

from __future__ import annotations

from typing import Any, Final

from realtime_node.admission.token_bucket import Rate
from realtime_node.config import ChannelSettings
from realtime_node.session.lifecycle import NEVER
from tests.support.fakes import UNIX_START, FakeNode, settle

OPEN: Final = {"name": "open", "allow_subscribe_for_client": True}
NODE_REFRESHES: Final = {**OPEN, "sub_refresh_proxy_enabled": True}
PROXY: Final = {"sub_refresh": {"endpoint": "http://team/sub_refresh"}}


def channels(*namespaces: dict[str, Any]) -> dict[str, Any]:
    """The section `channel`."""
    return {"proxy": PROXY, "namespaces": list(namespaces)}


def node_with(*namespaces: dict[str, Any]) -> FakeNode:
    """A node that lets everybody in."""
    anybody = {"allow_anonymous_connect_without_token": True}
    subscribers = [{**each, "allow_subscribe_for_anonymous": True} for each in namespaces]
    return FakeNode(client=anybody, channel=channels(*subscribers))


def change(node: FakeNode, *namespaces: dict[str, Any]) -> None:
    """Let the node go by other namespaces."""
    node.services.rules.change(ChannelSettings.model_validate(channels(*namespaces)))


async def test_a_namespace_that_goes_during_a_subscribe_breaks_nothing() -> None:
    """The attempt ends by the rules that it began with; whoever walks the sessions ends it."""
    node = node_with({**OPEN, "history_size": 10, "history_ttl": "60s", "force_recovery": True})
    client = await node.connected()
    with node.backplane.hold("subscribe"):
        wanted = client.say(subscribe={"channel": "open:a", "recover": True})
        await settle()
        change(node)
    await settle()
    (reply,) = [each for each in client.transport.messages if each.get("id") == wanted]
    assert "subscribe" in reply
    assert not client.link.closes
    assert (await client.ask(subscribe={"channel": "open:b"}))["error"]["code"] == 102


async def test_a_subscription_whose_namespace_is_gone_still_expires() -> None:
    """Looking at its end is no error of ours, which would close the connection."""
    node = node_with(NODE_REFRESHES)
    client = await node.connected()
    await client.ask(subscribe={"channel": "open:a"})
    client.session.subscriptions["open:a"].expires_at = UNIX_START + node.clock() + 5
    client.session.deadlines.sub_expiry = node.clock() + 5
    node.registry.reschedule(client.session)
    change(node)
    node.pass_time(6)
    await settle()
    assert not client.link.closes
    assert node.team.asked("/sub_refresh") == []
    for _ in range(30):
        node.pass_time(1)
        if client.session.deadlines.pong is not NEVER:
            client.send({})
        await settle()
    assert not client.link.closes
    assert "open:a" not in client.session.subscriptions
    assert [each["code"] for each in client.pushes("unsubscribe")] == [2501]


async def test_who_refreshes_a_subscription_is_what_its_client_was_told() -> None:
    """A client that refreshes its own goes on so where the team is asked about later ones."""
    node = node_with(OPEN)
    client = await node.connected()
    await client.ask(subscribe={"channel": "open:a"})
    change(node, NODE_REFRESHES)
    reply = await client.ask(sub_refresh={"channel": "open:a", "token": "unknown"})
    assert reply["error"]["code"] == 103, "its token is looked at; it is not disconnected (3501)"
    assert not client.link.closes


async def test_another_rate_takes_what_was_spent_along() -> None:
    """At worst its bucket is empty when the rate changes, and fills from then on."""
    node = node_with(OPEN)
    client = await node.connected()
    node.services.change_rate(Rate(1, 10))
    for _ in range(9):
        await client.ask(ping={})
    node.services.change_rate(Rate(2, 4))
    node.clock.advance(0.5)
    await client.ask(ping={})
    assert not client.link.closes
    client.say(ping={})
    assert client.link.closes == [(3013, "too many requests")]
