"""Sessions that outlive their connection, as one node and two of them keep them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from realtime_node.cluster.backplane import (
    DisconnectUser,
    SubscribeUser,
    SupersedeSession,
    UnsubscribeUser,
)
from realtime_node.cluster.session_store import KeptGrant
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.protocol import codes
from realtime_node.session import chore as chore_module
from realtime_node.session import keeper as keeper_module
from realtime_node.session.claims import SubscriptionClaims
from realtime_node.session.expiring import set_expiry
from realtime_node.session.resuming import Ending
from tests.support.fakes import UNIX_START, FakeClient, FakeNode, publication, settle

if TYPE_CHECKING:
    from tests.unit.session.conftest import MakeNode

DOWN = BackplaneUnavailableError("no answer")
SESSIONS: dict[str, Any] = {"session": {"enabled": True}}


@pytest.fixture
async def node(make_node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    """A node that gives sessions, and asks a store that failed again at once."""
    monkeypatch.setattr(chore_module, "RETRY_AFTER", 0)
    return make_node(**SESSIONS)


async def connected(
    node: FakeNode, session: object = "new", token: str = "", **request: Any
) -> tuple[FakeClient, dict[str, Any]]:
    """A client that asks for a session, and its connect's result."""
    client = node.client()
    if token:
        request["token"] = token
    reply = await client.ask(connect={"data": {"session": session}, **request})
    return client, reply["connect"]


def subscription_token(node: FakeNode, channel: str, **claims: Any) -> str:
    """A token that lets everybody subscribe to a channel."""
    token = f"token for {channel} {claims}"
    node.tokens.subscriptions[token] = SubscriptionClaims(channel=channel, **claims)
    return token


def announced(node: FakeNode) -> list[str]:
    """What was announced of who comes and goes."""
    return [f"{call} {channel}" for call, channel in node.backplane.calls if "announce" in call]


# --- asking ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("wish", [True, "", "new", "no such id"])
async def test_a_session_is_given_to_who_asks(node: FakeNode, wish: object) -> None:
    """The reply names it; what is no id of ours is the wish for a new one."""
    _, result = await connected(node, wish)
    assert result["data"].keys() == {"session", "resumed"}
    assert len(result["data"]["session"]) == 22
    assert result["data"]["resumed"] is False


@pytest.mark.parametrize("data", [None, {"a": 1}, {"session": None}, {"session": 7}, 3, "session"])
async def test_who_does_not_ask_has_none(node: FakeNode, data: object) -> None:
    """Other data means something to others; the store is not asked."""
    reply = await node.client().ask(connect={} if data is None else {"data": data})
    assert "data" not in reply["connect"]
    assert node.sessions.calls == []


async def test_a_node_without_the_feature_ignores_the_wish(make_node: MakeNode) -> None:
    """Where sessions are not enabled nobody is asked anything."""
    node = make_node()
    client, result = await connected(node)
    assert "data" not in result
    client.session.ended()
    await settle()
    assert node.sessions.calls == []


# --- coming back ----------------------------------------------------------------------------------


async def test_a_client_comes_back_as_itself(node: FakeNode) -> None:
    """On another node it has the same client id, and what it was known by without a token."""
    token = node.trust("ann", info=b'{"n":1}', expire_at=int(UNIX_START + 5000))
    client, first = await connected(node, token=token)
    client.session.ended()
    await node.keeper.drain()
    other = FakeNode(beside=node)
    back, second = await connected(other, first["data"]["session"], token=other.trust("ann"))
    assert second["client"] == first["client"]
    assert second["data"] == {"session": first["data"]["session"], "resumed": True}
    assert back.session.user == "ann"


async def test_without_a_token_it_is_known_as_before(node: FakeNode) -> None:
    """Nobody's info and end come from the record, since no token says anything newer."""
    client, first = await connected(node)
    client.session.conn_info = Raw(b'{"n":1}')
    set_expiry(client.session, UNIX_START + 5000)
    client.session.ended()
    await node.keeper.drain()
    back, second = await connected(node, first["data"]["session"])
    assert second["expires"]
    assert isinstance(back.session.conn_info, Raw)
    assert bytes(back.session.conn_info) == b'{"n":1}'


