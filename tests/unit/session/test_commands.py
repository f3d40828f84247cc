"""Commands of a connected client, through a whole session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw, structs

from realtime_node.cluster.backplane import EntryKind
from realtime_node.errors import BackplaneUnavailableError, TokenError, TokenExpiredError
from realtime_node.protocol import codes
from realtime_node.protocol.messages import ClientInfo
from realtime_node.session import departures as departures_module
from realtime_node.session.claims import SubscriptionClaims
from realtime_node.session.lifecycle import State
from realtime_node.session.turns import MAX_WAITING
from tests.support.conditions import NEVER_S
from tests.support.failure_counts import counted_failures
from tests.support.fakes import FakeClient, FakeNode, publication, settle

if TYPE_CHECKING:
    from tests.unit.session.conftest import MakeNode


async def publish(node: FakeNode, channel: str, *data: object) -> None:
    """Publish from somewhere else."""
    stream = node.services.rules.rule(channel).stream
    for each in data:
        await node.backplane.publish(channel, publication(each), stream)


def traces(node: FakeNode, client: FakeClient) -> dict[str, Any]:
    """Everything a client leaves on a node, without what is empty."""
    return {
        name: found
        for name, found in {
            "subscriptions": client.session.subscriptions,
            "channels": node.hub.num_channels,
            "interest": node.backplane.interest,
            "clients": node.registry.num_clients,
            "present": [channel for channel, each in node.presence.present.items() if each],
            "departures": len(node.departures),
        }.items()
        if found
    }


# --- subscribe --------------------------------------------------------------------------------


async def test_subscriber_hears_what_is_published(node: FakeNode) -> None:
    """After its reply a subscriber gets the channel's publications."""
    client = await node.connected()
    reply = await client.ask(subscribe={"channel": "a"})
    assert reply == {"id": 2, "subscribe": {}}
    await publish(node, "a", "x", "y")
    await node.backplane.deliver()
    assert client.pushes() == [{"data": "x"}, {"data": "y"}]


async def test_subscriber_of_a_stream_is_told_its_position(node: FakeNode) -> None:
    """The reply names epoch and top; what follows comes with its offset."""
    await publish(node, "kept:a", 1, 2)
    client = await node.connected()
    reply = await client.ask(subscribe={"channel": "kept:a"})
    assert reply["subscribe"] == {
        "recoverable": True,
        "positioned": True,
        "epoch": "e1",
        "offset": 2,
    }
    await publish(node, "kept:a", 3)
    await node.backplane.deliver()
    assert client.pushes() == [{"data": 3, "offset": 3}]


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (
            {"offset": 1, "epoch": "e1"},
            {"offset": 1, "recovered": True, "publications": [2, 3]},
        ),
        ({"offset": 3, "epoch": "e1"}, {"offset": 3, "recovered": True}),
        ({}, {"recovered": True, "publications": [1, 2, 3]}),
        ({"offset": 1, "epoch": "other"}, {"offset": 3}),
        ({"offset": 9, "epoch": "e1"}, {"offset": 3}),
    ],
)
async def test_returning_subscriber_recovers(
    node: FakeNode, position: dict[str, Any], expected: dict[str, Any]
) -> None:
    """It gets all it missed behind the asked offset, or the top without `recovered`."""
    await publish(node, "kept:a", 1, 2, 3)
    client = await node.connected()
    reply = await client.ask(subscribe={"channel": "kept:a", "recover": True, **position})
    result = reply["subscribe"]
    if "publications" in result:
        result["publications"] = [each["data"] for each in result["publications"]]
    assert result == {
        "recoverable": True,
        "positioned": True,
        "epoch": "e1",
        "was_recovering": True,
        **expected,
    }
    await publish(node, "kept:a", 4)
    await node.backplane.deliver()
    assert client.pushes() == [{"data": 4, "offset": 4}]


