"""Connect, refresh and the deadlines of a connection, through a whole session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from realtime_node.cluster.backplane import DisconnectUser
from realtime_node.errors import BackplaneUnavailableError, TokenError, TokenExpiredError
from realtime_node.session.claims import ConnectionClaims, ServerSideSubscription
from realtime_node.session.lifecycle import State
from realtime_node.telemetry.metrics import total
from tests.support.fakes import UNIX_START, FakeClient, FakeNode, publication, settle

if TYPE_CHECKING:
    from tests.unit.session.conftest import MakeNode


def demand_refused(node: FakeNode, client: FakeClient) -> None:
    """A client whose connect was answered with an error is closed after a moment, unheard."""
    client.unread()
    client.send({"id": 99, "connect": {}}, {"id": 100, "subscribe": {"channel": "a"}})
    assert client.session.state is State.REFUSED
    assert (node.registry.num_clients, node.registry.num_users) == (0, 0)
    assert total(node.metrics.session.connects) == 0
    assert (client.link.closes, client.unread()) == ([], [])
    node.pass_time(1.5)
    assert client.link.closes == [(3000, "connection closed")]
    assert node.registry.num_open == 0


def now(node: FakeNode) -> float:
    """What the wall clock shows."""
    return node.services.wall_clock()


# --- letting in -------------------------------------------------------------------------------


async def test_connect_tells_identity_and_ping_contract(node: FakeNode) -> None:
    """The reply names the client, the version and the pings; nothing else that is not asked for."""
    client = node.client()
    reply = await client.ask(connect={})
    assert reply == {
        "id": 1,
        "connect": {
            "client": client.session.client_id,
            "version": "test",
            "ping": 25,
            "pong": True,
            "node": "node-1",
        },
    }
    assert client.session.state is State.CONNECTED
    assert (node.registry.num_clients, node.registry.num_users) == (1, 1)


async def test_server_time_is_told_where_it_is_set(make_node: MakeNode) -> None:
    """`connect_include_server_time` adds Unix milliseconds."""
    node = make_node(connect_include_server_time=True)
    reply = await node.client().ask(connect={})
    assert reply["connect"]["time"] == int(now(node) * 1000)


async def test_first_id_may_be_any(node: FakeNode) -> None:
    """An SDK goes on counting over its reconnects."""
    client = node.client()
    client.send({"id": 77, "connect": {}})
    await settle()
    assert client.unread()[0]["id"] == 77


async def test_overloaded_node_asks_to_come_back(node: FakeNode) -> None:
    """Error 111, temporary: an SDK backs off from it; nothing was done for the client."""
    node.is_shedding = True
    client = node.client()
    reply = await client.ask(connect={})
    assert reply["error"] == {"code": 111, "message": "too many requests", "temporary": True}
    demand_refused(node, client)
    node.is_shedding = False
    assert "connect" in await node.client().ask(connect={})


async def test_pipelined_commands_are_answered_in_order(node: FakeNode) -> None:
    """An SDK sends connect and its subscribes in one frame; replies keep that order."""
    client = node.client()
    client.send(
        {"id": 1, "connect": {}},
        {"id": 2, "subscribe": {"channel": "seen:a"}},
        {"id": 3, "subscribe": {"channel": "closed:a"}},
        {"id": 4, "ping": {}},
    )
    await settle()
    replies = [each for each in client.unread() if "id" in each]
    assert [each["id"] for each in replies] == [1, 2, 3, 4]
    assert [next(key for key in each if key != "id") for each in replies] == [
        "connect",
        "subscribe",
        "error",
        "ping",
    ]


async def test_slow_answer_holds_the_later_ones_back(node: FakeNode) -> None:
    """A command that waits for the store is not overtaken by the next one."""
    client = await node.connected()
    with node.backplane.hold("publish"):
        client.say(publish={"channel": "a", "data": 1})
        client.say(ping={})
        await settle()
        assert [each["id"] for each in client.transport.messages] == [1]
    await settle()
    assert [each["id"] for each in client.transport.messages] == [1, 2, 3]


@pytest.mark.parametrize(
    "commands",
    [
        [{"id": 1, "subscribe": {"channel": "a"}}],
        [{"id": 1, "ping": {}}],
        [{"send": {"data": 1}}],
        [{}],
        [{"id": 1}],
        [{"id": 1, "connect": {}}, {"id": 2, "connect": {}}],
        [{"id": 1, "connect": {}}, {"id": 2}],
        [{"id": 1, "connect": {}}, {"id": 2, "unknown": {}}],
        [{"id": 1, "connect": {}}, {"subscribe": {"channel": "a"}}],
        [{"id": 1, "connect": {}}, {}],
        [{"id": 1, "connect": {}}, {"id": 2, "subscribe": {}}],
        [{"id": 1, "connect": {}}, {"id": 2, "refresh": {}}],
        [{"id": 1, "connect": {}}, {"id": 2, "sub_refresh": {"channel": "a"}}],
    ],
    ids=str,
)
async def test_what_is_out_of_turn_is_a_bad_request(
    node: FakeNode, commands: list[dict[str, Any]]
) -> None:
    """A client that does not speak the protocol is closed with 3501, for good."""
    client = node.client()
    for command in commands:
        client.send(command)
        await settle()
    assert client.link.closes == [(3501, "bad request")]
    assert client.session.state is State.CLOSED
    assert node.registry.num_clients == 0


async def test_token_is_required_where_no_setting_says_otherwise(make_node: MakeNode) -> None:
    """Without a token only `insecure` and anonymous access let a client in."""
    strict = make_node(allow_anonymous_connect_without_token=False)
    client = strict.client()
    client.say(connect={})
    await settle()
    assert client.link.code == 3501
    insecure = make_node(allow_anonymous_connect_without_token=False, insecure=True)
    assert "connect" in await insecure.client().ask(connect={})


@pytest.mark.parametrize("insecure", [False, True])
async def test_bad_token_closes_for_good(make_node: MakeNode, insecure: bool) -> None:
    """A token that is sent is verified, in insecure mode too."""
    node = make_node(insecure=insecure)
    node.tokens.connections["forged"] = TokenError("the signature does not match")
    client = node.client()
    client.say(connect={"token": "forged"})
    await settle()
    assert client.link.closes == [(3500, "invalid token")]


async def test_a_client_with_an_expired_token_is_closed(node: FakeNode) -> None:
    """Error 109 lets it come back with another token; what it sent ahead is dropped."""
    node.tokens.connections["old"] = TokenExpiredError("expired")
    client = node.client()
    client.send({"id": 1, "connect": {"token": "old"}}, {"id": 2, "subscribe": {"channel": "a"}})
    await settle()
    assert client.unread() == [{"id": 1, "error": {"code": 109, "message": "token expired"}}]
    demand_refused(node, client)
    assert node.hub.num_channels == 0


async def test_a_token_of_a_connection_that_is_over_lets_nobody_in(node: FakeNode) -> None:
    """A client let in for a moment would begin its back-off anew each time, and come for ever."""
    client = node.client()
    reply = await client.ask(connect={"token": node.trust("ann", expire_at=now(node) - 5)})
    assert reply["error"] == {"code": 110, "message": "expired"}
    demand_refused(node, client)


async def test_a_refresh_by_a_connection_that_is_over_is_refused(node: FakeNode) -> None:
    """The token is good, but what it prolongs to is past."""
    client = await node.connected(node.trust("ann", expire_at=now(node) + 60))
    expires_at = client.session.expires_at
    token = node.trust("ann", expire_at=now(node) - 5)
    assert (await client.ask(refresh={"token": token}))["error"]["code"] == 110
    assert client.session.expires_at == expires_at
    node.tokens.connections["old"] = TokenExpiredError("expired")
    client.say(refresh={"token": "old"})
    await settle()
    assert client.link.closes == [(3005, "connection expired")]


async def test_a_refresh_with_other_channels_brings_the_client_back(node: FakeNode) -> None:
    """What its new token grants, and what it does not any more, counts at once."""
    client = await node.connected(node.trust("ann", channels=("a", "b")))
    same = node.trust("ann", channels=("b", "a"))
    assert "refresh" in await client.ask(refresh={"token": same})
    client.say(refresh={"token": node.trust("ann", channels=("a",))})
    await settle()
    assert client.link.closes == [(3010, "insufficient state")]


async def test_a_refresh_with_other_info_makes_it_known_at_once(node: FakeNode) -> None:
    """In presence, and in what the client publishes."""
    client = await node.connected(node.trust("ann", info=b'{"name":"Ann"}'))
    await client.ask(subscribe={"channel": "seen:a"})
    await client.ask(refresh={"token": node.trust("ann", info=b'{"name":"Anna"}')})
    (present,) = node.presence.present["seen:a"].values()
    assert present.conn_info == Raw(b'{"name":"Anna"}')
    assert client.session.info().conn_info == Raw(b'{"name":"Anna"}')


async def test_a_refresh_with_other_info_of_a_channel_makes_it_known_at_once(
    node: FakeNode,
) -> None:
    """The token says what its client is known by in a channel; one that it only names is left."""

    def sub(info: bytes) -> dict[str, ServerSideSubscription]:
        return {"seen:b": ServerSideSubscription(info=info)}

    client = await node.connected(node.trust("ann", channels=("seen:a",), subs=sub(b"1")))
    client.session.subscriptions["seen:a"].chan_info = Raw(b"7")
    await client.ask(refresh={"token": node.trust("ann", channels=("seen:a",), subs=sub(b"2"))})
    assert [client.session.info(name).chan_info for name in ("seen:a", "seen:b")] == [
        Raw(b"7"),
        Raw(b"2"),
    ]
    (present,) = node.presence.present["seen:b"].values()
    assert present.chan_info == Raw(b"2")


async def test_other_info_waits_while_the_store_is_away(node: FakeNode) -> None:
    """The refresh fails as a whole, and the client tries it again."""
    client = await node.connected(node.trust("ann", info=b"1"))
    await client.ask(subscribe={"channel": "seen:a"})
    node.presence.failing["add"] = BackplaneUnavailableError("no answer")
    reply = await client.ask(refresh={"token": node.trust("ann", info=b"2")})
    assert reply["error"]["temporary"]
    assert client.session.info().conn_info == Raw(b"1")


async def test_a_call_that_disconnects_reaches_who_is_being_let_in(node: FakeNode) -> None:
    """While its subscriptions are made the client is closed; so is one whose claim takes long."""
    client = node.client()
    client.say(connect={"token": node.trust("ann", channels=("seen:a",))})
    with node.presence.hold("add"):
        await settle()
        await node.backplane.control(DisconnectUser(user="ann", code=4100, reason="out"))
        await node.backplane.deliver()
        await settle()
    await settle()
    assert client.link.closes == [(4100, "out")]
    assert (node.registry.num_clients, node.registry.connections_of("ann")) == (0, 0)
    assert "connect" in await node.client().ask(connect={"token": node.trust("ann")})


async def test_server_side_subscriptions_are_made_together(node: FakeNode) -> None:
    """A client with many waits for the store once, and is told of them in the token's order."""
    channels = tuple(f"seen:{number}" for number in range(20))
    client = node.client()
    client.say(connect={"token": node.trust("ann", channels=channels)})
    with node.presence.hold("add"), node.backplane.hold("subscribe"):
        await settle()
        assert [call for call in node.backplane.calls if call[0] == "subscribe"] == [
            ("subscribe", channel) for channel in channels
        ]
        assert node.registry.num_clients == 0
    with node.presence.hold("add"):
        await settle()
        assert [call for call in node.presence.calls if call[0] == "add"] == [
            ("add", channel) for channel in channels
        ]
    with node.backplane.hold("announce JOIN"):
        await settle()
        (reply,) = [each for each in client.unread() if "id" in each]
        assert tuple(reply["connect"]["subs"]) == channels
        assert node.registry.num_clients == 1
        assert [call for call in node.backplane.calls if call[0] == "announce JOIN"] == [
            ("announce JOIN", channel) for channel in channels
        ]


