"""A backend in a process of its own: each answer is an error with a code of the caller's choice.

`python -m tests.load.holds.backend` serves on a port that the kernel gives, names it on standard
output, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

FIRST_CODE: Final = 1_000
"""Codes of a backend begin here."""

_START_WITHIN_S: Final = 15.0


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[str]:
    """Run one; yields the URL that calls go to."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.load.holds.backend"), stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_WITHIN_S):
            port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}/rpc"
    finally:
        process.stdin.close()
        await process.wait()


async def _rpc(request: web.Request) -> web.Response:
    asked = await request.json()
    return web.json_response({"error": {"code": int(asked["method"]), "message": "no"}})


async def _serve() -> None:
    application = web.Application()
    application.add_routes([web.post("/rpc", _rpc)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve())