@pytest.mark.parametrize(("missed", "is_recovered"), [(2, True), (3, False)])
async def test_who_missed_more_than_is_given_is_told(
    make_node: MakeNode, missed: int, is_recovered: bool
) -> None:
    """It stands at the top without `recovered`, and is given nothing of what it missed."""
    node = make_node(recovery_max_publication_limit=2)
    await publish(node, "kept:a", *range(5))
    client = await node.connected()
    position = {"offset": 5 - missed, "epoch": "e1"}
    reply = await client.ask(subscribe={"channel": "kept:a", "recover": True, **position})
    result = reply["subscribe"]
    assert result.get("recovered", False) is is_recovered
    assert len(result.get("publications", [])) == (missed if is_recovered else 0)
    assert result["offset"] == (3 if is_recovered else 5)
    await publish(node, "kept:a", 5)
    await node.backplane.deliver()
    assert client.pushes() == [{"data": 5, "offset": 6}]


async def test_newest_values_are_recovered_over_many_others(make_node: MakeNode) -> None:
    """Where only the newest of a key is owed, those before it are not counted."""
    node = make_node(recovery_max_publication_limit=1)
    await publish(node, "prices:a", *range(5))
    client = await node.connected()
    position = {"offset": 1, "epoch": "e1"}
    reply = await client.ask(subscribe={"channel": "prices:a", "recover": True, **position})
    assert reply["subscribe"]["recovered"]
    assert [each["data"] for each in reply["subscribe"]["publications"]] == [4]


async def test_publications_that_overtake_the_answer_follow_it(node: FakeNode) -> None:
    """What the inbox brings before the answer is delivered after it, none twice."""
    client = await node.connected()
    other = await node.connected()
    await other.ask(subscribe={"channel": "kept:a"})
    await publish(node, "kept:a", 1)
    with node.backplane.hold("subscribe"):
        client.say(subscribe={"channel": "kept:a"})
        await settle()
        await publish(node, "kept:a", 2)
        await node.backplane.deliver()
        assert client.pushes() == []
    await settle()
    assert client.transport.messages[-2]["subscribe"]["offset"] == 1
    assert client.pushes() == [{"data": 2, "offset": 2}]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"channel": "closed:a"}, 103),
        ({"channel": "$private"}, 103),
        ({"channel": "unknown:a"}, 102),
        ({"channel": "x" * 256}, 107),
        ({"channel": "a", "token": "forged"}, 103),
        ({"channel": "a", "token": "old"}, 109),
    ],
)
async def test_subscribe_is_refused_with_its_error(
    node: FakeNode, request_: dict[str, Any], code: int
) -> None:
    """Every refusal has its code, and the connection stays as it was."""
    node.tokens.subscriptions["forged"] = TokenError("forged")
    node.tokens.subscriptions["old"] = TokenExpiredError("expired")
    client = await node.connected()
    reply = await client.ask(subscribe=request_)
    assert reply["error"]["code"] == code
    assert "temporary" not in reply["error"]
    assert traces(node, client) == {"clients": 1}


async def test_second_subscribe_is_an_error(node: FakeNode) -> None:
    """Subscribing twice is error 105 and changes nothing."""
    client = await node.connected()
    await client.ask(subscribe={"channel": "a"})
    assert (await client.ask(subscribe={"channel": "a"}))["error"]["code"] == 105
    await publish(node, "a", 1)
    await node.backplane.deliver()
    assert client.pushes() == [{"data": 1}]


async def test_number_of_channels_is_bounded(make_node: MakeNode) -> None:
    """Beyond the limit a subscribe is error 106, until one is left."""
    client = await make_node(channel_limit=2).connected()
    codes_ = [
        (await client.ask(subscribe={"channel": name})).get("error", {}).get("code")
        for name in ("a", "b", "c")
    ]
    assert codes_ == [None, None, 106]
    await client.ask(unsubscribe={"channel": "a"})
    assert "subscribe" in await client.ask(subscribe={"channel": "c"})


async def test_token_opens_a_private_channel(node: FakeNode) -> None:
    """A subscription token grants what no option does, with its info, data and end."""
    node.tokens.subscriptions["good"] = SubscriptionClaims(
        channel="$seen",
        user="ann",
        expire_at=int(node.services.wall_clock()) + 60,
        info=b"[1]",
        data=b"[2]",
    )
    client = await node.connected(node.trust("ann"))
    reply = await client.ask(subscribe={"channel": "$seen", "token": "good"})
    assert reply["subscribe"] == {"expires": True, "ttl": 60, "data": [2]}
    client.say(publish={"channel": "$seen", "data": 1})
    await settle()
    _, published = node.backplane.published[-1]
    assert published.info is not None
    assert published.info.chan_info == Raw(b"[1]")


