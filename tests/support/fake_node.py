"""A node's internal port, and nothing behind it: says what the test wants, records what it is told.

Every one listens on a loopback address of its own, all on the same port, as a cluster's Pods do.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from aiohttp import web

KEY: Final = "the admin key"


class FakeNode:
    """One node that answers on `ip`."""

    def __init__(self, ip: str) -> None:
        """Serve nobody yet."""
        self.ip = ip
        self.port = 0
        self.status: Any = {"boot_id": f"boot of {ip}", "num_clients": 0, "unknown_field": []}
        self.told: list[tuple[str, Any]] = []
        self.key = KEY
        self.refuses = 0
        """The status that orders are refused with; 0: they are not."""
        self.gate: asyncio.Barrier | None = None
        """If there is one, an order is taken when as many have come as it is for."""
        self.is_hung = False
        self.pauses_s = 0.0
        """Between the two parts in which the status is sent; 0: it is sent as one."""
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> int:
        """Listen; return the port."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/status", self._status),
                web.post("/drain", self._order),
                web.post("/shed", self._order),
                web.post("/budget", self._order),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.ip, port).start()
        self.port = self._runner.addresses[0][1]
        return self.port

    async def stop(self) -> None:
        """Listen no more."""
        assert self._runner
        await self._runner.cleanup()

    async def _status(self, request: web.Request) -> web.StreamResponse:
        if self.is_hung:
            await asyncio.Event().wait()
        if self.pauses_s:
            return await self._status_in_parts(request)
        if isinstance(self.status, str):
            return web.Response(text=self.status)
        return web.json_response(self.status)

    async def _status_in_parts(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        text = json.dumps(self.status).encode()
        await response.write(text[: len(text) // 2])
        await asyncio.sleep(self.pauses_s)
        await response.write(text[len(text) // 2 :])
        return response

    async def _order(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.Response(status=401, text="send the admin key")
        if self.refuses:
            return web.Response(status=self.refuses, text="not now")
        if self.gate:
            await self.gate.wait()
        body = await request.json()
        self.told.append((request.path, body))
        if isinstance(self.status, dict) and request.path == "/drain":
            self._obey(body["phase"])
        return web.json_response({})

    def _obey(self, order: str) -> None:
        """Do at once what takes a node some time."""
        phase = {"cordon": "cordoned", "drain": "drained", "abort": "serving"}[order]
        self.status |= {"accepting": order == "abort", "drain": {"phase": phase}}
        if order == "drain":
            self.status["num_clients"] = 0
