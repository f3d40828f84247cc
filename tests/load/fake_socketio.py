"""A Socket.IO server that does exactly as a test says; `fake_server` speaks the other protocol.

It insists on the order of the protocol: whoever says something before its time is answered nothing.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator

from aiohttp import web

_OPEN = '0{"sid":"e","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
_CONNECTED = '40{"sid":"s"}'
_SUBSCRIBED = "430[]"
_PING, _PONG = "2", "3"


class FakeSocketIo:
    """Holds what arrived; the field that a test may change comes first."""

    def __init__(self) -> None:
        self.connect_error: str | None = None
        self.port = 0
        self.clients: list[web.WebSocketResponse] = []  # that are subscribed
        self.said: list[str] = []  # by all clients, in the order of arrival
        self.pongs = 0

    async def send(self, packet: str) -> None:
        """Send a packet to every client."""
        for client in self.clients:
            await client.send_str(packet)

    async def publish(self, count: int) -> None:
        """Send so many events to every client, each in a frame of its own."""
        for number in range(count):
            data = {"t": time.time_ns(), "number": number}
            await self.send("42" + json.dumps(["pub", data], separators=(",", ":")))

    async def ping(self) -> None:
        """Send the ping of Engine.IO to every client."""
        await self.send(_PING)

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Open, connect and subscribe a client, then count its pongs."""
        assert dict(request.query) == {"EIO": "4", "transport": "websocket"}
        websocket = web.WebSocketResponse(timeout=0.1)
        await websocket.prepare(request)
        await websocket.send_str(_OPEN)
        self.said.append(await websocket.receive_str())
        if self.connect_error is not None:
            await websocket.send_str("44" + json.dumps({"message": self.connect_error}))
        else:
            await websocket.send_str(_CONNECTED)
            self.said.append(await websocket.receive_str())
            await websocket.send_str(_SUBSCRIBED)
            self.clients.append(websocket)
        async for message in websocket:
            self.pongs += message.data == _PONG
        return websocket


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[FakeSocketIo]:
    """Run a server on a port of the kernel's choice."""
    server = FakeSocketIo()
    app = web.Application()
    app.router.add_get("/socket.io/", server.websocket)
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
