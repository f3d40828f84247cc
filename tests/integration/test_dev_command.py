"""`realtime-node dev` as a person uses it: started, read, tried, broken and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.support.conditions import eventually
from tests.support.dev_cluster import DevCluster
from tests.support.node_process import NODE, free_port
from tests.support.prerequisites import require
from tests.support.redis_server import RedisServer
from tests.support.tokens import SECRET, token
from tests.support.wire_client import WireClient

if TYPE_CHECKING:
    from collections.abc import Iterable

# A node takes a second or two to start on an idle machine, which a machine of tests is not.
pytestmark = pytest.mark.thorough


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; what nobody has collected yet does not."""
    left = []
    for process in processes:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
        except psutil.NoSuchProcess:
            continue
    return left


def left_behind(directory: Path) -> list[Path]:
    """What the cluster made for itself and did not remove."""
    return list(directory.glob("realtime-dev-*"))


async def connected(url: str, jwt: str, channel: str = "chat:lobby") -> tuple[WireClient, str]:
    """A client that is subscribed to a channel, and the id of its node."""
    client = await WireClient.open(url)
    reply = await client.call({"id": 1, "connect": {"token": jwt}})
    assert "connect" in reply, reply
    subscribed = await client.call({"id": 2, "subscribe": {"channel": channel}})
    assert "subscribe" in subscribed, subscribed
    return client, reply["connect"]["node"]


async def next_publication(client: WireClient) -> dict[str, Any]:
    """The next publication, whoever comes and goes meanwhile."""
    while True:
        publication = (await client.next()).get("push", {}).get("pub")
        if publication is not None:
            return dict(publication)


# --- started and tried ---------------------------------------------------------------------------


async def test_what_the_banner_shows_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The token connects, the curl line publishes, on one port that both nodes share."""
    require("curl", "apt-get install curl")
    async with DevCluster(tmp_path) as cluster:
        with capsys.disabled():
            print(f"\nrealtime-node dev: banner after {cluster.started_in_s:.1f} s")  # noqa: T201
        banner = cluster.banner
        assert len(banner.nodes) == 2
        [url], [jwt] = banner.row("WebSocket"), banner.row("Token")[:1]
        client, _ = await connected(url, jwt)
        async with client:
            subprocess.run(banner.curl, shell=True, check=True, timeout=10)  # noqa: ASYNC221, S602
            publication = await next_publication(client)
            assert publication["data"] == {"text": "Hello from curl"}


async def test_both_nodes_take_connections_on_the_shared_port(tmp_path: Path) -> None:
    """The kernel spreads connections, and a message crosses from one node to the other."""
    async with DevCluster(tmp_path) as cluster:
        [url], jwt = cluster.banner.row("WebSocket"), cluster.banner.row("Token")[0]
        clients: dict[str, WireClient] = {}
        for _ in range(64):  # all on one node: once in 2^63
            client, node = await connected(url, jwt)
            if node in clients:
                await client.close()
            clients.setdefault(node, client)
            if len(clients) == 2:
                break
        assert set(clients) == {node.node_id for node in cluster.banner.nodes}
        sender, receiver = clients.values()
        publish = {"channel": "chat:lobby", "data": {"text": "across"}}
        await sender.call({"id": 3, "publish": publish})
        publication = await next_publication(receiver)
        assert publication["data"] == {"text": "across"}
        assert publication["info"]["user"] == "you"
        await sender.close()
        await receiver.close()


async def test_without_a_server_on_path_the_embedded_valkey_is_started(tmp_path: Path) -> None:
    """The package's extra `dev` is all that is needed."""
    environ = {"PATH": str(tmp_path)}
    async with DevCluster(tmp_path, "--nodes", "1", environ=environ) as cluster:
        assert "1 node on Valkey " in cluster.banner.text
        answer = await cluster.api("publish", channel="chat:lobby", data={"text": "hi"})
        assert answer["result"]["offset"] == 1


async def test_a_given_redis_is_used_and_left_running(tmp_path: Path) -> None:
    """Nothing but nodes is started, and keys have a prefix of their own."""
    with RedisServer() as redis:
        async with DevCluster(tmp_path, "--nodes", "1", "--redis", redis.url) as cluster:
            assert {process.pid for process in cluster.children()} == {cluster.banner.nodes[0].pid}
            await cluster.api("publish", channel="chat:lobby", data={"text": "hi"})
        cli = [require("redis-cli", "apt-get install redis-tools"), "-s", str(redis.socket)]
        keys = subprocess.run(  # noqa: ASYNC221
            [*cli, "--scan"], check=True, capture_output=True, text=True, timeout=10
        )
        assert keys.stdout
        assert all("realtime-dev" in key for key in keys.stdout.splitlines())


async def test_given_settings_are_tried_out(tmp_path: Path) -> None:
    """A file's channels and secrets hold, variables override the file, and secrets stay unseen."""
    settings = {
        "http_server": {"port": 1},
        "client": {"token": {"hmac_secret_key": "overridden-by-the-environment-xx"}},
        "channel": {"namespaces": [{"name": "orders", "allow_subscribe_for_client": True}]},
        "websocket": {"handler_prefix": "/sockets"},
    }
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(settings))
    environ = {
        "REALTIME_NODE_CLIENT__TOKEN__HMAC_SECRET_KEY": SECRET,
        "REALTIME_NODE_HTTP_SERVER__INTERNAL_PORT": "2",
    }
    arguments = ("--nodes", "1", "--config", str(file))
    async with DevCluster(tmp_path, *arguments, environ=environ) as cluster:
        [url] = cluster.banner.row("WebSocket")
        assert url.endswith("/sockets")
        assert SECRET not in cluster.banner.text
        client, _ = await connected(url, token(sub="ann"), "orders:1")
        async with client:
            publish = {"channel": "orders:1", "data": {}}
            refused = await client.call({"id": 3, "publish": publish})
            assert refused["error"]["code"] == 103


