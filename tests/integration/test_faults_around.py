"""A node outlives what is wrong around it, and a bug that shows once: it delivers again at once.

Each fault is counted or told while it lasts. The node stays ready, since no other process would
fare better.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiohttp import web
from redis.asyncio import Redis

from realtime_node.delivery.dispatcher import Dispatcher
from realtime_node.delivery.hub import Hub
from tests.support.certificates import write_certificates
from tests.support.conditions import eventually
from tests.support.inner_node import InnerNode
from tests.support.redis_server import RedisServer
from tests.support.team import TeamServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.stores import Stores
    from tests.support.wire_client import WireClient

AGAIN_WITHIN_S: Final = 5.0
"""From the end of a fault to the first delivery."""

pytestmark = pytest.mark.measures_time


def settings(redis_url: str, tls: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A node on a Redis, which lets everybody in."""
    redis: dict[str, Any] = {"address": redis_url, "prefix": f"test-{secrets.token_hex(4)}"}
    if tls is not None:
        redis["tls"] = tls
    return {
        "engine": {"type": "redis", "redis": redis},
        "client": {"insecure": True},
        "shutdown": {"timeout": "2s"},
        **more,
    }


async def delivers_again(node: InnerNode, client: WireClient, channel: str = "news") -> None:
    """Publish until it arrives, which has to be soon; a client told of a loss comes back."""
    started = time.monotonic()
    number = 0
    while True:
        number += 1
        await node.publish(channel, number)
        async with asyncio.timeout(60):
            arrived = await client.has(1, within_s=0.1)
        while arrived and client.inbox:
            push = client.inbox.popleft().get("push", {})
            if "pub" in push:
                assert time.monotonic() - started < AGAIN_WITHIN_S
                return
            if "unsubscribe" in push:
                assert push["unsubscribe"]["code"] == 2500
                await client.call({"id": 1000 + number, "subscribe": {"channel": channel}})


# --- a certificate ----------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """The certificate of the authority that Redis' own is signed by."""
    return write_certificates(tmp_path)


@pytest.fixture
def tls_redis(authority: Path) -> Iterator[RedisServer]:
    """A Redis that speaks TLS alone."""
    with RedisServer(tls=authority.parent, settings=("--tls-auth-clients", "no")) as server:
        yield server


async def test_a_certificate_file_that_vanishes(
    tls_redis: RedisServer, authority: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it no connection can be made; once it is back, all goes on by itself."""
    tls = {"enabled": True, "server_ca_pem": str(authority)}
    killer = Redis.from_url(tls_redis.url, ssl_ca_certs=str(authority))
    async with InnerNode.running(settings(tls_redis.url, tls)) as node:
        client = await node.client("news")
        await delivers_again(node, client)
        await killer.ping()
        hidden = _rename(authority, "hidden.pem")
        await killer.client_kill_filter(_type="normal", skipme=True)
        await eventually(lambda: not node.node.status().backplane_available)
        await eventually(lambda: str(authority) in caplog.text, what="a try without the file")
        assert (await node.get("/readyz"))[0] == 200
        assert not any(loop.is_own_fault for loop in node.node.status().failing)
        _rename(hidden, authority.name)
        await delivers_again(node, client)
        assert node.count("redis_reconnects_total") >= 1
        assert node.node.status().ready
    await killer.aclose()


def _rename(file: Path, name: str) -> Path:
    return file.rename(file.with_name(name))


# --- a backend --------------------------------------------------------------------------------


@pytest.fixture
async def team() -> AsyncIterator[TeamServer]:
    """The team's backend."""
    async with TeamServer() as team:
        yield team


async def _nonsense(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\x00{<html>", content_type="application/json")


async def test_a_backend_that_answers_nonsense(stores: Stores, team: TeamServer) -> None:
    """Who it is asked for gets a temporary error; deliveries go on, and it is believed again."""
    channel = {
        "proxy": {"subscribe": {"endpoint": team.url("/subscribe")}},
        "namespaces": [{"name": "asked", "subscribe_proxy_enabled": True}],
    }
    url = stores.get("redis").url
    async with InnerNode.running(settings(url, channel=channel)) as node:
        team.answers["/subscribe"] = _nonsense
        client = await node.client("news")
        for number in range(20, 24):
            reply = await client.call({"id": number, "subscribe": {"channel": "asked:a"}})
            assert reply["error"]["temporary"]
        await delivers_again(node, client)
        assert node.count("proxy_requests_total", 'event="subscribe"') >= 4
        assert (await node.get("/readyz"))[0] == 200
        assert node.node.status().failing == []
        team.answers["/subscribe"] = {"result": {}}
        started = time.monotonic()
        for number in range(100, 1000):
            reply = await client.call({"id": number, "subscribe": {"channel": "asked:a"}})
            if "error" not in reply:
                break
            await asyncio.sleep(0.05)
        assert time.monotonic() - started < AGAIN_WITHIN_S
        client.inbox.clear()
        await delivers_again(node, client, "asked:a")


# --- a bug ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "method", "where"),
    [(Dispatcher, "serve", "delivery"), (Hub, "receive", "redis-handover")],
)
async def test_a_bug_in_a_delivery_that_shows_once(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, owner: type[object], method: str, where: str
) -> None:
    """It is counted, and what is published later arrives."""
    async with InnerNode.running(settings(stores.get("redis").url)) as node:
        client = await node.client("news")
        await delivers_again(node, client)
        right, raised = getattr(owner, method), asyncio.Event()

        def raises_once(*given: Any) -> Any:
            if not raised.is_set():
                raised.set()
                raise ValueError("a bug")
            return right(*given)

        monkeypatch.setattr(owner, method, raises_once)
        assert await node.publish("news", "what the bug hits")
        await eventually(raised.is_set)
        await delivers_again(node, client)
        assert node.count("callback_errors_total", f'where="{where}"') == 1
        assert node.node.status().ready
