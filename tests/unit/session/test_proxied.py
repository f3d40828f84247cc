"""What the team's backend decides for a session, with a backend that the test answers for."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from msgspec import Raw

from realtime_node.cluster.backplane import WITHOUT_HISTORY, DisconnectUser
from realtime_node.config import ChannelSettings
from realtime_node.errors import BackendError
from realtime_node.session.lifecycle import NEVER
from tests.support.fakes import UNIX_START, FakeClient, FakeNode, settle
from tests.support.team import away

COOKIE = {"Cookie": "sid=1"}
EVENTS = ("subscribe", "publish", "sub_refresh")
PROXIED = {f"{event}_proxy_enabled": True for event in EVENTS}
CHANNEL: dict[str, Any] = {
    "proxy": {event: {"endpoint": f"http://team/{event}"} for event in EVENTS},
    "namespaces": [
        {"name": "team", **PROXIED},
        {"name": "kept", **PROXIED, "history_size": 10, "history_ttl": "60s"},
        {"name": "named", **PROXIED, "allow_user_limited_channels": True},
        {"name": "open", "allow_subscribe_for_client": True, "allow_publish_for_client": True},
        {"name": "both", **PROXIED, "allow_subscribe_for_client": True},
        {"name": "other", "subscribe_proxy_enabled": True, "subscribe_proxy_name": "others"},
    ],
}
OTHERS: dict[str, Any] = {
    "proxies": [{"name": "others", "endpoint": "http://team/others"}],
    "rpc": {
        "proxy": {"endpoint": "http://team/rpc"},
        "without_namespace": {"proxy_enabled": True},
        "namespaces": [{"name": "off"}],
    },
}


def _node(
    *, refresh: bool = False, cache_ttl: str = "0s", sessions: bool = False, **connect: Any
) -> FakeNode:
    proxy = {
        "connect": {
            "enabled": True,
            "endpoint": "http://team/connect",
            "http_headers": ["Cookie", "X-Trace"],
            "cache_ttl": cache_ttl,
            **connect,
        },
        "refresh": {"enabled": refresh, "endpoint": "http://team/refresh"},
    }
    client = {"proxy": proxy, "session": {"enabled": sessions}}
    node = FakeNode(client=client, channel=CHANNEL, **OTHERS)
    node.team.answers["/connect"] = {"result": {"user": "ann"}}
    return node


async def _connected(
    node: FakeNode, handshake: dict[str, str] | None = None, **request: Any
) -> FakeClient:
    client = node.client(handshake)
    await client.ask(connect=request)
    return client


async def _tell(client: FakeClient, **command: Any) -> None:
    """Send a command whose answer may be a close."""
    client.say(**command)
    await settle()


async def _pong(client: FakeClient) -> None:
    """Answer a ping, if one was sent."""
    if client.session.deadlines.pong is not NEVER:
        client.send({})
    await settle()


async def test_who_connects_without_a_token_is_whom_the_backend_says() -> None:
    """The backend gets the client's words in Centrifugo's form, and its result is the client."""
    node = _node()
    node.team.answers["/connect"] = {
        "result": {
            "user": "ann",
            "info": {"name": "Ann"},
            "data": {"hello": 1},
            "channels": ["open:a"],
            "subs": {"open:b": {"data": {"b": 2}, "info": {"i": 3}}},
            "caps": [{"channels": ["x"]}],
            "meta": None,
        }
    }
    client = node.client()
    reply = await client.ask(
        connect={"data": {"x": 1}, "name": "js", "version": "5", "subs": {"open:c": {}}}
    )
    assert node.team.asked("/connect") == [
        {
            "client": client.session.client_id,
            "transport": "websocket",
            "protocol": "json",
            "encoding": "json",
            "data": {"x": 1},
            "name": "js",
            "version": "5",
            "channels": ["open:c"],
        }
    ]
    assert reply["connect"]["data"] == {"hello": 1}
    assert set(reply["connect"]["subs"]) == {"open:a", "open:b"}
    assert reply["connect"]["subs"]["open:b"]["data"] == {"b": 2}
    assert client.session.user == "ann"
    assert client.session.info("open:b").conn_info == Raw(b'{"name": "Ann"}')
    assert client.session.info("open:b").chan_info == Raw(b'{"i": 3}')


async def test_a_client_with_a_token_is_not_asked_about() -> None:
    """A token says who it is, and the backend is left alone."""
    node = _node()
    client = await _connected(node, token=node.trust("bob"))
    assert client.session.user == "bob"
    assert node.team.questions == []


async def test_a_client_cannot_bring_along_what_the_backend_has_to_allow() -> None:
    """A wish for a server-side subscription is granted only where nobody has to be asked."""
    node = _node()
    client = node.client()
    wishes: dict[str, Any] = {"both:a": {}, "open:a": {}}
    reply = await client.ask(connect={"token": node.trust("bob"), "subs": wishes})
    assert set(reply["connect"]["subs"]) == {"open:a"}
    assert node.team.questions == []


async def test_only_named_headers_are_passed_on_and_kept_while_needed() -> None:
    """The connect proxy gets what it names; a connection that is made keeps nothing of it."""
    node = _node(
        emulated_headers=["Authorization", "Cookie"],
        http={"static_headers": {"X-Key": "secret", "Cookie": "none"}},
    )
    client = await _connected(
        node,
        {"Cookie": "sid=1", "User-Agent": "x"},
        headers={"Authorization": "Bearer 1", "cookie": "forged", "X-Key": "forged"},
    )
    headers = node.team.questions[0].headers
    assert headers == {"x-key": "secret", "authorization": "Bearer 1", "cookie": "sid=1"}
    assert client.session.kept == ((), ())


@pytest.mark.parametrize(
    ("answer", "reply", "code"),
    [
        ({"error": {"code": 403, "message": "no"}}, {"code": 403, "message": "no"}, None),
        (
            {"error": {"code": 1000, "temporary": True}},
            {"code": 1000, "message": "", "temporary": True},
            None,
        ),
        ({"disconnect": {"code": 4501, "reason": "unauthorized"}}, None, 4501),
        ({}, None, 3501),
        ({"result": {"user": "a", "expire_at": 1}}, {"code": 110, "message": "expired"}, None),
        *(
            (answer, {"code": 100, "message": "internal server error", "temporary": True}, None)
            for answer in (
                BackendError("away", "unreachable"),
                BackendError("slow", "timeout"),
                BackendError("no", "status", status=500),
                b"<html>",
                b"[]",
                b"\xff",
                b"[" * 100_000,
                {"result": {"user": 7}},
                {"result": {"user": "a", "b64info": "!"}},
                {"result": {"user": "a", "b64data": base64.b64encode(b"\0").decode()}},
                {"result": {"user": "a", "expire_at": 1e15}},
                {"error": {"code": 0}},
                {"disconnect": {"code": 1000}},
            )
        ),
    ],
)
async def test_what_a_client_sees_of_the_backends_answer(
    answer: Any, reply: dict[str, Any] | None, code: int | None
) -> None:
    """Errors and closes are the backend's; what is no answer is a temporary error."""
    node = _node()
    node.team.answers["/connect"] = answer
    client = node.client()
    if reply is None:
        await _tell(client, connect={})
        assert client.link.code == code
    else:
        assert (await client.ask(connect={}))["error"] == reply
        assert client.link.code is None


