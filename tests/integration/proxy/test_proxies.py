"""Nodes that ask a team's backend, seen by an official SDK and on the wire."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import centrifuge
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.proxy.conftest import API_KEY, StartNode
from tests.support.conditions import NEVER_S, eventually
from tests.support.wire_client import WireClient

if TYPE_CHECKING:
    from tests.support.node_process import NodeProcess
    from tests.support.redis_server import RedisServer
    from tests.support.team import TeamServer

INTERNAL = {"code": 100, "message": "internal server error", "temporary": True}
CACHED = {"cache_ttl": "60s"}


async def _open(node: NodeProcess, cookie: str = "sid=1") -> WireClient:
    return await WireClient.open(
        node.websocket_url, headers={"Cookie": cookie, "X-Real-Ip": "10.0.0.1", "X-Other": "no"}
    )


async def _connect(node: NodeProcess, cookie: str = "sid=1") -> dict[str, Any]:
    async with await _open(node, cookie) as client:
        return await client.call({"id": 1, "connect": {}})


async def _samples(node: NodeProcess, name: str) -> dict[str, float]:
    """A metric's samples, by their labels' values."""
    async with aiohttp.ClientSession() as session, session.get(f"{node.http_url}/metrics") as got:
        text = await got.text()
    return {
        " ".join(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"realtime_proxy_{name}"
    }


async def _api(node: NodeProcess, method: str, **body: Any) -> Any:
    headers = {"X-API-Key": API_KEY}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{node.http_url}/api/{method}", json=body) as answer,
    ):
        return await answer.json()


async def test_an_official_sdk_lives_on_what_the_backend_says(
    team: TeamServer, start_node: StartNode
) -> None:
    """It connects without a token, subscribes, publishes and calls; the backend sees each."""
    node = await start_node()
    team.answers["/connect"] = {"result": {"user": "ann", "data": {"welcome": True}}}
    team.answers["/publish"] = {"result": {"data": {"text": "changed"}}}
    team.answers["/rpc"] = {"result": {"data": {"year": 2026}}}
    client = centrifuge.Client(node.websocket_url, data={"ticket": 7}, proxy=None)
    await client.connect()
    await client.ready()
    seen: list[Any] = []

    class Events(centrifuge.SubscriptionEventHandler):  # type: ignore[misc] # the SDK is untyped
        async def on_publication(self, ctx: centrifuge.PublicationContext) -> None:
            seen.append(ctx.pub.data)

    subscription = client.new_subscription("team:room", events=Events())
    await subscription.subscribe()
    await subscription.ready()
    await subscription.publish({"text": "sent"})
    assert (await client.rpc("year", {"of": "now"})).data == {"year": 2026}
    await eventually(lambda: seen == [{"text": "changed"}], what="the publication")
    connection = client._conn
    await client.disconnect()
    await connection.wait_closed()
    assert [question.path for question in team.questions] == [
        "/connect",
        "/subscribe",
        "/publish",
        "/rpc",
    ]
    assert team.questions[0].body["data"] == {"ticket": 7}
    assert all(question.body["user"] == "ann" for question in team.questions[1:])


async def test_headers_go_where_they_are_named(team: TeamServer, start_node: StartNode) -> None:
    """Connect gets both that it names, a call the one; nothing else of the handshake goes out."""
    node = await start_node()
    async with await _open(node) as client:
        await client.call({"id": 1, "connect": {}})
        await client.call({"id": 2, "rpc": {"method": "m", "data": 1}})
    connect, rpc = (question.headers for question in team.questions)
    assert (connect["cookie"], connect["x-real-ip"]) == ("sid=1", "10.0.0.1")
    assert rpc["cookie"] == "sid=1"
    assert "x-real-ip" not in rpc
    assert "x-other" not in connect


async def test_a_dead_backend_is_a_temporary_error_and_then_an_open_circuit(
    team: TeamServer, start_node: StartNode
) -> None:
    """Clients are told to come back; after a while nobody knocks at the dead door any more."""
    node = await start_node()
    await team.__aexit__()
    for _ in range(10):
        assert (await _connect(node))["error"] == INTERNAL
    assert (await _samples(node, "circuit"))["connect default open"] == 1
    async with team:
        deadline = time.monotonic() + NEVER_S
        while "error" in await _connect(node):
            assert time.monotonic() < deadline, "the circuit did not close"
            await asyncio.sleep(0.05)
    assert (await _samples(node, "circuit"))["connect default closed"] == 1


async def test_an_sdk_gets_in_when_the_backend_comes_back(
    team: TeamServer, start_node: StartNode
) -> None:
    """It backs off from the temporary error by itself, and is let in later."""
    node = await start_node()
    team.answers["/connect"] = {"error": {"code": 100, "message": "starting", "temporary": True}}
    client = centrifuge.Client(node.websocket_url, proxy=None, max_reconnect_delay=0.3)
    connecting = asyncio.create_task(client.connect())
    await eventually(lambda: len(team.asked("/connect")) >= 2, what="two tries")
    team.answers["/connect"] = {"result": {"user": "ann"}}
    await connecting
    await client.ready(timeout=NEVER_S)
    connection = client._conn
    await client.disconnect()
    await connection.wait_closed()


@pytest.mark.parametrize("kind", ["slow", "huge", "html", "wrong type"])
async def test_a_hostile_answer_costs_one_client_a_temporary_error(
    team: TeamServer, start_node: StartNode, kind: str
) -> None:
    """Whatever comes back, the node lives, keeps its memory, and serves the others."""
    node = await start_node(timeout="300ms")

    async def hostile(_: web.Request) -> web.StreamResponse:
        if kind == "slow":
            await asyncio.sleep(5)
        body = {"huge": bytes(10 * 1024 * 1024), "html": b"<html>"}.get(kind, b'{"result": 7}')
        return web.Response(body=body)

    team.answers["/connect"] = hostile
    before = node.private_bytes()
    replies = await asyncio.gather(*(_connect(node, f"sid={n}") for n in range(20)))
    assert [reply["error"] for reply in replies] == [INTERNAL] * 20
    assert node.private_bytes() - before < 32 * 1024 * 1024
    team.answers["/connect"] = {"result": {"user": "ann"}}
    deadline = time.monotonic() + NEVER_S
    while "error" in await _connect(node):
        assert time.monotonic() < deadline, "the node did not recover"
        await asyncio.sleep(0.05)


async def test_a_connection_is_refreshed_by_the_node(
    team: TeamServer, start_node: StartNode
) -> None:
    """It is asked about when it ends, goes on, and is closed when the backend says so."""
    node = await start_node()
    team.answers["/connect"] = {"result": {"user": "ann", "expire_at": int(time.time()) + 2}}
    team.answers["/refresh"] = {"result": {"expire_at": int(time.time()) + 4}}
    async with await _open(node) as client:
        reply = await client.call({"id": 1, "connect": {}})
        assert "expires" not in reply["connect"]
        await eventually(lambda: team.asked("/refresh"), what="a refresh")
        team.answers["/refresh"] = {"result": {"expired": True}}
        assert (await client.next())["close"]["code"] == 3005
    assert len(team.asked("/refresh")) == 2


async def test_after_a_kill_clients_are_let_in_by_what_was_said(
    team: TeamServer, start_node: StartNode
) -> None:
    """Another node finds the dead one's verdicts: 200 clients come back, the team is not asked."""
    a, b = await start_node("a", **CACHED), await start_node("b", **CACHED)

    async def who(request: web.Request) -> web.StreamResponse:
        return web.json_response({"result": {"user": request.headers["Cookie"]}})

    team.answers["/connect"] = who
    clients = [await _open(a, f"sid={n}") for n in range(200)]
    for client in clients:
        assert "connect" in await client.call({"id": 1, "connect": {}})
    asked = len(team.asked("/connect"))
    assert asked == 200
    a.kill()
    for client in clients:
        await client.close()
    replies = await asyncio.gather(*(_connect(b, f"sid={n}") for n in range(200)))
    assert all("connect" in reply for reply in replies)
    assert len(team.asked("/connect")) - asked <= 2
    verdicts = await _samples(b, "verdicts_total")
    assert verdicts["connect hit default"] >= 198


