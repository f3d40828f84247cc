"""The official SDKs work against our nodes unchanged, whichever node they are on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import cent
import pytest

from tests.integration.sdk.clients import CallError, SdkClient, heard, hears, of_kind
from tests.support.conditions import eventually
from tests.support.forwarder import Forwarder
from tests.support.tokens import OTHER_SECRET, token

if TYPE_CHECKING:
    from tests.integration.sdk.conftest import Pair
    from tests.support.node_process import NodeProcess

NewClient = Callable[[], Awaitable[SdkClient]]


def _behind(forwarder: Forwarder) -> str:
    return f"ws://127.0.0.1:{forwarder.port}/connection/websocket"


async def test_a_client_hears_what_a_client_on_another_node_publishes(
    pair: Pair, new_client: NewClient, name: str
) -> None:
    """A publication made on node B reaches the subscribers of node A, and the publisher itself."""
    on_a, on_b = await new_client(), await new_client()
    await on_a.connect(pair.a.websocket_url, token(sub="ann"))
    await on_b.connect(pair.b.websocket_url, token(sub="bob"))
    await on_a.subscribe(f"chat:{name}")
    await on_b.subscribe(f"chat:{name}")
    sent = [{"text": f"hello {n} \u20ac"} for n in range(5)]
    for data in sent:
        await on_b.publish(f"chat:{name}", data)
    await hears(on_a, f"chat:{name}", sent)
    await hears(on_b, f"chat:{name}", sent)
    last = of_kind(on_a, "publication")[-1]
    assert (last["offset"], last["info"]["user"]) == (5, "bob")


async def test_a_client_hears_nothing_after_it_unsubscribed(
    pair: Pair, new_client: NewClient, backend: cent.AsyncClient, name: str
) -> None:
    """Unsubscribing ends the flow; subscribing again starts it at the present."""
    client = await new_client()
    await client.connect(pair.a.websocket_url, token(sub="ann"))
    await client.subscribe(name)
    await backend.publish(cent.PublishRequest(channel=name, data=1))
    await hears(client, name, [1])
    await client.unsubscribe(name)
    assert of_kind(client, "unsubscribed", name)
    await backend.publish(cent.PublishRequest(channel=name, data="too late"))
    # What is heard after it shows that it was not.
    await client.subscribe(f"{name}-later")
    await backend.publish(cent.PublishRequest(channel=f"{name}-later", data=2))
    await hears(client, f"{name}-later", [2])
    assert heard(client, name) == [1]


async def test_history_is_the_same_from_every_node(
    pair: Pair, new_client: NewClient, name: str
) -> None:
    """A client on node B reads what was published on node A, by position and in reverse."""
    channel = f"chat:{name}"
    on_a, on_b = await new_client(), await new_client()
    await on_a.connect(pair.a.websocket_url, token(sub="ann"))
    await on_b.connect(pair.b.websocket_url, token(sub="bob"))
    for n in range(1, 6):
        await on_a.publish(channel, {"n": n})
    everything = await on_b.history(channel, limit=-1)
    assert [entry["data"]["n"] for entry in everything["publications"]] == [1, 2, 3, 4, 5]
    assert everything["offset"] == 5
    since = {"offset": 3, "epoch": everything["epoch"]}
    later = await on_b.history(channel, limit=10, since=since)
    assert [entry["offset"] for entry in later["publications"]] == [4, 5]
    newest = await on_b.history(channel, limit=2, reverse=True)
    assert [entry["offset"] for entry in newest["publications"]] == [5, 4]
    position = await on_b.history(channel, limit=0)
    assert (position["publications"], position["offset"]) == ([], 5)
    with pytest.raises(CallError) as wrong_epoch:
        await on_b.history(channel, limit=1, since={"offset": 1, "epoch": "wrong"})
    assert wrong_epoch.value.code == 112


async def test_presence_knows_the_clients_of_every_node(
    pair: Pair, new_client: NewClient, name: str
) -> None:
    """Who is in a channel, who comes and who goes is known on every node."""
    channel = f"room:{name}"
    on_a, on_b = await new_client(), await new_client()
    await on_a.connect(pair.a.websocket_url, token(sub="ann"))
    await on_b.connect(pair.b.websocket_url, token(sub="bob"))
    await on_a.subscribe(channel)
    await on_b.subscribe(channel)
    assert await on_a.presence(channel) == ["ann", "bob"]
    assert await on_b.presence_stats(channel) == {"clients": 2, "users": 2}
    await on_b.unsubscribe(channel)
    await eventually(lambda: of_kind(on_a, "leave", channel), what="the other's leave")
    assert [entry["user"] for entry in of_kind(on_a, "leave", channel)] == ["bob"]
    assert "bob" in [entry["user"] for entry in of_kind(on_a, "join", channel)]
    assert await on_a.presence(channel) == ["ann"]


async def test_what_a_client_may_not_do_is_an_error_it_can_read(
    pair: Pair, new_client: NewClient, name: str
) -> None:
    """Errors have the codes of the protocol, and the connection survives them."""
    client = await new_client()
    await client.connect(pair.a.websocket_url, token(sub="ann"))
    for channel, code in ((f"closed:{name}", 103), (f"nowhere:{name}", 102)):
        with pytest.raises(CallError) as refused:
            await client.publish(channel, 1)
        assert refused.value.code == code
    with pytest.raises(CallError) as without_history:
        await client.history(name, limit=1)
    assert without_history.value.code == 108
    await client.subscribe(f"closed:{name}", token=token(sub="ann", channel=f"closed:{name}"))
    assert not of_kind(client, "disconnected")


async def test_an_expired_token_makes_the_sdk_fetch_a_new_one(
    pair: Pair, new_client: NewClient, name: str
) -> None:
    """Error 109 is not the end: the SDK asks the backend for a token and connects with it."""
    client = await new_client()
    expired, good = token(sub=name, lifetime_s=-60), token(sub=name, lifetime_s=3600)
    await client.connect(pair.a.websocket_url, expired, next_tokens=[good])
    await client.subscribe(name)


async def test_a_subscription_outlives_a_refresh_that_came_too_late(
    pair: Pair, new_client: NewClient, name: str
) -> None:
    """The SDK's token was stale when it refreshed: it comes back and asks for another one.

    An error reply would have ended the subscription for good.
    """
    client = await new_client()
    channel = f"closed:{name}"
    await client.connect(pair.a.websocket_url, token(sub=name))
    first, late, good = (
        token(sub=name, channel=channel, lifetime_s=lifetime_s) for lifetime_s in (2, -60, 3600)
    )
    await client.subscribe(channel, token=first, next_tokens=[late, good])
    await eventually(
        lambda: len(of_kind(client, "subscribed", channel)) == 2, what="it subscribed again"
    )
    assert of_kind(client, "unsubscribed", channel) == []
    assert of_kind(client, "disconnected") == []


async def test_a_forged_token_ends_the_client_for_good(
    pair: Pair, new_client: NewClient, name: str
) -> None:
    """Close code 3500 is terminal: no SDK knocks again with a token that is refused."""
    client = await new_client()
    with pytest.raises(Exception, match=r"."):
        await client.connect(pair.a.websocket_url, token(sub=name, secret=OTHER_SECRET))
    await eventually(lambda: of_kind(client, "disconnected"), what="the end of the client")
    assert of_kind(client, "disconnected")[0]["code"] == 3500


async def test_a_client_recovers_what_it_missed_while_it_was_cut_off(
    pair: Pair, new_client: NewClient, backend: cent.AsyncClient, name: str
) -> None:
    """Publications made while the network was away are delivered in order, once."""
    channel = f"chat:{name}"
    async with Forwarder([pair.a.port]) as network:
        client = await new_client()
        await client.connect(_behind(network), token(sub="ann"))
        await client.subscribe(channel)
        for n in range(1, 4):
            await backend.publish(cent.PublishRequest(channel=channel, data=n))
        await hears(client, channel, [1, 2, 3])
        network.is_open = False
        network.cut()
        for n in range(4, 24):
            await backend.publish(cent.PublishRequest(channel=channel, data=n))
        network.is_open = True
        await eventually(lambda: len(of_kind(client, "connected")) == 2, what="the reconnect")
        await backend.publish(cent.PublishRequest(channel=channel, data=24))
        await hears(client, channel, list(range(1, 25)))
        again = of_kind(client, "subscribed", channel)[-1]
        assert (again["wasRecovering"], again["recovered"]) == (True, True)


async def test_a_client_is_told_when_it_missed_more_than_is_kept(
    pair: Pair, new_client: NewClient, backend: cent.AsyncClient, name: str
) -> None:
    """Beyond the history the SDK learns that it could not recover, and goes on with the present."""
    channel = f"short:{name}"
    async with Forwarder([pair.a.port]) as network:
        client = await new_client()
        await client.connect(_behind(network), token(sub="ann"))
        await client.subscribe(channel)
        await backend.publish(cent.PublishRequest(channel=channel, data=1))
        await hears(client, channel, [1])
        network.is_open = False
        network.cut()
        for n in range(2, 10):
            await backend.publish(cent.PublishRequest(channel=channel, data=n))
        network.is_open = True
        await eventually(lambda: len(of_kind(client, "subscribed", channel)) == 2)
        again = of_kind(client, "subscribed", channel)[-1]
        assert (again["wasRecovering"], again["recovered"]) == (True, False)
        await backend.publish(cent.PublishRequest(channel=channel, data=10))
        await hears(client, channel, [1, 10])


async def test_a_client_recovers_after_it_was_sent_away(
    pair: Pair, new_client: NewClient, backend: cent.AsyncClient, name: str
) -> None:
    """A disconnect with a reconnect code brings the SDK back, with what it missed."""
    channel = f"chat:{name}"
    async with Forwarder([pair.a.port]) as network:
        client = await new_client()
        await client.connect(_behind(network), token(sub=name))
        await client.subscribe(channel)
        await backend.publish(cent.PublishRequest(channel=channel, data=1))
        await hears(client, channel, [1])
        network.is_open = False
        moved = cent.Disconnect(code=4000, reason="moved")
        await backend.disconnect(cent.DisconnectRequest(user=name, disconnect=moved))
        await eventually(lambda: len(of_kind(client, "connecting")) == 2, what="the disconnect")
        assert of_kind(client, "connecting")[-1]["code"] == 4000
        for n in range(2, 6):
            await backend.publish(cent.PublishRequest(channel=channel, data=n))
        network.is_open = True
        await hears(client, channel, [1, 2, 3, 4, 5])


async def test_a_client_recovers_on_another_node_when_its_own_is_killed(
    pair: Pair,
    mortal: NodeProcess,
    new_client: NewClient,
    backend: cent.AsyncClient,
    name: str,
) -> None:
    """After a SIGKILL the SDK goes on where it stopped, on a node that never saw it before."""
    channel = f"chat:{name}"
    async with Forwarder([mortal.port]) as network:
        client = await new_client()
        await client.connect(_behind(network), token(sub="ann"))
        await client.subscribe(channel)
        for n in range(1, 4):
            await client.publish(channel, n)
        await hears(client, channel, [1, 2, 3])
        mortal.kill()
        for n in range(4, 8):
            await backend.publish(cent.PublishRequest(channel=channel, data=n))
        network.ports = [pair.a.port]
        await eventually(lambda: len(of_kind(client, "connected")) == 2, what="the reconnect")
        await client.publish(channel, 8)
        await hears(client, channel, [1, 2, 3, 4, 5, 6, 7, 8])


async def test_server_side_subscriptions_follow_the_user_and_recover(
    pair: Pair, new_client: NewClient, backend: cent.AsyncClient, name: str
) -> None:
    """Channels of the token are subscribed on every connection, from where the last one stopped."""
    channel = f"chat:{name}"
    async with Forwarder([pair.a.port]) as network:
        client = await new_client()
        await client.connect(_behind(network), token(sub="ann", channels=[channel]))
        await backend.publish(cent.PublishRequest(channel=channel, data=1))
        await hears(client, channel, [1])
        network.is_open = False
        network.cut()
        await backend.publish(cent.PublishRequest(channel=channel, data=2))
        network.is_open = True
        await hears(client, channel, [1, 2])


async def test_the_backend_subscribes_and_unsubscribes_a_user(
    pair: Pair, new_client: NewClient, backend: cent.AsyncClient, name: str
) -> None:
    """Calls made on node B change the subscriptions of a client on node A."""
    client = await new_client()
    await client.connect(pair.a.websocket_url, token(sub=name))
    await client.subscribe(name)
    await backend.subscribe(cent.SubscribeRequest(user=name, channel=f"closed:{name}"))
    await eventually(lambda: of_kind(client, "subscribed", f"closed:{name}"))
    await backend.publish(cent.PublishRequest(channel=f"closed:{name}", data=1))
    await hears(client, f"closed:{name}", [1])
    for channel in (name, f"closed:{name}"):
        await backend.unsubscribe(cent.UnsubscribeRequest(user=name, channel=channel))
        await eventually(partial(of_kind, client, "unsubscribed", channel))
    assert of_kind(client, "unsubscribed", name)[0]["code"] == 2000


async def test_the_backend_disconnects_a_user_for_good(
    pair: Pair, new_client: NewClient, backend: cent.AsyncClient, name: str
) -> None:
    """A disconnect without a code of its own is terminal for the SDK."""
    client = await new_client()
    await client.connect(pair.a.websocket_url, token(sub=name))
    await backend.disconnect(cent.DisconnectRequest(user=name))
    await eventually(lambda: of_kind(client, "disconnected"), what="the disconnect")
    assert of_kind(client, "disconnected")[0]["code"] == 3503