@pytest.mark.parametrize(
    "claims",
    [
        SubscriptionClaims(channel="b", user="ann"),
        SubscriptionClaims(channel="a", user="bob"),
        SubscriptionClaims(channel="a", user="ann", client="another"),
    ],
)
async def test_valid_token_of_somebody_else_closes(
    node: FakeNode, claims: SubscriptionClaims
) -> None:
    """A token made for another channel, user or client is an attack or a bug: close 3500."""
    node.tokens.subscriptions["stolen"] = claims
    client = await node.connected(node.trust("ann"))
    client.say(subscribe={"channel": "a", "token": "stolen"})
    await settle()
    assert client.link.closes == [(3500, "invalid token")]
    assert traces(node, client) == {}


async def test_subscription_expires_with_its_token(node: FakeNode) -> None:
    """A subscription whose token ended is taken away after a grace; a refresh prolongs it."""
    client = await node.connected(node.trust("ann"))
    start = int(node.services.wall_clock())
    for channel, expire_at in (("a", start + 4), ("b", start + 6)):
        node.tokens.subscriptions[channel] = SubscriptionClaims(
            channel=channel, user="ann", expire_at=expire_at
        )
        await client.ask(subscribe={"channel": channel, "token": channel})
    node.tokens.subscriptions["b"] = SubscriptionClaims(
        channel="b", user="ann", expire_at=start + 1000
    )
    reply = await client.ask(sub_refresh={"channel": "b", "token": "b"})
    assert reply["sub_refresh"] == {"expires": True, "ttl": 1000}
    node.pass_time(13)
    client.send({})
    node.pass_time(15.75)
    assert client.pushes("unsubscribe") == []
    node.pass_time(0.75)
    assert client.pushes("unsubscribe") == [{"code": 2501, "reason": "expired"}]
    assert client.session.subscriptions.keys() == {"b"}
    assert (await client.ask(sub_refresh={"channel": "a", "token": "a"}))["error"]["code"] == 103


@pytest.mark.parametrize("is_expired", [True, False], ids=["token expired", "end has come"])
async def test_a_late_refresh_of_a_subscription_lets_the_client_come_back(
    node: FakeNode, *, is_expired: bool
) -> None:
    """Close 3006: by an error SDKs drop the subscription, and never ask for a token again."""
    client = await node.connected(node.trust("ann"))
    now = int(node.services.wall_clock())
    claims = SubscriptionClaims(channel="a", user="ann", expire_at=now + 60)
    node.tokens.subscriptions["first"] = claims
    await client.ask(subscribe={"channel": "a", "token": "first"})
    ended = structs.replace(claims, expire_at=now)
    node.tokens.subscriptions["late"] = TokenExpiredError("expired") if is_expired else ended
    client.say(sub_refresh={"channel": "a", "token": "late"})
    await settle()
    assert client.link.closes == [(3006, "subscription expired")]


async def test_a_subscription_that_is_over_is_not_made(node: FakeNode) -> None:
    """It would be taken away at once, and asked for again and again."""
    client = await node.connected(node.trust("ann"))
    now = int(node.services.wall_clock())
    node.tokens.subscriptions["over"] = SubscriptionClaims(
        channel="a", user="ann", expire_at=now - 5
    )
    reply = await client.ask(subscribe={"channel": "a", "token": "over"})
    assert reply["error"] == {"code": 110, "message": "expired"}
    assert client.session.subscriptions == {}


async def test_a_refresh_of_a_subscription_makes_other_info_known(node: FakeNode) -> None:
    """Its new token's `info` counts at once, in presence as well."""
    client = await node.connected(node.trust("ann"))
    for token, info in (("one", b"1"), ("two", b"2")):
        node.tokens.subscriptions[token] = SubscriptionClaims(
            channel="seen:a", user="ann", info=info
        )
    await client.ask(subscribe={"channel": "seen:a", "token": "one"})
    assert "sub_refresh" in await client.ask(sub_refresh={"channel": "seen:a", "token": "two"})
    (present,) = node.presence.present["seen:a"].values()
    assert present.chan_info == Raw(b"2")