async def test_statuses_mean_what_the_settings_say() -> None:
    """A status that is transformed is an error or a close of the team's choice."""
    transforms = [
        {"status_code": 404, "to_error": {"code": 404, "message": "not found"}},
        {"status_code": 403, "to_disconnect": {"code": 4403, "reason": "go"}},
    ]
    node = _node(http={"status_to_code_transforms": transforms})
    node.team.answers["/connect"] = BackendError("no", "status", status=404)
    client = node.client()
    assert (await client.ask(connect={}))["error"] == {"code": 404, "message": "not found"}
    node.team.answers["/connect"] = BackendError("no", "status", status=403)
    client = node.client()
    await _tell(client, connect={})
    assert client.link.closes == [(4403, "go")]


async def test_a_subscription_is_the_backends_to_allow() -> None:
    """It gets user, channel and data, and may say how the client is subscribed."""
    node = _node()
    client = await _connected(node)
    node.team.answers["/subscribe"] = {
        "result": {
            "info": {"i": 1},
            "data": {"d": 2},
            "expire_at": int(UNIX_START + node.clock() + 100),
            "override": {"presence": {"value": True}, "force_recovery": {"value": True}},
        }
    }
    reply = await client.ask(subscribe={"channel": "kept:a", "data": {"q": 1}, "positioned": True})
    (asked,) = node.team.asked("/subscribe")
    assert asked == {
        "client": client.session.client_id,
        "transport": "websocket",
        "protocol": "json",
        "encoding": "json",
        "user": "ann",
        "channel": "kept:a",
        "data": {"q": 1},
    }
    subscribed = reply["subscribe"]
    assert subscribed["data"] == {"d": 2}
    assert subscribed["recoverable"]
    assert "expires" not in subscribed
    held = client.session.subscriptions["kept:a"]
    assert held.has_presence
    assert client.session.info("kept:a").chan_info == Raw(b'{"i": 1}')