# --- refused -------------------------------------------------------------------------------------


def refusal(*arguments: str) -> str:
    """What `dev` says when it does not even start."""
    done = subprocess.run(
        [NODE, "dev", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("each", [(), ("--port-each",)])
async def test_a_port_that_is_taken_is_named_with_a_way_out(
    tmp_path: Path, each: tuple[str, ...]
) -> None:
    """Another cluster counts, too, though the kernel would let it share the port."""
    async with DevCluster(tmp_path, "--nodes", "1", *each) as cluster:
        port = cluster.banner.row("Chat page")[0].rpartition(":")[2]
        said = refusal("--port", port, *each)
    assert f"port {port}" in said
    assert "--port" in said


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--nodes", "0"), "from 1 to 16"),
        (("--nodes", "many"), "from 1 to 16"),
        (("--port", "65536"), "from 0 to 65535"),
        (("--port", "65535", "--port-each"), "choose a lower one"),
        (("--redis", "http://127.0.0.1"), "HOST:PORT"),
        (("--config", "absent.json"), "there is no such file"),
    ],
)
def test_wrong_arguments_are_explained(arguments: tuple[str, ...], hint: str) -> None:
    """The message says what is allowed."""
    assert hint in refusal(*arguments)


def test_a_redis_that_cannot_be_reached_ends_the_start() -> None:
    """The nodes' reason is shown, and none is left."""
    said = refusal("--nodes", "1", "--port", "0", "--redis", f"127.0.0.1:{free_port()}")
    assert "node-1" in said
    assert "is not ready after" in said


# --- broken --------------------------------------------------------------------------------------


async def test_a_node_that_dies_is_started_again(tmp_path: Path) -> None:
    """The log says that it died, of what, and that it is back, on the same port."""
    async with DevCluster(tmp_path, "--port-each") as cluster:
        node = cluster.banner.nodes[0]
        os.kill(node.pid, signal.SIGKILL)
        await eventually(lambda: "is back: pid" in cluster.log(), what="its return")
        assert f"node-1 | pid {node.pid} died: ended by SIGKILL" in cluster.log()
        nodes = (await cluster.api("info"))["result"]["nodes"]
        assert {each["name"] for each in nodes} == {"node-1", "node-2"}


async def test_the_death_of_valkey_ends_everything(tmp_path: Path) -> None:
    """A cluster without its store is none: all processes go, and the status tells."""
    async with DevCluster(tmp_path) as cluster:
        children = cluster.children()
        pids = {node.pid for node in cluster.banner.nodes}
        [valkey] = [process for process in children if process.pid not in pids]
        valkey.kill()
        assert await cluster.ended() == 1
        assert "died (ended by SIGKILL)" in cluster.log()
        assert alive(children) == []


# --- ended ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_everything_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """Clients are told, no process and no file is left."""
    async with DevCluster(tmp_path) as cluster:
        children = cluster.children()
        assert len(children) == 3
        client, _ = await connected(
            cluster.banner.row("WebSocket")[0], cluster.banner.row("Token")[0]
        )
        cluster.send(number)
        assert await cluster.ended() == 0
        message = await client.next()
        while "close" not in message:
            message = await client.next()
        assert message["close"]["code"] == 3001
        await client.close()
        assert alive(children) == []
        assert left_behind(tmp_path) == []


async def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    """Whoever changes their mind need not wait for the banner."""
    cluster = DevCluster(tmp_path)
    cluster.launch()
    await eventually(lambda: len(cluster.children()) >= 2, what="the first node's process")
    children = cluster.children()
    cluster.send(signal.SIGINT)
    assert await cluster.ended() == 0
    assert alive(children) == []
    assert left_behind(tmp_path) == []


async def test_a_second_signal_hurries(tmp_path: Path) -> None:
    """A node that hangs is not waited for any longer."""
    async with DevCluster(tmp_path) as cluster:
        children = cluster.children()
        os.kill(cluster.banner.nodes[0].pid, signal.SIGSTOP)
        cluster.send(signal.SIGINT)
        await eventually(lambda: "node-2 | " in cluster.log() and "stopped" in cluster.log())
        assert cluster.is_running
        cluster.send(signal.SIGINT)
        await cluster.ended()
        assert "node-1 | did not end in time and was killed" in cluster.log()
        assert alive(children) == []


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a child of its parent's death"
)
async def test_no_process_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    """SIGKILL leaves the supervisor no last word, so the kernel has it."""
    async with DevCluster(tmp_path) as cluster:
        children = cluster.children()
        assert len(children) == 3
        cluster.send(signal.SIGKILL)
        await cluster.ended()
        try:
            await eventually(lambda: not alive(children), what="the children's end")
        finally:
            for process in alive(children):
                process.kill()