async def test_subscription_that_is_being_made_does_not_expire(node: FakeNode) -> None:
    """A subscribe that takes longer than its token lives is answered before it is taken away."""
    client = await node.connected(node.trust("ann"))
    expire_at = int(node.services.wall_clock()) + 1
    for channel in ("a", "seen:b"):
        node.tokens.subscriptions[channel] = SubscriptionClaims(
            channel=channel, user="ann", expire_at=expire_at
        )
    await client.ask(subscribe={"channel": "a", "token": "a"})
    with node.presence.hold("add"):
        client.say(subscribe={"channel": "seen:b", "token": "seen:b"})
        await settle()
        node.pass_time(13)
        client.send({})
        node.pass_time(14)
        assert client.pushes("unsubscribe") == [{"code": 2501, "reason": "expired"}]
    await settle()
    assert "subscribe" in client.transport.messages[-1]
    node.pass_time(0.5)
    assert len(client.pushes("unsubscribe")) == 2
    await node.departures.drain()
    assert traces(node, client) == {"clients": 1}


async def test_unsubscribe_always_succeeds(node: FakeNode) -> None:
    """Leaving answers an empty result, for a channel that was never joined as well."""
    client = await node.connected()
    await client.ask(subscribe={"channel": "seen:a"})
    for channel in ("seen:a", "seen:a", "unknown:x"):
        reply = await client.ask(unsubscribe={"channel": channel})
        assert reply["unsubscribe"] == {}
    await node.departures.drain()
    assert traces(node, client) == {"clients": 1}


# --- presence, joins and leaves ---------------------------------------------------------------


async def test_presence_is_entered_before_the_reply(node: FakeNode) -> None:
    """A client that asks right after its subscribe finds itself, empty values written out."""
    client = await node.connected()
    client.say(subscribe={"channel": "seen:a"})
    reply = await client.ask(presence={"channel": "seen:a"})
    client_id = client.session.client_id
    assert reply["presence"] == {"presence": {client_id: {"user": "", "client": client_id}}}
    reply = await client.ask(presence_stats={"channel": "seen:a"})
    assert reply["presence_stats"] == {"num_clients": 1, "num_users": 1}


async def test_join_follows_the_reply_and_leave_the_end(node: FakeNode) -> None:
    """A join is announced after the subscribe was answered, a leave when the client is gone."""
    client = await node.connected()
    with node.presence.hold("add"):
        client.say(subscribe={"channel": "seen:a"})
        await settle()
        assert ("announce JOIN", "seen:a") not in node.backplane.calls
    await settle()
    await node.backplane.deliver()
    assert [next(iter(each)) for each in client.unread()] == ["id", "id", "push"]
    client.session.ended()
    await node.departures.drain()
    assert [call for call, _ in node.backplane.calls if call.startswith("announce")] == [
        "announce JOIN",
        "announce LEAVE",
    ]
    assert traces(node, client) == {}


async def test_join_that_cannot_be_announced_costs_nothing(node: FakeNode) -> None:
    """A join is told at most once: the subscription stands without it."""
    node.backplane.failing["announce JOIN"] = BackplaneUnavailableError("no answer")
    client = await node.connected()
    assert (await client.ask(subscribe={"channel": "seen:a"}))["subscribe"] == {}
    assert "ping" in await client.ask(ping={})
    assert client.link.closes == []


@pytest.mark.parametrize(
    ("method", "channel", "code"),
    [
        ("presence", "a", 108),
        ("presence_stats", "a", 108),
        ("presence", "unknown:a", 102),
        ("history", "a", 108),
        ("history", "unknown:a", 102),
        ("publish", "closed:a", 103),
        ("publish", "unknown:a", 102),
    ],
)
async def test_what_a_channel_does_not_offer_is_an_error(
    node: FakeNode, method: str, channel: str, code: int
) -> None:
    """Absent presence or history is 108, not 103; an unknown namespace 102."""
    client = await node.connected()
    request = {"channel": channel, "data": 1} if method == "publish" else {"channel": channel}
    assert (await client.ask(**{method: request}))["error"]["code"] == code


# --- publish and history ----------------------------------------------------------------------


async def test_publication_names_its_client(node: FakeNode) -> None:
    """Others see who published."""
    client = await node.connected(node.trust("ann", info=b'{"name":"Ann"}'))
    assert (await client.ask(publish={"channel": "a", "data": {"x": 1}}))["publish"] == {}
    channel, published = node.backplane.published[-1]
    assert (channel, published.data) == ("a", Raw(b'{"x": 1}'))
    assert published.info == ClientInfo(
        user="ann", client=client.session.client_id, conn_info=Raw(b'{"name":"Ann"}')
    )