async def test_disconnect_by_the_api_makes_the_team_decide_anew(
    team: TeamServer, start_node: StartNode
) -> None:
    """On every node: who was disconnected is asked about, whatever was said before."""
    a, b = await start_node("a", **CACHED), await start_node("b", **CACHED)
    async with await _open(a) as client:
        await client.call({"id": 1, "connect": {}})
        await eventually(lambda: team.asked("/connect"))
        assert "connect" in await _connect(b)
        assert len(team.asked("/connect")) == 1
        team.answers["/connect"] = {"disconnect": {"code": 4501, "reason": "out"}}
        assert await _api(b, "disconnect", user="ann") == {"result": {}}
        assert (await client.next())["close"]["code"] == 3503
        for node in (a, b):
            assert (await _connect(node))["close"] == {"code": 4501, "reason": "out"}


async def test_subscriptions_come_back_without_the_team_as_well(
    team: TeamServer, start_node: StartNode
) -> None:
    """What a backend allowed is allowed again on another node, until the API unsubscribes."""
    a = await start_node("a", subscribe_ttl="60s", **CACHED)
    b = await start_node("b", subscribe_ttl="60s", **CACHED)
    subscribe = {"id": 2, "subscribe": {"channel": "team:room"}}
    for node in (a, b):
        async with await _open(node) as client:
            await client.call({"id": 1, "connect": {}})
            assert "subscribe" in await client.call(subscribe)
    assert len(team.asked("/subscribe")) == 1
    await _api(a, "unsubscribe", user="ann", channel="team:room")
    team.answers["/subscribe"] = {"error": {"code": 403, "message": "no more"}}
    async with await _open(b) as client:
        await client.call({"id": 1, "connect": {}})
        assert (await client.call(subscribe))["error"]["code"] == 403


async def test_without_redis_the_team_is_asked(
    team: TeamServer, start_node: StartNode, redis: RedisServer
) -> None:
    """A store that does not answer costs two seconds, not the connection."""
    node = await start_node("lonely", **CACHED)
    assert "connect" in await _connect(node)
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        assert "connect" in await _connect(node)
        assert len(team.asked("/connect")) == 2
    finally:
        os.kill(redis.pid, signal.SIGCONT)