async def test_anonymous_tokens_can_be_disallowed(make_node: MakeNode) -> None:
    """A token without a user is refused where it is set so, and accepted elsewhere."""
    for disallowed in (False, True):
        node = make_node(disallow_anonymous_connection_tokens=disallowed)
        client = node.client()
        client.say(connect={"token": node.trust("")})
        await settle()
        assert client.link.code == (3507 if disallowed else None)


async def test_user_connection_limit_closes_the_newcomer(make_node: MakeNode) -> None:
    """A user's connections beyond the limit are closed; other users and anonymous ones are not."""
    node = make_node(user_connection_limit=2)
    ann = node.trust("ann")
    first, second, third = [node.client() for _ in range(3)]
    for client in (first, second, third):
        client.say(connect={"token": ann})
    await settle()
    assert [client.link.code for client in (first, second, third)] == [None, None, 3504]
    first.session.ended()
    assert "connect" in await node.client().ask(connect={"token": ann})
    for _ in range(3):
        assert "connect" in await node.client().ask(connect={})


# --- server-side subscriptions ----------------------------------------------------------------


async def test_token_brings_server_side_subscriptions(node: FakeNode) -> None:
    """Channels of the token are subscribed and told in the connect reply, in place of a push."""
    token = node.trust(
        "ann",
        channels=("kept:a",),
        subs={"seen:b": ServerSideSubscription(info=b'{"b":1}', data=b"[1]")},
    )
    client = node.client()
    reply = await client.ask(connect={"token": token})
    assert reply["connect"]["subs"] == {
        "kept:a": {"recoverable": True, "epoch": "e1", "positioned": True},
        "seen:b": {"data": [1]},
    }
    info = {"user": "ann", "client": client.session.client_id, "chan_info": {"b": 1}}
    await node.backplane.deliver()
    assert client.pushes("join") == [{"info": info}]
    assert node.presence.present["seen:b"].keys() == {client.session.client_id}