async def test_a_backend_says_no_to_a_subscription() -> None:
    """Its error is the client's, and nothing is left of the attempt."""
    node = _node()
    client = await _connected(node)
    node.team.answers["/subscribe"] = {"error": {"code": 403, "message": "no"}}
    reply = await client.ask(subscribe={"channel": "team:a"})
    assert reply["error"] == {"code": 403, "message": "no"}
    assert client.session.subscriptions == {}
    assert not node.backplane.interest


async def test_the_backend_is_not_asked_where_the_channel_decides() -> None:
    """Private and user-limited channels, second subscriptions and other namespaces ask nobody."""
    node = _node()
    client = await _connected(node)
    await client.ask(subscribe={"channel": "team:a"})
    node.team.questions.clear()
    for channel, code in (("$team:a", 103), ("named:a#bob", 103), ("team:a", 105)):
        reply = await client.ask(subscribe={"channel": channel})
        assert reply["error"]["code"] == code, channel
    for channel in ("named:a#ann", "open:a"):
        assert "subscribe" in await client.ask(subscribe={"channel": channel})
    assert node.team.questions == []


async def test_namespaces_may_name_another_proxy() -> None:
    """What a namespace names is asked in the place of the default."""
    node = _node()
    client = await _connected(node)
    assert "subscribe" in await client.ask(subscribe={"channel": "other:a"})
    assert [question.path for question in node.team.questions] == ["/connect", "/others"]


async def test_a_publication_is_the_backends_to_allow_and_to_change() -> None:
    """What is published is what it says, with its tags; without a word of it, what was sent."""
    node = _node()
    client = await _connected(node)
    assert await client.ask(publish={"channel": "kept:a", "data": {"n": 1}}) == {
        "id": 2,
        "publish": {},
    }
    node.team.answers["/publish"] = {
        "result": {
            "b64data": base64.b64encode(b'{"n": 2}').decode(),
            "tags": {"t": "1"},
            "skip_history": True,
        }
    }
    await client.ask(publish={"channel": "kept:a", "data": {"n": 1}})
    (_, first), (_, second) = node.backplane.published
    assert (bytes(first.data), first.offset, first.tags) == (b'{"n": 1}', 1, None)
    assert (bytes(second.data), second.offset, second.tags) == (b'{"n": 2}', 0, {"t": "1"})
    assert [asked["data"] for asked in node.team.asked("/publish")] == [{"n": 1}, {"n": 1}]
    node.team.answers["/publish"] = away()
    reply = await client.ask(publish={"channel": "kept:a", "data": {"n": 3}})
    assert reply["error"]["code"] == 100
    assert len(node.backplane.published) == 2


async def test_a_call_is_the_backends_to_answer() -> None:
    """Method and data go out, data comes back; namespaces of methods say which proxy."""
    node = _node()
    client = await _connected(node)
    node.team.answers["/rpc"] = {"result": {"data": {"year": 2026}}}
    reply = await client.ask(rpc={"method": "now", "data": [1]})
    assert reply["rpc"] == {"data": {"year": 2026}}
    (asked,) = node.team.asked("/rpc")
    assert (asked["user"], asked["method"], asked["data"]) == ("ann", "now", [1])
    node.team.answers["/rpc"] = {}
    assert (await client.ask(rpc={"method": "now"}))["rpc"] == {}
    assert (await client.ask(rpc={"method": "off:x"}))["error"]["code"] == 108
    assert (await client.ask(rpc={"method": "nowhere:x"}))["error"]["code"] == 104