async def test_publish_without_data_is_an_error(node: FakeNode) -> None:
    """`data` is required; null is data."""
    client = await node.connected()
    assert (await client.ask(publish={"channel": "a"}))["error"]["code"] == 107
    assert "publish" in await client.ask(publish={"channel": "a", "data": None})


async def test_own_publication_comes_before_its_reply(node: FakeNode) -> None:
    """A subscriber that publishes sees its publication, then the reply."""
    client = await node.connected()
    await client.ask(subscribe={"channel": "a"})
    client.unread()
    client.say(publish={"channel": "a", "data": 1})
    await settle()
    assert client.unread() == []
    await node.backplane.deliver()
    assert [next(reversed(each)) for each in client.unread()] == ["push", "publish"]


async def test_own_publication_is_not_waited_for_when_more_is_to_do(node: FakeNode) -> None:
    """The next command of a client ends the wait: throughput goes before order."""
    client = await node.connected()
    await client.ask(subscribe={"channel": "a"})
    client.unread()
    client.say(publish={"channel": "a", "data": 1})
    await settle()
    client.say(ping={})
    await settle()
    assert [next(reversed(each)) for each in client.unread()] == ["publish", "ping"]
    await node.backplane.deliver()
    assert client.pushes()[0]["data"] == 1


async def test_own_publication_is_not_waited_for_for_long(node: FakeNode) -> None:
    """A lagging inbox delays the reply by a moment only."""
    client = await node.connected()
    await client.ask(subscribe={"channel": "a"})
    client.unread()
    client.say(publish={"channel": "a", "data": 1})
    async with asyncio.timeout(NEVER_S):
        while not client.unread():
            await asyncio.sleep(0.005)
    await node.backplane.deliver()
    assert len(client.pushes()) == 1


@pytest.mark.parametrize("limit", [-1, 3, 1_000_000])
async def test_history_is_read_in_pages_of_at_most_so_many(make_node: MakeNode, limit: int) -> None:
    """Whatever a client asks for, it gets no more than `history_max_publication_limit`."""
    node = make_node(history_max_publication_limit=2)
    await publish(node, "kept:a", *range(5))
    client = await node.connected()
    read: list[Any] = []
    since: dict[str, Any] = {"offset": 0, "epoch": "e1"}
    for size in (2, 2, 1):
        reply = await client.ask(history={"channel": "kept:a", "limit": limit, "since": since})
        page = reply["history"]["publications"]
        assert len(page) == size
        assert reply["history"]["offset"] == 5
        read += [each["data"] for each in page]
        since = {"offset": page[-1]["offset"], "epoch": "e1"}
    assert read == list(range(5))


async def test_history_is_read_page_by_page(node: FakeNode) -> None:
    """No limit tells the position, -1 brings all, `since` is excluded."""
    await publish(node, "kept:a", 1, 2, 3)
    client = await node.connected()

    async def read(**request: Any) -> Any:
        reply = await client.ask(history={"channel": "kept:a", **request})
        assert (reply["history"]["offset"], reply["history"]["epoch"]) == (3, "e1")
        return [each["data"] for each in reply["history"]["publications"]]

    assert await read() == []
    assert await read(limit=2) == [1, 2]
    assert await read(limit=-1) == [1, 2, 3]
    assert await read(limit=-1, reverse=True) == [3, 2, 1]
    assert await read(limit=-1, since={"offset": 2, "epoch": "e1"}) == [3]
    reply = await client.ask(history={"channel": "kept:a", "since": {"offset": 1, "epoch": "x"}})
    assert reply["error"]["code"] == 112


# --- commands that nothing answers yet --------------------------------------------------------


async def test_rpc_is_not_available(node: FakeNode) -> None:
    """A call to the backend is error 108."""
    client = await node.connected()
    assert (await client.ask(rpc={"method": "x"}))["error"]["code"] == 108


async def test_send_is_not_available(node: FakeNode) -> None:
    """A message for the backend has no reply, so it closes with 3508."""
    client = await node.connected()
    client.send({"send": {"data": 1}})
    await settle()
    assert client.link.code == 3508