async def test_returning_client_recovers_its_server_side_subscriptions(node: FakeNode) -> None:
    """Positions in the connect request bring what was missed since."""
    rule = node.services.rules.rule("kept:a")
    for number in (1, 2, 3):
        await node.backplane.publish("kept:a", publication(number), rule.stream)
    reply = await node.client().ask(
        connect={
            "token": node.trust("ann", channels=("kept:a",)),
            "subs": {"kept:a": {"recover": True, "epoch": "e1", "offset": 1}},
        }
    )
    sub = reply["connect"]["subs"]["kept:a"]
    assert [each["data"] for each in sub["publications"]] == [2, 3]
    assert sub["recovered"] is True


async def test_returning_client_keeps_what_it_may_have_by_itself(node: FakeNode) -> None:
    """Server-side subscriptions made by an API call come back where clients may subscribe."""
    reply = await node.client().ask(
        connect={"subs": {"a": {}, "closed:a": {}, "unknown:a": {}, "$private": {}}}
    )
    assert reply["connect"]["subs"].keys() == {"a"}


@pytest.mark.parametrize("failing", ["subscribe", "add"])
async def test_failed_connect_leaves_nothing_behind(node: FakeNode, failing: str) -> None:
    """When one server-side subscription fails, connect fails and the others are undone."""
    token = node.trust("ann", channels=("seen:a", "seen:b"))
    client = node.client()
    original = node.backplane.subscribe if failing == "subscribe" else node.presence.add

    async def fails_for_b(channel: str, *args: Any, **kwargs: Any) -> Any:
        if channel == "seen:b":
            raise BackplaneUnavailableError("no answer")
        return await original(channel, *args, **kwargs)

    setattr(node.backplane if failing == "subscribe" else node.presence, failing, fails_for_b)
    reply = await client.ask(connect={"token": token})
    assert reply["error"] == {"code": 100, "message": "internal server error", "temporary": True}
    await node.departures.drain()
    demand_refused(node, client)
    assert client.session.subscriptions == {}
    assert node.hub.num_channels == 0
    assert not any(node.presence.present.values())


