"""wsload as tests steer it: line by line, with any option."""

from __future__ import annotations

import asyncio
import contextlib
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from typing import Any

from tests.load.tools import Tools

_TOOL_TIMEOUT_S = 20


class Wsload:
    """A running wsload that is steered over its standard input."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def event(self) -> dict[str, Any]:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        async with asyncio.timeout(_TOOL_TIMEOUT_S):
            event: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return event

    async def expect(self, publications: int) -> dict[str, Any]:
        """Tell how many publications each client is to receive; return the summary."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"expect %d\n" % publications)
        return await self.event()


@contextlib.asynccontextmanager
async def wsload(tools: Tools, *ports: int, **options: object) -> AsyncIterator[Wsload]:
    """Run wsload with options, of which True is a switch."""
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    process = await asyncio.create_subprocess_exec(
        tools.wsload,
        "--control",
        f"--ports={','.join(map(str, ports))}",
        *(argument.removesuffix("=True") for argument in arguments),
        stdin=PIPE,
        stdout=PIPE,
    )
    try:
        yield Wsload(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(_TOOL_TIMEOUT_S):
            assert await process.wait() == 0
