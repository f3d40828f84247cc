"""Socket.IO is measured like the others: its clients count exactly, its server really serves."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.load import generators, servers, suite
from tests.load.fake_socketio import FakeSocketIo, serving
from tests.load.servers import OUR_NODE, Kind, Protocol, Server, socketio
from tests.load.socketio import SocketIoNotInstalledError, install_socketio
from tests.load.steered_wsload import wsload
from tests.load.tools import Tools
from tests.support.conditions import eventually
from tests.support.prerequisites import require


@pytest.fixture
async def fake() -> AsyncIterator[FakeSocketIo]:
    """A server that sends what the test tells it to."""
    async with serving() as running:
        yield running


@pytest.fixture(scope="module")
def kind() -> Kind:
    """The server of the benchmark."""
    require("npm", fix="install Node.js 18.19 or newer with npm")
    try:
        return socketio(install_socketio())
    except SocketIoNotInstalledError as failure:
        require(needed=False, fix=f"cd tests/load/peers/socketio && npm ci ({failure})")
        raise


@pytest.fixture
async def server(kind: Kind, tmp_path: Path) -> AsyncIterator[Server]:
    """One node, without Redis."""
    async with servers.running(kind, tmp_path) as running:
        yield running


async def test_a_client_opens_connects_and_subscribes_in_turn(
    tools: Tools, fake: FakeSocketIo
) -> None:
    """Each step waits for the answer to the one before, as the SDK's do."""
    async with wsload(
        tools, fake.port, clients=1, protocol="socket.io", channel="c", channels=3, seconds=0
    ) as load:
        assert (await load.event())["subscribed"] == 1
    assert fake.said == ["40", '420["subscribe","c0"]']


async def test_every_event_is_a_publication_and_a_frame(tools: Tools, fake: FakeSocketIo) -> None:
    """30 events to 10 clients are 300 publications, one to a frame, with their latency."""
    async with wsload(tools, fake.port, clients=10, protocol="socket.io") as load:
        await load.event()
        await fake.publish(30)
        summary = await load.expect(30)
    assert (summary["publications"], summary["frames"], summary["complete"]) == (300, 300, 10)
    assert summary["publications_per_frame"] == summary["most_per_frame"] == 1
    assert 0 < summary["p99_ms"] < 5_000
    assert (summary["lost"], summary["errors"]) == (0, 0)


async def test_pings_are_answered_and_count_as_nothing(tools: Tools, fake: FakeSocketIo) -> None:
    """A server whose pings stay unanswered would drop the client."""
    async with wsload(tools, fake.port, clients=2, protocol="socket.io", seconds=5) as load:
        await load.event()
        await fake.ping()
        await eventually(lambda: fake.pongs == 2)
        await fake.publish(1)
        summary = await load.expect(1)
    assert (summary["publications"], summary["frames"]) == (2, 2)


async def test_a_refused_connect_is_an_error(tools: Tools, fake: FakeSocketIo) -> None:
    """A client whose namespace is refused does not count as subscribed."""
    fake.connect_error = "not authorized"
    async with wsload(tools, fake.port, clients=2, protocol="socket.io", seconds=0) as load:
        ready = await load.event()
    assert (ready["errors"], ready["subscribed"]) == (2, 0)


async def test_a_client_that_is_disconnected_is_lost(tools: Tools, fake: FakeSocketIo) -> None:
    """The server may end the subscription while the connection stays: nothing more comes then."""
    async with wsload(tools, fake.port, clients=2, protocol="socket.io", seconds=0.5) as load:
        await load.event()
        await fake.clients[0].send_str("41")
        summary = await load.expect(1)
    assert (summary["lost"], summary["errors"]) == (1, 1)


async def test_what_is_published_over_http_reaches_everyone_in_the_room(
    tools: Tools, server: Server
) -> None:
    """Single requests and batches arrive whole, a publication to a frame."""
    async with generators.clients(
        tools, [server.port], 20, seconds=10, protocol=server.protocol
    ) as load:
        ports = [server.port]
        single = await generators.publish(tools, ports, seconds=5, requests=8)
        batched = await generators.publish(tools, ports, seconds=5, requests=2, batch=16)
        received = await load.expect(8 + 32)
    assert (single.accepted, batched.accepted) == (8, 32)
    assert (received.complete, received.publications, received.frames) == (20, 800, 800)


async def test_nothing_reaches_another_room(tools: Tools, server: Server) -> None:
    """A channel is a room of its own."""
    async with wsload(
        tools, server.port, clients=2, protocol="socket.io", channels=2, seconds=0.5
    ) as load:
        await load.event()  # they are in bench0 and bench1
        published = await generators.publish(tools, [server.port], seconds=5, requests=3)
        summary = await load.expect(1)
    assert published.accepted == 3
    assert summary["publications"] == 0


async def test_nobody_publishes_without_the_key(server: Server) -> None:
    """The server asks for what the servers beside it ask for."""
    url = f"http://127.0.0.1:{server.port}/api/publish"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={"channel": "bench", "data": {}}) as answer,
    ):
        assert answer.status == 401


async def test_a_server_that_died_is_told(server: Server) -> None:
    """A crash under load ends the measurement with the server's name and its log."""
    server.process.kill()
    with pytest.raises(AssertionError, match=r"Socket\.IO-0 ended under load"):
        server.clock()


async def test_nodes_share_a_redis(tools: Tools, kind: Kind, tmp_path: Path) -> None:
    """What is published to one node reaches the clients of both, once."""
    require("redis-server", fix="apt-get install redis-server")
    async with contextlib.AsyncExitStack() as stack:
        redis_port = await stack.enter_async_context(servers.redis(tmp_path))
        nodes = [
            await stack.enter_async_context(
                servers.running(kind, tmp_path, index=index, redis_port=redis_port)
            )
            for index in range(2)
        ]
        load = await stack.enter_async_context(
            generators.clients(
                tools, [node.port for node in nodes], 10, seconds=10, protocol=kind.protocol
            )
        )
        await generators.publish(tools, [nodes[0].port], seconds=5, requests=3, batch=4)
        received = await load.expect(12)
    assert (received.complete, received.publications) == (10, 120)


def test_a_server_takes_part_where_its_protocol_does() -> None:
    """Socket.IO is left out where clients speak the other protocol only, or the API is ours."""
    peer = socketio(("node", "server.mjs"))
    without = {
        name
        for name, scenario in suite.SCENARIOS.items()
        if peer.name not in dict(scenario.of([OUR_NODE, peer]).subjects)
    }
    assert without == {"compression", "http"}
    assert peer.protocol is Protocol.SOCKET_IO
