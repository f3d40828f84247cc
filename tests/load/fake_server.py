"""A server that does exactly as a test says, to check what the load tools count.

It speaks just enough of the client protocol to be subscribed to, and of the HTTP API to be
published to; nothing happens by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # lingering for no time: the peer sees a reset


@dataclass
class FakeClient:
    """One connection, as the server sees it."""

    socket: web.WebSocketResponse
    transport: asyncio.Transport
    address: str
    channel: str
    pongs: int = 0

    async def close(self, code: int) -> None:
        """Send a close frame, then end the connection."""
        await self.socket.close(code=code)

    def reset(self) -> None:
        """Break the connection off, as the death of a machine does."""
        self.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE
        )
        self.transport.abort()


class FakeServer:
    """Holds what arrived; the fields that a test may change come first."""

    def __init__(self) -> None:
        self.upgrade_status = 101
        self.subscribe_error: dict[str, Any] | None = None
        self.api_status = 200
        self.api_error_every = 0  # every so many publications are answered by an error
        self.api_chunked = False
        self.port = 0
        self.clients: list[FakeClient] = []
        self.published: list[dict[str, Any]] = []  # publish requests, also out of batches
        self.api_keys: list[str | None] = []  # of each API request
        self._publication_numbers = itertools.count(1)

    async def publish(self, count: int, *, per_frame: int, age_s: float = 0, pad: int = 0) -> None:
        """Send so many publications to every client, sharing frames."""
        for start in range(0, count, per_frame):
            size = min(per_frame, count - start)
            sent_ns = time.time_ns() - int(age_s * 1e9)
            data = {"t": sent_ns, "pad": "x" * pad}
            push = _compact({"push": {"channel": "bench", "pub": {"data": data}}})
            frame = "\n".join([push] * size)
            await asyncio.gather(*(c.socket.send_str(frame) for c in self.open_clients()))

    async def ping(self) -> None:
        """Send the protocol's ping to every client."""
        for client in self.open_clients():
            await client.socket.send_str("{}")

    def open_clients(self) -> list[FakeClient]:
        """Return the clients that are still connected."""
        return [client for client in self.clients if not client.socket.closed]

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        """Subscribe a client, then keep what it sends to itself."""
        if self.upgrade_status != 101:
            return web.Response(status=self.upgrade_status)
        websocket = web.WebSocketResponse(timeout=0.1)
        await websocket.prepare(request)
        _, subscribe = (json.loads(c) for c in (await websocket.receive_str()).split("\n"))
        assert request.transport is not None
        assert request.remote is not None
        client = FakeClient(
            websocket, request.transport, request.remote, subscribe["subscribe"]["channel"]
        )
        self.clients.append(client)
        subscribed = {"error": self.subscribe_error} if self.subscribe_error else {"subscribe": {}}
        replies = [{"id": 1, "connect": {"client": "c", "version": "0"}}, {"id": 2, **subscribed}]
        await websocket.send_str("\n".join(map(_compact, replies)))
        async for message in websocket:
            client.pongs += message.type is WSMsgType.TEXT and message.data == "{}"
        return websocket

    async def api(self, request: web.Request) -> web.StreamResponse:
        """Answer a publish or a batch."""
        self.api_keys.append(request.headers.get("X-API-Key"))
        body = await request.json()
        if request.match_info["method"] == "publish":
            answer = self._publish(body)
        else:
            replies = [self._publish(command["publish"]) for command in body["commands"]]
            answer = {"replies": replies}
        text = _compact(answer)
        if not self.api_chunked:
            return web.Response(status=self.api_status, text=text)
        response = web.StreamResponse(status=self.api_status)
        response.enable_chunked_encoding()
        await response.prepare(request)
        for start in range(0, len(text), 7):
            await response.write(text[start : start + 7].encode())
        await response.write_eof()
        return response

    def _publish(self, request: dict[str, Any]) -> dict[str, Any]:
        self.published.append(request)
        number = next(self._publication_numbers)
        if self.api_error_every and number % self.api_error_every == 0:
            return {"error": {"code": 102, "message": "unknown channel"}}
        return {"result": {}}


def _compact(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[FakeServer]:
    """Run a server on a port of the kernel's choice."""
    server = FakeServer()
    app = web.Application()
    app.router.add_get("/connection/websocket", server.websocket)
    app.router.add_post("/api/{method}", server.api)
    # Clients that never close would hold up the end of a test.
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()