async def test_clients_that_were_told_to_refresh_may_when_the_backend_takes_over() -> None:
    """Changed settings have the backend asked: a token is taken once more, and no client ended."""
    before, after = _node(), _node(refresh=True)
    client = before.client()
    end = int(before.services.wall_clock()) + 60
    reply = await client.ask(connect={"token": before.trust("bob", expire_at=end)})
    assert reply["connect"]["expires"] is True
    before.services.proxies = after.proxies
    reply = await client.ask(refresh={"token": before.trust("bob", expire_at=end + 600)})
    assert "expires" not in reply["refresh"]
    after.team.answers["/refresh"] = {"result": {}}
    for _ in range(110):
        before.pass_time(6)
        await _pong(client)
    assert client.link.closes == []
    assert len(after.team.asked("/refresh")) == 1


async def test_codes_that_the_backend_chooses_share_a_label() -> None:
    """It may answer with any of four thousand million codes: none becomes a series of its own."""
    node = _node()
    node.team.answers["/connect"] = {"result": {"user": "ann"}}
    client = await _connected(node)
    for code in range(5000, 5100):
        node.team.answers["/rpc"] = {"error": {"code": code, "message": "no"}}
        assert (await client.ask(rpc={"method": "now"}))["error"]["code"] == code
    for code in range(4100, 4200):
        node.team.answers["/rpc"] = {"disconnect": {"code": code, "reason": "no"}}
        client = await _connected(node)
        await _tell(client, rpc={"method": "now"})
        assert client.link.closes == [(code, "no")]
    exposed = node.metrics.expose().decode().splitlines()
    counts = [
        line for line in exposed if line.startswith(("realtime_disconnects_", "realtime_reply_"))
    ]
    assert [line for line in counts if "_total" in line] == [
        'realtime_reply_errors_total{code="other"} 100.0',
        'realtime_disconnects_total{code="other"} 100.0',
    ]


async def test_binary_encoding_sends_base64() -> None:
    """With `binary_encoding` what a client sent is base64, and the request says so."""
    node = _node(binary_encoding=True)
    await _connected(node, data={"x": 1})
    (asked,) = node.team.asked("/connect")
    assert (asked["encoding"], base64.b64decode(asked["b64data"])) == ("binary", b'{"x": 1}')
    assert "data" not in asked


# --- refreshing ----------------------------------------------------------------------------------


async def test_an_expiring_connection_is_asked_about_and_goes_on() -> None:
    """The node asks at the end, takes the new one, and tells the client of neither."""
    node = _node(refresh=True)
    now = UNIX_START + node.clock()
    node.team.answers["/connect"] = {"result": {"user": "ann", "expire_at": int(now + 10)}}
    node.team.answers["/refresh"] = {"result": {"expire_at": int(now + 100), "info": {"v": 2}}}
    client = node.client()
    reply = await client.ask(connect={})
    assert "expires" not in reply["connect"]
    node.pass_time(11)
    await settle()
    (asked,) = node.team.asked("/refresh")
    assert asked == {
        "client": client.session.client_id,
        "transport": "websocket",
        "protocol": "json",
        "encoding": "json",
        "user": "ann",
    }
    assert client.session.expires_at == int(now + 100)
    assert client.session.info().conn_info == Raw(b'{"v": 2}')
    node.team.answers["/refresh"] = {"result": {"expired": True}}
    for _ in range(18):
        node.pass_time(5)
        await _pong(client)
    assert client.link.closes == [(3005, "connection expired")]


async def test_a_backend_that_is_away_lets_connections_go_on() -> None:
    """Nobody is closed for a refresh that was not answered; it is asked again after a while."""
    node = _node(refresh=True)
    now = UNIX_START + node.clock()
    node.team.answers["/connect"] = {"result": {"user": "ann", "expire_at": int(now + 5)}}
    node.team.answers["/refresh"] = away()
    client = await _connected(node)
    node.pass_time(6)
    await settle()
    assert len(node.team.asked("/refresh")) == 1
    assert client.link.closes == []
    assert client.session.expires_at > now + 30