async def test_a_session_is_its_users(node: FakeNode) -> None:
    """Who brings somebody else's id gets a new session, and the other keeps its own."""
    client, first = await connected(node, token=node.trust("ann"))
    _, second = await connected(node, first["data"]["session"], token=node.trust("bob"))
    assert second["data"]["resumed"] is False
    assert second["data"]["session"] != first["data"]["session"]
    assert client.link.closes == []


async def test_after_its_window_a_session_is_gone(node: FakeNode) -> None:
    """Who comes back too late begins anew."""
    client, first = await connected(node)
    client.session.ended()
    await node.keeper.drain()
    node.pass_time(121)
    _, second = await connected(node, first["data"]["session"])
    assert second["data"]["resumed"] is False
    assert second["client"] != first["client"]


@pytest.mark.parametrize(
    ("code", "comes_back"), [(3001, True), (3012, True), (4001, True), (3500, False), (4501, False)]
)
async def test_a_close_for_good_ends_the_session(
    node: FakeNode, code: int, *, comes_back: bool
) -> None:
    """A code from which SDKs do not come back ends the session, another lets it wait."""
    client, first = await connected(node)
    client.session.close(codes.CloseCode(code, ""))
    await node.keeper.drain()
    _, second = await connected(node, first["data"]["session"])
    assert second["data"]["resumed"] is comes_back


# --- who has it -----------------------------------------------------------------------------------


async def test_a_session_has_one_connection(node: FakeNode) -> None:
    """Who takes a session over on the same node closes the connection that had it: 3503."""
    client, first = await connected(node)
    back, second = await connected(node, first["data"]["session"])
    assert client.link.code == 3503
    assert second["client"] == first["client"]
    assert node.registry.num_clients == 1
    await node.keeper.drain()
    again, third = await connected(node, first["data"]["session"])
    assert third["data"]["resumed"] is True
    assert (back.link.code, again.link.closes) == (3503, [])


async def test_a_limit_of_connections_does_not_count_the_one_taken_over(
    make_node: MakeNode,
) -> None:
    """A user with one connection may come back while the node still has the old one."""
    node = make_node(**SESSIONS, user_connection_limit=1)
    _, first = await connected(node, token=node.trust("ann"))
    back, _ = await connected(node, first["data"]["session"], token="token of ann")
    assert back.link.closes == []


async def test_the_node_of_the_old_connection_is_told(node: FakeNode) -> None:
    """It closes what has an older token, and nothing else."""
    client, first = await connected(node)
    other = FakeNode(beside=node)
    back, _ = await connected(other, first["data"]["session"])
    [(told, session, token)] = node.sessions.told + other.sessions.told
    assert (told, session) == (node.backplane.node_id, first["data"]["session"])
    for each in (node, other):
        each.registry.apply(SupersedeSession(session=session, token=token))
    assert (client.link.code, back.link.closes) == (3503, [])
    await node.keeper.drain()
    assert back.session.resumption is not None
    assert await other.sessions.is_owner(back.session.resumption.owner)


async def test_an_older_connection_publishes_nothing(node: FakeNode) -> None:
    """What it sends before it was told is refused by the store's token: 3503."""
    client, first = await connected(node)
    other = FakeNode(beside=node)
    await connected(other, first["data"]["session"])
    client.say(publish={"channel": "news", "data": 1})
    await settle()
    assert client.link.code == 3503
    assert node.backplane.published == []


async def test_an_older_connections_write_finds_out(node: FakeNode) -> None:
    """A record that is another's is not written, and the connection ends: 3503."""
    client, first = await connected(node)
    other = FakeNode(beside=node)
    back, _ = await connected(other, first["data"]["session"])
    set_expiry(client.session, UNIX_START + 5000)
    node.keeper.touch(client.session)
    await node.keeper.drain()
    assert client.link.code == 3503
    assert back.session.resumption is not None


