"""Compression with the clients that people use, each with its own idea of permessage-deflate."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import cent
import pytest
import pytest_asyncio
import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.integration.sdk.clients import JavaScriptSdk, PythonSdk, SdkClient, hears
from tests.integration.sdk.conftest import API_KEY
from tests.support.conditions import eventually
from tests.support.node_process import NodeProcess
from tests.support.scrape import scrape
from tests.support.tokens import SECRET, token
from tests.support.wire_client import WireClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

ALL = {f"allow_{what}_for_client": True for what in ("subscribe", "publish", "history")}
SETTINGS = {
    "engine": {"type": "memory"},
    "http_api": {"key": API_KEY},
    "client": {"token": {"hmac_secret_key": SECRET}},
    "log": {"level": "warn"},
    "channel": {"without_namespace": {**ALL, "history_size": 100, "history_ttl": "300s"}},
    "websocket": {"compression": True},
}

_random = random.Random(7)  # noqa: S311 - data of a test
DOCUMENTS = [
    {
        "number": number,
        "lines": [
            {
                "sku": f"A-{_random.randrange(10**6)}",
                "text": "žluťoučký kůň 🐎",
                "price": price / 100,
            }
            for price in _random.sample(range(10_000), lines)
        ],
    }
    # From a frame too short to be compressed to one that no small window holds.
    for number, lines in enumerate((0, 1, 3, 40, 200))
]


@pytest_asyncio.fixture
async def node(tmp_path: Path) -> AsyncIterator[NodeProcess]:
    """A node that compresses for whoever offers it."""
    async with NodeProcess(SETTINGS, tmp_path) as node:
        yield node


class OfferingClient:
    """A client of `websockets` that makes an offer of its own."""

    def __init__(self, offer: Sequence[ClientPerMessageDeflateFactory] | None) -> None:
        self._offer = offer
        self._socket: websockets.ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self.answer = ""
        self.publications: list[Any] = []
        self.replies: dict[int, Any] = {}

    async def connect(self, url: str, channel: str) -> None:
        """Connect and subscribe."""
        self._socket = await websockets.connect(
            url, extensions=self._offer, compression=None, proxy=None
        )
        assert self._socket.response is not None
        self.answer = self._socket.response.headers.get("Sec-WebSocket-Extensions", "")
        self._reader = asyncio.create_task(self._read())
        await self.call(1, connect={"token": token(sub="zoë")})
        await self.call(2, subscribe={"channel": channel})

    async def call(self, number: int, **command: Any) -> Any:
        """Send a command and return its reply."""
        assert self._socket is not None
        await self._socket.send(json.dumps({"id": number, **command}))
        await eventually(lambda: number in self.replies, what=f"a reply to {command}")
        return self.replies[number]

    async def close(self) -> None:
        """Leave."""
        if self._socket is not None:
            await self._socket.close()
        if self._reader is not None:
            await self._reader

    async def _read(self) -> None:
        assert self._socket is not None
        async for frame in self._socket:
            assert isinstance(frame, str), "JSON comes in text frames, compressed or not"
            for message in map(json.loads, frame.split("\n")):
                if "id" in message:
                    self.replies[message["id"]] = message
                elif "pub" in message.get("push", {}):
                    self.publications.append(message["push"]["pub"]["data"])


def window(bits: int) -> list[ClientPerMessageDeflateFactory]:
    """An offer that wants frames for a window of so many bits, and nothing else."""
    return [
        ClientPerMessageDeflateFactory(server_max_window_bits=bits, client_max_window_bits=True)
    ]


async def test_everybody_on_a_channel_reads_the_same(node: NodeProcess) -> None:
    """SDKs that compress, a client with a small window and a plain one, with replies in between."""
    async with AsyncExitStack() as stack:
        sdks: list[SdkClient] = [PythonSdk(), await JavaScriptSdk.start()]
        for sdk in sdks:
            stack.push_async_callback(sdk.close)
            await sdk.connect(node.websocket_url, token(sub="ann"))
            await sdk.subscribe("news")
        small, tiny = OfferingClient(window(10)), OfferingClient(window(9))
        for client in (small, tiny):
            stack.push_async_callback(client.close)
            await client.connect(node.websocket_url, "news")
        assert "server_max_window_bits=10" in small.answer
        plain = await stack.enter_async_context(await WireClient.open(node.websocket_url))
        await plain.call({"id": 1, "connect": {"token": token(sub="bob")}})
        await plain.call({"id": 2, "subscribe": {"channel": "news"}})
        assert (await scrape(node.http_url))["realtime_compressed_clients"] == 4
        for number, document in enumerate(DOCUMENTS, 10):
            await sdks[0].publish("news", document)
            # Replies of their own, above the floor, between the frames that all share.
            for sdk in sdks:
                page = await sdk.history("news", limit=-1)
                assert [each["data"] for each in page["publications"]][-1] == document
            reply = await small.call(number, history={"channel": "news", "limit": -1})
            assert reply["history"]["publications"][-1]["data"] == document
        for sdk in sdks:
            await hears(sdk, "news", DOCUMENTS)
        for client in (small, tiny):
            await eventually(lambda c=client: len(c.publications) == len(DOCUMENTS))  # type: ignore[misc]
            assert client.publications == DOCUMENTS
        assert await plain.has(len(DOCUMENTS))
        assert [each["push"]["pub"]["data"] for each in plain.inbox] == DOCUMENTS


@pytest.mark.parametrize("clients", [1, 30])
async def test_the_number_of_clients_does_not_matter(node: NodeProcess, clients: int) -> None:
    """A publication is compressed once for each window, for one client of it or thirty."""
    document = DOCUMENTS[-1]
    async with AsyncExitStack() as stack:
        crowd = []
        for bits in (15, 10):
            for _ in range(clients):
                client = OfferingClient(window(bits))
                stack.push_async_callback(client.close)
                await client.connect(node.websocket_url, "news")
                crowd.append(client)
        backend = cent.AsyncClient(f"{node.http_url}/api", api_key=API_KEY)
        stack.push_async_callback(backend.close)
        before = await scrape(node.http_url)
        for count in range(1, 6):
            await backend.publish(cent.PublishRequest(channel="news", data=document))
            await eventually(
                lambda: all(len(client.publications) == count for client in crowd)  # noqa: B023
            )
        after = await scrape(node.http_url)
        grown = {
            name: after[f"realtime_{name}"] - before[f"realtime_{name}"]
            for name in ("frames_compressed_total", "frames_built_total", "deliveries_total")
        }
        assert grown == {
            "frames_compressed_total": 2 * 5,
            "frames_built_total": 5,
            "deliveries_total": 2 * clients * 5,
        }
        assert all(client.publications == [document] * 5 for client in crowd)


async def test_it_is_off_unless_it_was_switched_on(tmp_path: Path) -> None:
    """Without the setting nobody gets an extension, whatever was offered."""
    settings = {key: value for key, value in SETTINGS.items() if key != "websocket"}
    async with NodeProcess(settings, tmp_path) as node:
        client = OfferingClient(window(15))
        await client.connect(node.websocket_url, "news")
        assert client.answer == ""
        await client.close()


async def test_offers_on_several_lines_are_one_list(node: NodeProcess) -> None:
    """RFC 6455, 9.1: a header may come in parts; the first offer that fits is taken."""
    key = "Sec-WebSocket-Extensions"
    async with websockets.connect(
        node.websocket_url,
        compression=None,
        proxy=None,
        additional_headers=[
            (key, "x-unknown"),
            (key, "permessage-deflate; server_max_window_bits=8"),
        ],
        extensions=window(11),
    ) as socket:
        assert socket.response is not None
        assert "server_max_window_bits=11" in socket.response.headers[key]