# --- failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("store", "failing", "command"),
    [
        ("backplane", "subscribe", {"subscribe": {"channel": "both:a"}}),
        ("presence", "add", {"subscribe": {"channel": "both:a"}}),
        ("backplane", "publish", {"publish": {"channel": "a", "data": 1}}),
        ("backplane", "history", {"history": {"channel": "kept:a"}}),
        ("presence", "get", {"presence": {"channel": "seen:a"}}),
        ("presence", "stats", {"presence_stats": {"channel": "seen:a"}}),
    ],
)
async def test_failure_of_the_store_is_a_temporary_error(
    node: FakeNode, store: str, failing: str, command: dict[str, Any]
) -> None:
    """Whatever the store does not do is error 100, to be tried again; nothing is left of it."""
    client = await node.connected()
    fake = node.backplane if store == "backplane" else node.presence
    fake.failing[failing] = BackplaneUnavailableError("no answer")
    reply = await client.ask(**command)
    assert reply["error"] == {"code": 100, "message": "internal server error", "temporary": True}
    fake.failing.clear()
    await node.departures.drain()
    assert traces(node, client) == {"clients": 1}
    retried = await client.ask(**command)
    assert "error" not in retried


async def test_who_never_became_present_has_no_departure(node: FakeNode) -> None:
    """Clients that come and go through an outage leave nothing to be told of them after it."""
    client = await node.connected()
    node.backplane.failing["subscribe"] = BackplaneUnavailableError("no answer")
    node.presence.failing["remove"] = BackplaneUnavailableError("no answer")
    for _ in range(3):
        reply = await client.ask(subscribe={"channel": "seen:a"})
        assert reply["error"]["code"] == 100
    assert len(node.departures) == 0