async def test_clients_have_no_part_in_refreshing() -> None:
    """A refresh command is a bad request where the node asks by itself."""
    node = _node(refresh=True)
    client = await _connected(node)
    await _tell(client, refresh={"token": node.trust("ann")})
    assert client.link.code == 3501


@pytest.mark.parametrize(
    ("answer", "is_over"),
    [
        ({"result": {"expire_at": int(UNIX_START + 5000), "info": {"v": 2}}}, False),
        ({"result": {"expired": True}}, True),
        ({"result": {"expire_at": 1}}, True),
        ({}, True),
        ({"error": {"code": 1}}, True),
        (away(), False),
    ],
)
async def test_an_expiring_subscription_is_asked_about(answer: Any, is_over: bool) -> None:
    """It goes on or ends with code 2501, as the backend says; without an answer it goes on."""
    node = _node()
    client = await _connected(node)
    ends = int(UNIX_START + node.clock() + 5)
    node.team.answers["/subscribe"] = {"result": {"expire_at": ends}}
    node.team.answers["/sub_refresh"] = answer
    await client.ask(subscribe={"channel": "team:a"})
    node.pass_time(6)
    await settle()
    (asked,) = node.team.asked("/sub_refresh")
    assert (asked["user"], asked["channel"]) == ("ann", "team:a")
    assert ("team:a" not in client.session.subscriptions) is is_over
    if not is_over:
        assert client.session.subscriptions["team:a"].expires_at > ends


async def test_what_the_backend_prolongs_outlives_the_connection() -> None:
    """The record of a session has the newest ends and info, as after a client's own refresh."""
    node = _node(refresh=True, sessions=True)
    now = UNIX_START + node.clock()
    node.team.answers["/connect"] = {"result": {"user": "ann", "expire_at": int(now + 5)}}
    node.team.answers["/subscribe"] = {"result": {"expire_at": int(now + 5)}}
    client = await _connected(node, data={"session": "new"})
    await client.ask(subscribe={"channel": "team:a"})
    node.team.answers["/refresh"] = {"result": {"expire_at": int(now + 900), "info": {"v": 2}}}
    node.team.answers["/sub_refresh"] = {"result": {"expire_at": int(now + 800), "info": {"v": 3}}}
    await node.keeper.drain()
    node.sessions.calls.clear()
    node.pass_time(6)
    await settle()
    await node.keeper.drain()
    assert ("write", "") in node.sessions.calls
    assert client.session.resumption is not None
    grant = client.session.resumption.grants["team:a"]
    assert (grant.expires_at, grant.chan_info) == (int(now + 800), b'{"v": 3}')


async def test_a_call_that_disconnects_counts_while_the_backend_is_asked() -> None:
    """Who the client is was not known yet when the call came; it is not let in behind it."""
    node = _node()
    node.team.gate.clear()
    client = node.client()
    client.say(connect={})
    await settle()
    await node.backplane.control(DisconnectUser(user="bob", code=3503, reason="other"))
    await node.backplane.control(DisconnectUser(user="ann", code=3503, reason="force disconnect"))
    await node.backplane.deliver()
    node.team.gate.set()
    await settle()
    assert client.link.closes == [(3503, "force disconnect")]
    assert node.registry.num_clients == 0
    assert (await _connected(node)).link.closes == []


async def test_a_publish_goes_by_the_settings_of_its_end() -> None:
    """The backend took its time; the history is not what it was when the client asked."""
    node = _node()
    client = await _connected(node)
    node.team.gate.clear()
    client.say(publish={"channel": "kept:a", "data": 1})
    await settle()
    namespaces = [
        {**each, "history_size": 0, "history_ttl": "0s"} if each["name"] == "kept" else each
        for each in CHANNEL["namespaces"]
    ]
    rules = ChannelSettings.model_validate({**CHANNEL, "namespaces": namespaces})
    node.services.rules.change(rules)
    node.team.gate.set()
    await settle()
    page = await node.backplane.history("kept:a", WITHOUT_HISTORY, limit=-1)
    assert page.publications == []