async def test_who_was_overtaken_on_its_way_is_closed(node: FakeNode) -> None:
    """Of two connects that race on a node the later claim has the session."""
    _, first = await connected(node)
    session = first["data"]["session"]
    other = FakeNode(beside=node)
    slow, fast = other.client(), other.client()
    with other.sessions.hold("tell_superseded"):
        slow.say(connect={"data": {"session": session}})
        await settle()
        fast.say(connect={"data": {"session": session}})
        await settle()
    await settle()
    assert slow.link.code == 3503
    assert fast.link.closes == []
    assert [each for each in fast.transport.messages if "connect" in each]


# --- when the store is away -----------------------------------------------------------------------


async def test_without_the_store_the_client_tries_again(node: FakeNode) -> None:
    """The connect is answered with a temporary error; the session is there for the next one."""
    client, first = await connected(node)
    client.session.ended()
    await node.keeper.drain()
    node.sessions.failing["claim"] = DOWN
    trying = node.client()
    reply = await trying.ask(connect={"data": {"session": first["data"]["session"]}})
    assert reply["error"] == {"code": 100, "message": "internal server error", "temporary": True}
    del node.sessions.failing["claim"]
    await node.keeper.drain()
    _, second = await connected(node, first["data"]["session"])
    assert second["data"]["resumed"] is True


async def test_a_claim_without_an_answer_is_undone(node: FakeNode) -> None:
    """A client that went while its session was claimed leaves it for the next."""
    client, first = await connected(node)
    client.session.ended()
    await node.keeper.drain()
    going = node.client()
    with node.sessions.hold("claim"):
        going.say(connect={"data": {"session": first["data"]["session"]}})
        await settle()
        going.session.ended()
        await settle()
    await node.keeper.drain()
    node.pass_time(119)
    _, second = await connected(node, first["data"]["session"])
    assert second["data"]["resumed"] is True
    assert len(node.cluster.sessions.records) == 1


async def test_writes_outlast_an_outage(node: FakeNode) -> None:
    """What could not be written is, when the store is back; the newest state alone."""
    client, first = await connected(node)
    token = subscription_token(node, "closed:a")
    await client.ask(subscribe={"channel": "closed:a", "token": token})
    node.sessions.failing["release"] = DOWN
    client.session.ended()
    await settle(50)
    assert len(node.keeper) == 1
    node.sessions.failing.clear()
    await node.keeper.drain()
    record = node.cluster.sessions.records[first["data"]["session"]]
    assert record.ended_at is not None
    assert record.state.grants.keys() == {"closed:a"}