async def test_nobody_becomes_present_while_too_many_departures_wait(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the store does not take departures, subscribes with presence are to be repeated."""
    monkeypatch.setattr(departures_module, "MAX_PENDING", 2)
    client = await node.connected()
    node.presence.failing["add"] = node.presence.failing["remove"] = BackplaneUnavailableError("-")
    for channel in ("seen:a", "seen:b", "seen:c"):
        reply = await client.ask(subscribe={"channel": channel})
        assert reply["error"] == {
            "code": 100,
            "message": "internal server error",
            "temporary": True,
        }
    assert len(node.departures) == 2
    assert node.backplane.calls.count(("subscribe", "seen:c")) == 0
    assert "error" not in await client.ask(subscribe={"channel": "a"})
    node.presence.failing.clear()
    await node.departures.drain()
    assert "error" not in await client.ask(subscribe={"channel": "seen:c"})


async def test_a_bug_costs_one_client_its_connection(
    node: FakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected exception closes with 3004, is logged, and harms nobody else."""
    node.backplane.failing["publish"] = ZeroDivisionError()
    client, other = await node.connected(), await node.connected()
    client.say(publish={"channel": "a", "data": 1})
    await settle()
    assert client.link.closes == [(3004, "internal server error")]
    assert "unexpected error" in caplog.text
    assert "ping" in await other.ask(ping={})


async def test_a_cancellation_that_nobody_asked_for_costs_one_client_its_connection(
    node: FakeNode,
) -> None:
    """A future that somebody else cancelled leaves no client waiting for its answers for ever."""
    node.backplane.failing["publish"] = asyncio.CancelledError()
    with counted_failures() as counts:
        client = await node.connected()
        client.say(publish={"channel": "a", "data": 1})
        await settle()
    assert client.link.closes == [(3004, "internal server error")]
    assert counts.errors == {"session": 1}


@pytest.mark.parametrize(
    ("store", "method"), [("backplane", "subscribe"), ("presence", "add"), ("backplane", "JOIN")]
)
@pytest.mark.parametrize("ends", ["by us", "by the client"])
async def test_close_during_a_subscribe_leaves_nothing_behind(
    node: FakeNode, store: str, method: str, ends: str
) -> None:
    """Whenever a client goes while its subscribe is on its way, no trace of it stays."""
    client = await node.connected()
    fake = node.backplane if store == "backplane" else node.presence
    with fake.hold("announce JOIN" if method == "JOIN" else method):
        client.say(subscribe={"channel": "both:a"})
        await settle()
        if ends == "by us":
            client.session.close(codes.SHUTDOWN)
        else:
            client.session.ended()
        await settle()
    await settle()
    await node.departures.drain()
    assert traces(node, client) == {}
    assert client.session.state is State.CLOSED


async def test_too_much_during_a_subscribe_is_a_temporary_error(node: FakeNode) -> None:
    """When more is published than can be kept for a joiner, its subscribe is to be repeated."""
    other = await node.connected()
    await other.ask(subscribe={"channel": "a"})
    client = await node.connected()
    with node.backplane.hold("subscribe"):
        client.say(subscribe={"channel": "a"})
        await settle()
        await publish(node, "a", *range(1100))
        await node.backplane.deliver()
        await settle(100)
    await settle()
    error = client.transport.messages[-1]["error"]
    assert (error["code"], error["temporary"]) == (100, True)
    assert "subscribe" in await client.ask(subscribe={"channel": "a"})


async def test_lost_position_makes_the_client_subscribe_again(node: FakeNode) -> None:
    """A hole in a client's stream is told as unsubscribe 2500; it comes back and recovers."""
    client = await node.connected()
    await client.ask(subscribe={"channel": "kept:a"})
    await publish(node, "kept:a", 1, 2)
    del node.backplane.inbox[0]
    await node.backplane.deliver()
    assert client.pushes("unsubscribe") == [{"code": 2500, "reason": "insufficient state"}]
    assert client.pushes() == []
    reply = await client.ask(subscribe={"channel": "kept:a", "recover": True, "epoch": "e1"})
    assert [each["offset"] for each in reply["subscribe"]["publications"]] == [1, 2]


async def test_lost_position_of_a_server_side_subscription_reconnects(node: FakeNode) -> None:
    """The client cannot make that subscription itself: it is closed with 3010 and comes back."""
    client = await node.connected(node.trust("ann", channels=("kept:a",)))
    await publish(node, "kept:a", 1, 2)
    del node.backplane.inbox[0]
    await node.backplane.deliver()
    assert client.link.closes == [(3010, "insufficient state")]


# --- bounds -----------------------------------------------------------------------------------


async def test_client_that_asks_faster_than_it_is_answered_is_not_read(node: FakeNode) -> None:
    """Beyond the queue's bound reading stops, and goes on when half of it is done."""
    client = await node.connected()
    was_read = []
    with node.backplane.hold("publish"):
        for _ in range(MAX_WAITING + 2):
            was_read.append(client.link.is_reading)
            client.say(publish={"channel": "a", "data": 1})
            await asyncio.sleep(0)
        was_read.append(client.link.is_reading)
    assert was_read == [True] * (MAX_WAITING + 2) + [False]
    await settle(2000)
    assert client.link.is_reading
    replies = [each["id"] for each in client.transport.messages]
    assert replies == list(range(1, MAX_WAITING + 4))


async def test_client_that_does_not_read_its_replies_is_slow(make_node: MakeNode) -> None:
    """Replies are bounded as everything else that is written."""
    client = await make_node(queue_max_size=2000).connected()
    client.transport.stall()
    for _ in range(300):
        client.say(ping={})
        await settle(3)
    assert client.link.closes == [(3008, "slow")]
    assert client.transport.buffered <= 2000


async def test_commands_behind_a_close_are_dropped(node: FakeNode) -> None:
    """What a client sent before it was closed is not executed after it."""
    client = await node.connected()
    client.send({"id": 2, "connect": {}}, {"id": 3, "publish": {"channel": "a", "data": 1}})
    await settle()
    client.send({"id": 4, "publish": {"channel": "a", "data": 1}})
    await settle()
    assert node.backplane.published == []
    assert client.link.code == 3501


async def test_joins_of_others_are_seen(node: FakeNode) -> None:
    """Who is subscribed sees who comes and who goes."""
    first, second = await node.connected(), await node.connected()
    await first.ask(subscribe={"channel": "seen:a"})
    await second.ask(subscribe={"channel": "seen:a"})
    await node.backplane.deliver()
    second.session.ended()
    await node.departures.drain()
    await node.backplane.deliver()
    assert [each["info"]["client"] for each in first.pushes("join")] == [
        first.session.client_id,
        second.session.client_id,
    ]
    assert [each["info"]["client"] for each in first.pushes("leave")] == [second.session.client_id]
    assert {entry.kind for entry in node.backplane.inbox} <= {EntryKind.LEAVE}