# --- kept verdicts -------------------------------------------------------------------------------


async def test_a_client_that_comes_back_is_let_in_by_what_was_said() -> None:
    """With the same credentials the backend is not asked again; with others it is."""
    node = _node(cache_ttl="60s")
    first = await _connected(node, COOKIE)
    await settle()
    first.session.ended()
    again = await _connected(node, COOKIE)
    assert again.session.user == "ann"
    assert len(node.team.asked("/connect")) == 1
    await _connected(node, {"Cookie": "sid=2"})
    await _connected(node, COOKIE, data={"other": "data"})
    assert len(node.team.asked("/connect")) == 3


async def test_a_client_that_resumes_its_session_is_let_in_by_what_was_said() -> None:
    """The session that it asks for is the node's, and no part of the question."""
    node = _node(cache_ttl="60s", sessions=True)
    first = node.client(COOKIE)
    told = (await first.ask(connect={"data": {"session": "new"}}))["connect"]["data"]
    await settle()
    first.session.ended()
    await settle()
    data = {"session": told["session"]}
    told = (await node.client(COOKIE).ask(connect={"data": data}))["connect"]["data"]
    assert told["resumed"]
    (asked,) = node.team.asked("/connect")
    assert "data" not in asked


async def test_the_wish_for_a_session_says_nothing_of_who_asks() -> None:
    """Nobody is let in as somebody else for asking for a new session as they did."""
    node = _node(cache_ttl="60s", sessions=True)
    for _ in range(2):
        await _connected(node, {}, data={"session": "new"})
        await settle()
    assert len(node.team.asked("/connect")) == 2


async def test_who_brings_no_credentials_is_always_asked_about() -> None:
    """What is said of one nameless client is not said of another."""
    node = _node(cache_ttl="60s", http_headers=["User-Agent", "X-Request-Id", "Cookie"])
    for _ in range(2):
        await _connected(node, {"User-Agent": "x", "X-Request-Id": "1"})
        await settle()
    assert len(node.team.asked("/connect")) == 2


@pytest.mark.parametrize(
    "answer", [{"error": {"code": 403}}, {"disconnect": {"code": 4500}}, away()]
)
async def test_only_a_yes_is_kept(answer: Any) -> None:
    """Who was refused, or met no backend, is asked about again."""
    node = _node(cache_ttl="60s")
    for _ in range(2):
        node.team.answers["/connect"] = answer
        client = node.client(COOKIE)
        await _tell(client, connect={})
        await settle()
    assert len(node.team.asked("/connect")) == 2


async def test_a_verdict_ends_with_what_it_allows() -> None:
    """It is never older than the connection's own end."""
    node = _node(cache_ttl="600s")
    ends = int(UNIX_START + node.clock() + 10)
    node.team.answers["/connect"] = {"result": {"user": "ann", "expire_at": ends}}
    first = await _connected(node, COOKIE)
    await settle()
    first.session.ended()
    node.clock.advance(11)
    node.team.answers["/connect"] = {"error": {"code": 403}}
    client = node.client(COOKIE)
    assert (await client.ask(connect={}))["error"]["code"] == 403


async def test_a_revoked_user_is_asked_about_again() -> None:
    """What was said before a revocation counts for nothing after it."""
    node = _node(cache_ttl="60s")
    await _connected(node, COOKIE)
    await settle()
    await node.verdicts.revoke("ann")
    node.team.answers["/connect"] = {"disconnect": {"code": 4501, "reason": "out"}}
    client = node.client(COOKIE)
    await _tell(client, connect={})
    assert client.link.code == 4501


async def test_those_who_ask_the_same_at_once_share_one_answer() -> None:
    """One question goes out for a key, and who leaves does not take the answer along."""
    node = _node(cache_ttl="60s")
    node.team.gate.clear()
    clients = [node.client(COOKIE) for _ in range(3)]
    for client in clients:
        await _tell(client, connect={})
    clients[0].session.ended()
    node.team.gate.set()
    await settle()
    assert len(node.team.asked("/connect")) == 1
    assert [client.session.user for client in clients[1:]] == ["ann", "ann"]