async def test_claims_to_be_undone_are_bounded(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that try again and again while the store is away do not pile up here."""
    monkeypatch.setattr(keeper_module, "MAX_UNDONE", 5)
    node.sessions.failing.update(claim=DOWN, release=DOWN)
    for _ in range(2):
        for _ in range(20):
            assert "error" in await node.client().ask(connect={"data": {"session": "new"}})
        assert len(node.keeper) <= 5
        node.sessions.failing.pop("release")
        await node.keeper.drain()
        assert len(node.keeper) == 0
        node.sessions.failing["release"] = DOWN
    node.sessions.failing.clear()


async def test_nothing_is_written_behind_the_end(node: FakeNode) -> None:
    """A client that is closed while its subscriptions end leaves a record that waits for it."""
    client, first = await connected(node)
    for channel in ("closed:a", "closed:b", "closed:c"):
        token = subscription_token(node, channel)
        await client.ask(subscribe={"channel": channel, "token": token})
    await node.keeper.drain()
    node.slow_clients.limits = replace(node.slow_clients.limits, client_bytes=1)
    client.transport.stall()
    client.outbound.send(b"x" * 2000)
    node.registry.apply(UnsubscribeUser(user="", channel=""))
    await settle()
    await node.keeper.drain()
    assert client.link.code == codes.SLOW.code
    record = node.cluster.sessions.records[first["data"]["session"]]
    assert record.ended_at is not None


async def test_changes_of_a_pass_are_one_write(node: FakeNode) -> None:
    """Many grants at once are written once."""
    client, _ = await connected(node)
    tokens = {f"closed:{n}": subscription_token(node, f"closed:{n}") for n in range(10)}
    client.send(
        *(
            {"id": 10 + n, "subscribe": {"channel": channel, "token": token}}
            for n, (channel, token) in enumerate(tokens.items())
        )
    )
    await settle(100)
    await node.keeper.drain()
    writes = [call for call, _ in node.sessions.calls if call == "write"]
    assert 1 <= len(writes) <= 3


async def test_what_is_written_is_bounded(make_node: MakeNode) -> None:
    """Grants that have no room are left out, counted, and asked for anew."""
    node = make_node(session={"enabled": True, "max_size": 100})
    client, first = await connected(node)
    for channel in ("closed:a", "closed:b", "closed:c", "closed:d"):
        token = subscription_token(node, channel)
        await client.ask(subscribe={"channel": channel, "token": token})
    await node.keeper.drain()
    record = node.cluster.sessions.records[first["data"]["session"]]
    assert record.state.grants.keys() == {"closed:a", "closed:b", "closed:c"}
    left_out = node.metrics.session.session_grants_left_out._value.get()
    assert left_out >= 1


# --- grants ---------------------------------------------------------------------------------------


async def test_a_grant_needs_no_token_again(node: FakeNode) -> None:
    """A returning client subscribes without a token, or with one that expired, as it did before."""
    client, first = await connected(node)
    token = subscription_token(
        node, "closed:a", expire_at=int(UNIX_START + 5000), info=b'{"role":"host"}'
    )
    await client.ask(subscribe={"channel": "closed:a", "token": token})
    client.session.ended()
    await node.keeper.drain()
    back, _ = await connected(node, first["data"]["session"])
    reply = await back.ask(subscribe={"channel": "closed:a"})
    assert reply["subscribe"]["expires"] is True
    known_as = back.session.info("closed:a").chan_info
    assert isinstance(known_as, Raw)
    assert bytes(known_as) == b'{"role":"host"}'
    assert (await back.ask(subscribe={"channel": "closed:b"}))["error"]["code"] == 103


@pytest.mark.parametrize("how", ["expires", "client", "api", "api while away", "all while away"])
async def test_a_grant_that_ended_is_asked_for_again(node: FakeNode, how: str) -> None:
    """What expired, was left or taken, is no grant any more, connected or not."""
    client, first = await connected(node, token=node.trust("ann"))
    token = subscription_token(node, "closed:a", user="ann", expire_at=int(UNIX_START + 1060))
    await client.ask(subscribe={"channel": "closed:a", "token": token})
    if how == "client":
        await client.ask(unsubscribe={"channel": "closed:a"})
    elif how == "api":
        node.registry.apply(UnsubscribeUser(user="ann", channel="closed:a"))
        await settle()
    client.session.ended()
    await node.keeper.drain()
    if how == "api while away":
        await node.sessions.unsubscribe("ann", "closed:a", remembered_ms=60_000)
    elif how == "all while away":
        await node.sessions.unsubscribe("ann", "", remembered_ms=60_000)
    elif how == "expires":
        node.pass_time(61)
    back, second = await connected(node, first["data"]["session"], token="token of ann")
    assert second["data"]["resumed"] is True
    assert (await back.ask(subscribe={"channel": "closed:a"}))["error"]["code"] == 103


async def test_all_that_is_taken_includes_what_is_not_subscribed_to(node: FakeNode) -> None:
    """Who came back and has not subscribed again yet has no grant left either."""
    ann = node.trust("ann")
    client, first = await connected(node, token=ann)
    token = subscription_token(node, "closed:a", user="ann")
    await client.ask(subscribe={"channel": "closed:a", "token": token})
    client.session.ended()
    await node.keeper.drain()
    back, _ = await connected(node, first["data"]["session"], token=ann)
    node.registry.apply(UnsubscribeUser(user="ann", channel=""))
    await settle()
    assert (await back.ask(subscribe={"channel": "closed:a"}))["error"]["code"] == 103


async def test_a_refreshed_grant_lasts_longer(node: FakeNode) -> None:
    """The record knows the newest end."""
    client, first = await connected(node)
    for method, ends in (("subscribe", 1060), ("sub_refresh", 9000)):
        token = subscription_token(node, "closed:a", expire_at=int(UNIX_START + ends))
        reply = await client.ask(**{method: {"channel": "closed:a", "token": token}})
        assert "error" not in reply
    client.session.ended()
    await node.keeper.drain()
    node.pass_time(100)
    back, _ = await connected(node, first["data"]["session"])
    assert "subscribe" in await back.ask(subscribe={"channel": "closed:a"})


# --- server-side subscriptions --------------------------------------------------------------------


async def test_a_server_side_subscription_is_opened_again(node: FakeNode) -> None:
    """What the API subscribed a session to is in its next connect's reply, from its position."""
    client, first = await connected(node, token=node.trust("ann"))
    node.registry.apply(SubscribeUser(user="ann", channel="kept:a", data=b'"x"'))
    await settle()
    [push] = client.pushes("subscribe")
    client.session.ended()
    await node.keeper.drain()
    for number in range(2):
        await node.services.backplane.publish(
            "kept:a",
            publication(number),
            node.services.rules.rule("kept:a").stream,
        )
    position = {"recover": True, "epoch": push["epoch"], "offset": push.get("offset", 0)}
    _, second = await connected(
        node, first["data"]["session"], token="token of ann", subs={"kept:a": position}
    )
    sub = second["subs"]["kept:a"]
    assert [each["data"] for each in sub["publications"]] == [0, 1]
    assert (sub["recovered"], sub["data"]) == (True, "x")


async def test_what_a_token_subscribed_to_is_the_next_tokens_to_say(node: FakeNode) -> None:
    """A channel that is not in the new token any more is not given by the session."""
    client, first = await connected(node, token=node.trust("ann", channels=("a", "b")))
    assert first["subs"].keys() == {"a", "b"}
    client.session.ended()
    await node.keeper.drain()
    _, second = await connected(
        node, first["data"]["session"], token=node.trust("ann", channels=("b",))
    )
    assert second["subs"].keys() == {"b"}


async def test_kept_subscriptions_come_with_every_connect(make_node: MakeNode) -> None:
    """What is kept for a user needs no session; nobody is not asked about."""
    node = make_node(api_subscriptions={"kept": True})
    grants = {"a": 0, "gone": UNIX_START, "unknown:a": 0}
    for channel, ends in grants.items():
        grant = KeptGrant(server_side=True, expires_at=ends, data=b"1")
        await node.sessions.subscribe("ann", channel, grant, limit=9)
    reply = await node.client().ask(connect={"token": node.trust("ann")})
    assert reply["connect"]["subs"] == {"a": {"data": 1}}
    node.sessions.calls.clear()
    assert "subs" not in (await node.client().ask(connect={}))["connect"]
    assert node.sessions.calls == []


async def test_a_call_may_be_for_one_session(node: FakeNode) -> None:
    """Of a user's connections only the one with the session is meant."""
    token = node.trust("ann")
    client, first = await connected(node, token=token)
    other, _ = await connected(node, token=token)
    session = first["data"]["session"]
    node.registry.apply(SubscribeUser(user="ann", channel="a", session=session))
    await settle()
    assert ("a" in client.session.subscriptions, "a" in other.session.subscriptions) == (
        True,
        False,
    )
    node.registry.apply(UnsubscribeUser(user="ann", channel="a", session=session))
    node.registry.apply(
        DisconnectUser(user="ann", session=session, code=3503, reason="force disconnect")
    )
    node.registry.apply(
        DisconnectUser(user="ann", session="A" * 22, code=3503, reason="force disconnect")
    )
    await settle()
    assert (client.link.code, other.link.closes) == (3503, [])


async def test_a_session_alone_says_whose_it_is(node: FakeNode) -> None:
    """Without a user the connection with the session is meant; with another's, nobody is."""
    client, first = await connected(node, token=node.trust("ann"))
    session = first["data"]["session"]
    node.registry.apply(
        DisconnectUser(user="bob", session=session, code=3503, reason="force disconnect")
    )
    await settle()
    assert client.link.closes == []
    node.registry.apply(
        DisconnectUser(user="", session=session, code=3503, reason="force disconnect")
    )
    await settle()
    assert client.link.code == 3503


# --- presence -------------------------------------------------------------------------------------


async def test_who_is_back_within_the_grace_never_left(node: FakeNode) -> None:
    """Nobody hears of a leave or a join, and the client is present all along."""
    client, first = await connected(node)
    await client.ask(subscribe={"channel": "grace:a"})
    await settle()
    client.session.ended()
    await settle()
    assert node.presence.present["grace:a"].keys() == {first["client"]}
    assert node.departures.num_held == 1
    node.pass_time(5)
    back, _ = await connected(node, first["data"]["session"])
    await back.ask(subscribe={"channel": "grace:a"})
    node.pass_time(8)
    await node.departures.drain()
    assert announced(node) == ["announce JOIN grace:a"]
    assert node.presence.present["grace:a"].keys() == {first["client"]}
    assert node.departures.num_held == 0


async def test_who_is_back_on_another_node_never_left(node: FakeNode) -> None:
    """The grace that ends on the old node takes nobody out."""
    client, first = await connected(node)
    await client.ask(subscribe={"channel": "grace:a"})
    await settle()
    client.session.ended()
    await node.keeper.drain()
    other = FakeNode(beside=node)
    back, _ = await connected(other, first["data"]["session"])
    await back.ask(subscribe={"channel": "grace:a"})
    await settle()
    node.pass_time(12)
    await node.departures.drain()
    assert announced(node) + announced(other) == ["announce JOIN grace:a"]
    assert node.presence.present["grace:a"].keys() == {first["client"]}


async def test_who_does_not_come_back_leaves_after_the_grace(node: FakeNode) -> None:
    """The entry goes and the leave is told, once, at the end."""
    client, _ = await connected(node)
    await client.ask(subscribe={"channel": "grace:a"})
    await settle()
    client.session.ended()
    node.pass_time(9)
    await settle()
    assert announced(node) == ["announce JOIN grace:a"]
    node.pass_time(2)
    await node.departures.drain()
    assert announced(node) == ["announce JOIN grace:a", "announce LEAVE grace:a"]
    assert node.presence.present["grace:a"] == {}


@pytest.mark.parametrize(
    "how", ["goodbye", "unsubscribe", "disconnect by the API", "terminal", "no session"]
)
async def test_who_means_to_go_leaves_at_once(node: FakeNode, how: str) -> None:
    """A goodbye, an unsubscribe, the API and a close for good know no grace."""
    client = node.client()
    data = {} if how == "no session" else {"data": {"session": True}}
    await client.ask(connect=data)
    await client.ask(subscribe={"channel": "grace:a"})
    await settle()
    if how == "goodbye":
        client.session.ended(Ending.GOODBYE)
    elif how == "unsubscribe":
        await client.ask(unsubscribe={"channel": "grace:a"})
    elif how == "disconnect by the API":
        node.registry.apply(DisconnectUser(user="", code=3011, reason="force reconnect"))
    elif how == "terminal":
        client.session.close(codes.BAD_REQUEST)
    else:
        client.session.ended()
    await node.departures.drain()
    assert announced(node) == ["announce JOIN grace:a", "announce LEAVE grace:a"]
    assert node.presence.present["grace:a"] == {}


async def test_those_that_are_held_are_bounded(make_node: MakeNode) -> None:
    """Beyond the limit a client leaves at once."""
    node = make_node(session={"enabled": True, "max_departures": 1})
    for channel in ("grace:a", "grace:b"):
        client, _ = await connected(node)
        await client.ask(subscribe={"channel": channel})
        await settle()
        client.session.ended()
    await node.departures.drain()
    assert node.departures.num_held == 1
    leaves = [channel for call, channel in node.backplane.calls if call == "announce LEAVE"]
    assert leaves == ["grace:b"]


async def test_a_superseded_connection_announces_no_leave_without_presence(node: FakeNode) -> None:
    """Where nobody can be asked who is there, the client that moved on has not left."""
    client, first = await connected(node)
    await client.ask(subscribe={"channel": "heard:a"})
    await settle()
    back, _ = await connected(node, first["data"]["session"])
    await back.ask(subscribe={"channel": "heard:a"})
    await node.departures.drain()
    assert client.link.code == 3503
    assert "announce LEAVE heard:a" not in announced(node)


async def test_a_quick_return_is_heard_of_wholly_or_not_at_all(node: FakeNode) -> None:
    """Without a grace a leave is told before the join, or neither is."""
    client, first = await connected(node)
    await client.ask(subscribe={"channel": "seen:a"})
    await settle()
    with node.presence.hold("add"):
        with node.presence.hold("remove"):
            client.session.ended()
            await settle()
            back, _ = await connected(node, first["data"]["session"])
            back.say(subscribe={"channel": "seen:a"})
            await settle()
        await settle()
    await settle()
    await node.departures.drain()
    heard = announced(node)
    assert heard == ["announce JOIN seen:a", "announce LEAVE seen:a", "announce JOIN seen:a"]
    assert node.presence.present["seen:a"].keys() == {first["client"]}


async def test_what_is_kept_refuses_nobody(make_node: MakeNode) -> None:
    """Kept subscriptions for which a connection has no room are left out."""
    node = make_node(api_subscriptions={"kept": True}, channel_limit=2)
    for channel in ("a", "b", "c"):
        await node.sessions.subscribe("ann", channel, KeptGrant(server_side=True), limit=9)
    reply = await node.client().ask(connect={"token": node.trust("ann", channels=("mine",))})
    assert reply["connect"]["subs"].keys() == {"mine", "a"}


async def test_a_return_that_fails_keeps_the_grace(node: FakeNode) -> None:
    """A store that fails in the middle of it takes nobody out who was present, nor for good."""
    client, first = await connected(node)
    await client.ask(subscribe={"channel": "grace:a"})
    await settle()
    client.session.ended()
    await node.keeper.drain()
    back, _ = await connected(node, first["data"]["session"])
    node.presence.failing["add"] = DOWN
    assert (await back.ask(subscribe={"channel": "grace:a"}))["error"]["code"] == 100
    node.presence.failing.clear()
    node.pass_time(6)
    await settle()
    assert announced(node) == ["announce JOIN grace:a"]
    assert node.presence.present["grace:a"].keys() == {first["client"]}
    node.pass_time(5)
    await node.departures.drain()
    assert announced(node) == ["announce JOIN grace:a", "announce LEAVE grace:a"]
    assert node.presence.present["grace:a"] == {}


async def test_a_connect_that_fails_leaves_its_session_to_be_resumed(node: FakeNode) -> None:
    """Its record is given back, once, and holds what it held; no note of it is left."""
    token = node.trust("ann", channels=("mine",))
    client, first = await connected(node, token=token)
    client.session.ended()
    await node.keeper.drain()
    node.backplane.failing["subscribe"] = DOWN
    failed = node.client()
    reply = await failed.ask(
        connect={"token": token, "data": {"session": first["data"]["session"]}}
    )
    assert reply["error"]["code"] == 100
    await settle()
    assert len(node.keeper) == 0
    failed.session.ended()
    await settle()
    assert [call for call, _ in node.sessions.calls].count("release") == 2
    node.backplane.failing.clear()
    _, second = await connected(node, first["data"]["session"], token=token)
    assert second["data"]["resumed"] is True
    assert second["client"] == first["client"]


async def test_what_is_told_before_the_claim_is_answered_counts(node: FakeNode) -> None:
    """A takeover that is heard of while an older claim is on its way back closes that one: 3503."""
    _, first = await connected(node)
    session = first["data"]["session"]
    other = FakeNode(beside=node)
    slow = node.client()
    with node.sessions.hold("claim"):
        slow.say(connect={"data": {"session": session}})
        await settle()
        fast, second = await connected(other, session)
        [(told, _, token)] = other.sessions.told
        node.registry.apply(SupersedeSession(session=session, token=token))
    await settle()
    assert told == node.backplane.node_id
    assert second["data"]["resumed"] is True
    assert (slow.link.code, fast.link.closes) == (3503, [])
