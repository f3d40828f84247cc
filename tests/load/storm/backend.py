"""The team's backend in a process of its own: lets everybody in, counts how often it is asked.

`POST /connect` answers the node's question who a client is with what its cookie says; `GET /asked`
tells how many were asked. `python -m tests.load.storm.backend` serves on a port that the kernel
gives, names it on standard output, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
from aiohttp import web

_START_WITHIN_S: Final = 15.0
_END_WITHIN_S: Final = 5.0


class Backend:
    """A running backend, as the lab sees it. Made by `running`."""

    def __init__(self, port: int) -> None:
        """Be at a port of the loopback interface."""
        self._url = f"http://127.0.0.1:{port}"

    @property
    def endpoint(self) -> str:
        """Where nodes ask who connects."""
        return f"{self._url}/connect"

    async def asked(self) -> int:
        """Return how often it was asked until now."""
        async with aiohttp.ClientSession() as session, session.get(f"{self._url}/asked") as answer:
            return int(await answer.text())


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Backend]:
    """Run one.

    Raises:
        TimeoutError: it does not start.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.load.storm.backend"), stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_WITHIN_S):
            port = int(await process.stdout.readline())
        yield Backend(port)
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(_END_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _application() -> web.Application:
    asked = 0

    async def connect(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response({"result": {"user": request.headers["Cookie"]}})

    async def tell(_: web.Request) -> web.Response:
        return web.Response(text=str(asked))

    application = web.Application()
    application.add_routes([web.post("/connect", connect), web.get("/asked", tell)])
    return application


async def _serve() -> None:
    runner = web.AppRunner(_application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve())