async def test_who_comes_after_a_revocation_shares_no_older_answer() -> None:
    """A question that was under way when the user was revoked is not asked for somebody later."""
    node = _node(cache_ttl="60s")
    node.team.gate.clear()
    before, after = node.client(COOKIE), node.client(COOKIE)
    await _tell(before, connect={})
    await node.verdicts.revoke("ann")
    await _tell(after, connect={})
    node.team.gate.set()
    await settle()
    assert len(node.team.asked("/connect")) == 2


async def test_a_subscription_that_fails_holds_no_verdict() -> None:
    """A namespace that goes while the backend is asked takes along what was said of it."""
    kept = {"endpoint": "http://team/subscribe", "cache_ttl": "60s"}
    channel = {**CHANNEL, "proxy": {**CHANNEL["proxy"], "subscribe": kept}}
    node = FakeNode(client={"proxy": {}}, channel=channel, **OTHERS)
    client = await _connected(node, token=node.trust("ann"))
    keeper = node.proxies._subscribe["default"].keeper
    assert keeper is not None
    node.team.gate.clear()
    waiting = client.say(subscribe={"channel": "team:a"})
    await settle()
    gone = ChannelSettings.model_validate({**channel, "namespaces": []})
    node.services.rules.change(gone)
    node.team.gate.set()
    await settle()
    (reply,) = [each for each in client.unread() if each.get("id") == waiting]
    assert reply["error"]["code"] == 102
    assert len(keeper.leases) == 0


async def test_a_question_that_is_given_up_is_answered() -> None:
    """Proxies that are closed under a client leave it with an error that it may try again after."""
    node = _node(cache_ttl="60s")
    node.team.gate.clear()
    client = node.client(COOKIE)
    waiting = client.say(connect={})
    await settle()
    await node.proxies.close()
    await settle()
    (reply,) = client.unread()
    assert (reply["id"], reply["error"]["temporary"]) == (waiting, True)


async def test_a_long_connection_is_still_known_when_it_breaks() -> None:
    """A verdict is kept alive with its connection, and ends when nobody holds it."""
    node = _node(cache_ttl="60s")
    keeper = node.proxies._connect.keeper  # type: ignore[union-attr]
    assert keeper is not None
    client = await _connected(node, COOKIE)
    await settle()
    for _ in range(20):
        node.clock.advance(31)
        await keeper.prolong_due()
    client.session.ended()
    assert len(keeper.leases) == 0
    node.clock.advance(59)
    back = await _connected(node, COOKIE)
    back.session.ended()
    assert len(node.team.asked("/connect")) == 1
    node.clock.advance(91)
    await _connected(node, COOKIE)
    assert len(node.team.asked("/connect")) == 2


async def test_a_refreshed_verdict_says_what_the_backend_says_now() -> None:
    """A refresh moves the end of what is kept; an expired connection takes it along."""
    node = _node(cache_ttl="60s", refresh=True)
    now = UNIX_START + node.clock()
    node.team.answers["/connect"] = {"result": {"user": "ann", "expire_at": int(now + 5)}}
    node.team.answers["/refresh"] = {"result": {"expire_at": int(now + 50)}}
    client = await _connected(node, COOKIE)
    await settle()
    node.pass_time(6)
    await settle()
    client.session.ended()
    back = await _connected(node, COOKIE)
    assert back.session.expires_at == int(now + 50)
    assert len(node.team.asked("/connect")) == 1
    node.team.answers["/refresh"] = {"result": {"expired": True}}
    for _ in range(10):
        node.pass_time(5)
        await _pong(back)
    await settle()
    assert back.link.code == 3005
    await _connected(node, COOKIE)
    assert len(node.team.asked("/connect")) == 2


async def test_a_slow_backend_holds_up_one_client_only() -> None:
    """Others are served meanwhile, and who leaves is waited for by nobody."""
    node = _node()
    other = await _connected(node, token=node.trust("bob"))
    node.team.gate.clear()
    waiting = node.client()
    await _tell(waiting, connect={})
    assert "subscribe" in await other.ask(subscribe={"channel": "open:a"})
    waiting.session.ended()
    await asyncio.sleep(0)
    await settle()
    assert node.registry.num_clients == 1
