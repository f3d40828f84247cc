"""Settings that change while a real node serves real clients."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest

from realtime_node.server.tokens import make_connection_token
from tests.support.conditions import NEVER_S
from tests.support.node_process import NodeProcess
from tests.support.team import TeamServer
from tests.support.wire_client import Refused, WireClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

OLD_KEY: Final = "o" * 32
NEW_KEY: Final = "n" * 32


def settings(*namespaces: dict[str, Any], key: str = OLD_KEY, **more: Any) -> dict[str, Any]:
    """What the file says."""
    return {
        "http_api": {"key": "api"},
        "client": {"token": {"hmac_secret_key": key, **more.pop("token", {})}, **more},
        "channel": {"namespaces": list(namespaces)},
    }


CHAT: Final = {"name": "chat", "allow_subscribe_for_client": True}
FIRST: Final = settings(CHAT)


def subscribe(command_id: int, channel: str) -> dict[str, Any]:
    """A command."""
    return {"id": command_id, "subscribe": {"channel": channel}}


async def push(client: WireClient, kind: str) -> dict[str, Any]:
    """Wait for a push of a kind; what comes before it is let go."""
    while kind not in (message := await client.next()).get("push", {}):
        pass
    found: dict[str, Any] = message["push"]
    return found


class World:
    """A node, its file, and clients of it."""

    def __init__(self, node: NodeProcess, stack: AsyncExitStack, http: aiohttp.ClientSession):
        """Know a node that serves."""
        self.node = node
        self.connected: dict[str, Any] = {}
        self._stack = stack
        self._http = http

    async def client(self, *, key: str = OLD_KEY) -> WireClient:
        """A client that has said connect; the answer is in `connected`."""
        client = await self._stack.enter_async_context(
            await WireClient.open(self.node.websocket_url)
        )
        token = make_connection_token(key, "ann", expires_at=int(time.time()) + 600)
        self.connected = await client.call({"id": 1, "connect": {"token": token}})
        return client

    def write(self, values: dict[str, Any]) -> None:
        """Replace the file's content."""
        self.node.settings_path.write_text(self.node.file_of(values))

    async def status(self) -> dict[str, Any]:
        """What the node says of its settings."""
        async with self._http.get(f"{self.node.http_url}/status") as answer:
            found: dict[str, Any] = (await answer.json())["settings"]
            return found

    async def wait(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the status once it is as it should be."""
        deadline = time.monotonic() + NEVER_S
        while True:
            status = await self.status()
            if condition(status):
                return status
            assert time.monotonic() < deadline, (status, self.node.log())
            await asyncio.sleep(0.02)

    async def taken(self, values: dict[str, Any]) -> dict[str, Any]:
        """Write the file, tell the node, and wait until it has taken it."""
        before = await self.status()
        self.write(values)
        self.node.send(signal.SIGHUP)
        return await self.wait(lambda status: status["loaded_at"] > before["loaded_at"])

    async def publish(self, channel: str, key: str = "api") -> dict[str, Any]:
        """Publish through the HTTP API."""
        async with self._http.post(
            f"{self.node.http_url}/api/publish",
            json={"channel": channel, "data": {}},
            headers={"X-API-Key": key},
        ) as answer:
            body: dict[str, Any] = await answer.json() if answer.status == 200 else {}
            return {"status": answer.status, **body}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A node with one namespace."""
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(NodeProcess(FIRST, tmp_path))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield World(node, stack, http)


async def test_a_namespace_changes_under_a_connected_client(world: World) -> None:
    """A permission and a namespace that come count for the connection that is there."""
    client = await world.client()
    assert "connect" in world.connected
    assert "subscribe" in await client.call(subscribe(2, "chat:a"))
    assert (await client.call({"id": 3, "publish": {"channel": "chat:a", "data": 1}}))["error"][
        "code"
    ] == 103
    assert (await client.call(subscribe(4, "news:a")))["error"]["code"] == 102
    news = {"name": "news", "allow_subscribe_for_client": True}
    await world.taken(settings({**CHAT, "allow_publish_for_client": True}, news))
    assert "publish" in await client.call({"id": 5, "publish": {"channel": "chat:a", "data": 1}})
    assert "subscribe" in await client.call(subscribe(6, "news:a"))
    assert not client.closed


async def test_a_namespace_that_goes_ends_its_subscriptions(world: World) -> None:
    """Its subscribers are told for good, the connection and the other channels stay."""
    news = {"name": "news", "allow_subscribe_for_client": True}
    await world.taken(settings(CHAT, news))
    client = await world.client()
    for command_id, channel in enumerate(("chat:a", "news:a"), start=2):
        assert "subscribe" in await client.call(subscribe(command_id, channel))
    await world.taken(settings(CHAT))
    ended = await push(client, "unsubscribe")
    assert ended["channel"] == "news:a"
    assert ended["unsubscribe"]["code"] == 2000
    assert (await world.publish("news:a"))["error"]["code"] == 102
    assert "result" in await world.publish("chat:a")
    assert await push(client, "pub")


async def test_a_wrong_file_keeps_the_old_settings(world: World) -> None:
    """Nothing of it counts, what is wrong is told, and the node takes it when it is right."""
    wrong = settings(CHAT, {"name": "news"})
    wrong["http_api"] = {"key": "other"}
    wrong["channel"]["namespaces"][1]["histroy_size"] = 1
    world.write(wrong)
    status = await world.wait(lambda status: status["reload_error"])
    assert "histroy_size" in status["reload_error"]
    assert (await world.publish("chat:a"))["status"] == 200
    assert (await world.publish("chat:a", key="other"))["status"] == 401
    assert (await world.publish("news:a"))["error"]["code"] == 102
    world.node.settings_path.write_text("{")
    await world.wait(lambda status: "not JSON" in (status["reload_error"] or ""))
    world.write(settings(CHAT, {"name": "news"}))
    await world.wait(lambda status: status["reload_error"] is None)
    assert "result" in await world.publish("news:a")


async def test_a_mounted_configmap_is_swapped(tmp_path: Path) -> None:
    """Kubernetes changes a link to a directory: the file's path never changes."""
    node = NodeProcess(FIRST, tmp_path)
    mounted = node.settings_path
    first, second = tmp_path / "..1", tmp_path / "..2"
    for folder, values in ((first, FIRST), (second, settings(CHAT, {"name": "news"}))):
        folder.mkdir()
        (folder / mounted.name).write_text(node.file_of(values))
    mounted.unlink()
    (tmp_path / "..data").symlink_to(first.name)
    mounted.symlink_to(Path("..data") / mounted.name)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(node)
        world = World(node, stack, await stack.enter_async_context(aiohttp.ClientSession()))
        assert (await world.publish("news:a"))["error"]["code"] == 102
        before = await world.status()
        (tmp_path / "..data_tmp").symlink_to(second.name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        await world.wait(lambda status: status["revision"] != before["revision"])
        assert "result" in await world.publish("news:a")


async def test_sighup_reads_again(world: World) -> None:
    """The node lives, and has read its file although that looks as before."""
    before = await world.status()
    world.node.send(signal.SIGHUP)
    after = await world.wait(lambda status: status["loaded_at"] > before["loaded_at"])
    assert after["revision"] == before["revision"]
    assert world.node.is_running


async def test_what_needs_a_restart_waits_for_one(world: World) -> None:
    """The node says which keys wait; what else changed counts."""
    changed = settings(CHAT, {"name": "news"}, ping_interval="20s")
    status = await world.taken(changed)
    assert [each["key"] for each in status["needs_restart"]] == ["client.ping_interval"]
    assert "result" in await world.publish("news:a")
    await world.client()
    assert world.connected["connect"]["ping"] == 25


async def test_a_key_is_changed_without_refusing_anybody(world: World) -> None:
    """Tokens of both keys are good while both are set; then those of the old one are not."""
    both = settings(CHAT, key=NEW_KEY, token={"hmac_previous_secret_key": OLD_KEY})
    await world.taken(both)
    await world.client(key=OLD_KEY)
    assert "connect" in world.connected
    connected = await world.client(key=NEW_KEY)
    assert "connect" in world.connected
    await world.taken(settings(CHAT, key=NEW_KEY))
    await world.client(key=OLD_KEY)
    assert world.connected["close"]["code"] == 3500
    await world.client(key=NEW_KEY)
    assert "connect" in world.connected
    assert "subscribe" in await connected.call(subscribe(2, "chat:a"))


async def test_a_proxy_comes_and_moves_under_a_connected_client(world: World) -> None:
    """The team's backend is asked from now on, and then at another address."""
    client = await world.client()
    async with TeamServer() as team:
        for command_id, place in enumerate(("/first", "/second"), start=2):
            values = settings({"name": "team", "subscribe_proxy_enabled": True})
            values["channel"]["proxy"] = {"subscribe": {"endpoint": team.url(place)}}
            team.answers[place] = {"result": {}}
            await world.taken(values)
            assert "subscribe" in await client.call(subscribe(command_id, f"team:{command_id}"))
            assert [each["channel"] for each in team.asked(place)] == [f"team:{command_id}"]
    assert not client.closed


async def test_limits_of_admission_and_of_clients_count_at_once(world: World) -> None:
    """A node that is full by the new limit lets nobody in; a client may have no more channels."""
    client = await world.client()
    assert "connect" in world.connected
    values = settings(CHAT, channel_limit=1)
    values["admission"] = {"max_connections": 1}
    await world.taken(values)
    assert "subscribe" in await client.call(subscribe(2, "chat:a"))
    assert (await client.call(subscribe(3, "chat:b")))["error"]["code"] == 106
    with pytest.raises(Refused, match="503"):
        await WireClient.open(world.node.websocket_url)


async def test_frames_follow_new_rules_of_a_channel_that_is_there(world: World) -> None:
    """An interval that comes holds the second message back, for the subscriber that is there."""
    client = await world.client()
    assert "subscribe" in await client.call(subscribe(2, "chat:a"))
    await world.taken(settings({**CHAT, "batch": {"interval": "1s"}}))
    began = time.monotonic()
    for _ in range(2):
        await world.publish("chat:a")
    for _ in range(2):
        await push(client, "pub")
    assert time.monotonic() - began >= 0.9