async def test_close_during_connect_leaves_nothing_behind(node: FakeNode) -> None:
    """A client that goes while its second subscription is made leaves no trace of the first."""
    token = node.trust("ann", channels=("seen:a", "seen:b"))
    client = node.client()
    client.say(connect={"token": token})
    with node.presence.hold("add", "seen:b"):
        await settle()
        assert node.presence.present.keys() == {"seen:a", "seen:b"}
        client.session.ended()
        await settle()
    await node.departures.drain()
    assert not any(node.presence.present.values())
    assert (node.hub.num_channels, node.registry.num_clients) == (0, 0)
    assert ("announce LEAVE", "seen:a") not in node.backplane.calls


async def test_too_many_server_side_subscriptions_close(make_node: MakeNode) -> None:
    """A token with more channels than a client may have is refused as a whole."""
    node = make_node(channel_limit=2)
    client = node.client()
    client.say(connect={"token": node.trust("ann", channels=("a", "b", "c"))})
    await settle()
    assert client.link.code == 3505
    assert node.hub.num_channels == 0


# --- staying ----------------------------------------------------------------------------------


async def test_stale_client_is_closed(node: FakeNode) -> None:
    """A WebSocket without a connect is closed after its time."""
    client = node.client()
    node.pass_time(9.5)
    assert client.link.closes == []
    node.pass_time(1)
    assert client.link.closes == [(3502, "stale")]


async def test_pings_are_sent_and_pongs_expected(node: FakeNode) -> None:
    """The client is pinged after half an interval, then every interval; without a pong it goes."""
    client = await node.connected()
    client.unread()
    node.pass_time(12.25)
    assert client.unread() == []
    node.pass_time(0.5)
    assert client.unread() == [{}]
    client.send({})
    node.pass_time(25)
    assert client.unread() == [{}]
    node.pass_time(7.5)
    assert client.link.closes == []
    node.pass_time(1)
    assert client.link.closes == [(3012, "no pong")]


async def test_second_pong_is_unsolicited(node: FakeNode) -> None:
    """One ping allows one pong."""
    client = await node.connected()
    node.pass_time(13)
    client.send({})
    assert client.link.closes == []
    client.send({})
    assert client.link.code == 3501


async def test_connection_expires_with_its_token(node: FakeNode) -> None:
    """An expiring token is told as a time to live, and ends the connection after a grace."""
    client = node.client()
    reply = await client.ask(connect={"token": node.trust("ann", expire_at=int(now(node)) + 60)})
    assert (reply["connect"]["expires"], reply["connect"]["ttl"]) == (True, 60)
    for _ in range(21):
        node.pass_time(4)
        if client.session.deadlines.pong != float("inf"):
            client.send({})
    assert client.link.closes == []
    node.pass_time(1.5)
    assert client.link.closes == [(3005, "connection expired")]


async def test_refresh_prolongs_the_connection(node: FakeNode) -> None:
    """A new token of the same user sets the new end, or none."""
    client = node.client()
    await client.ask(connect={"token": node.trust("ann", expire_at=int(now(node)) + 60)})
    reply = await client.ask(refresh={"token": node.trust("ann", expire_at=int(now(node)) + 600)})
    assert reply["refresh"] == {
        "client": client.session.client_id,
        "version": "test",
        "expires": True,
        "ttl": 600,
    }
    reply = await client.ask(refresh={"token": node.trust("ann")})
    assert "expires" not in reply["refresh"]
    assert client.session.deadlines.expiry == float("inf")


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        (ConnectionClaims(user="bob"), 3500),
        (TokenError("forged"), 3500),
        (TokenExpiredError("expired"), 3005),
    ],
)
async def test_refresh_with_a_wrong_token_closes(
    node: FakeNode, claims: ConnectionClaims | TokenError, code: int
) -> None:
    """Another user's token and a bad one end the client, an expired one lets it reconnect."""
    client = await node.connected(node.trust("ann"))
    node.tokens.connections["wrong"] = claims
    client.say(refresh={"token": "wrong"})
    await settle()
    assert client.link.code == code


async def test_nothing_expires_in_insecure_mode(make_node: MakeNode) -> None:
    """In insecure mode a token names a user and ends nothing, at connect or later."""
    node = make_node(insecure=True)
    token = node.trust("ann", expire_at=int(UNIX_START) + 2000)
    client = node.client()
    assert "expires" not in (await client.ask(connect={"token": token}))["connect"]
    assert "expires" not in (await client.ask(refresh={"token": token}))["refresh"]
    assert client.session.deadlines.expiry == float("inf")
