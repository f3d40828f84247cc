"""Members as the scenarios use them: processes that are started, asked, and watched."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from realtime_node.cluster.on_redis.options import RedisOptions
from tests.load import machine
from tests.load.backplane.requests import (
    Answer,
    AwaitEntries,
    Channels,
    Done,
    Published,
    PublishOnAndOn,
    PublishToEach,
    Request,
    Subscribe,
)
from tests.load.generators import GeneratorError

_ANSWER_WITHIN_S: Final = 60.0
_END_WITHIN_S: Final = 10.0

_answers: Final[msgspec.json.Decoder[Answer]] = msgspec.json.Decoder(Answer)


class Member:
    """A running member. Made by `joined`, which ends it."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def clock(self) -> machine.Clock:
        """Return how long it has run, and waited for its core."""
        return machine.clock(self._process.pid)

    def memory(self) -> machine.Memory:
        """Return the memory in use now."""
        return machine.memory(self._process.pid)

    async def subscribe(self, channels: Channels) -> None:
        """Make it interested in channels."""
        await self._ask(Subscribe(channels))

    async def publish_to_each(self, channels: Channels) -> Published:
        """Have it publish once into every channel."""
        return _published(await self._ask(PublishToEach(channels)))

    async def publish(self, channels: Channels, *, seconds: float, outstanding: int) -> Published:
        """Have it publish round and round, so many at once."""
        return _published(await self._ask(PublishOnAndOn(channels, seconds, outstanding)))

    async def has_taken(self, entries: int) -> None:
        """Wait until it was handed exactly so many entries since it joined."""
        await self._ask(AwaitEntries(entries))

    async def is_ready(self) -> None:
        """Wait until it has joined the cluster."""
        await self._answer()

    def tell(self, line: bytes) -> None:
        """Write a line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")

    async def end(self) -> None:
        """Have it take leave; kill it when it does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_END_WITHIN_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _ask(self, request: Request) -> Answer:
        self.tell(msgspec.json.encode(request))
        return await self._answer()

    async def _answer(self) -> Answer:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise GeneratorError(f"a member said nothing for {_ANSWER_WITHIN_S:.0f} s") from None
        if not line:
            raise GeneratorError("a member ended early; it says why above")
        return _answers.decode(line)


@contextlib.asynccontextmanager
async def joined(options: RedisOptions, count: int) -> AsyncIterator[list[Member]]:
    """Run members of one cluster, each on a core of its own as far as there are any.

    Raises:
        GeneratorError: one did not join.
    """
    members: list[Member] = []
    try:
        for index in range(count):
            process = await asyncio.create_subprocess_exec(
                *machine.pinned(machine.server_core(index)),
                *(sys.executable, "-m", "tests.load.backplane.member"),
                stdin=PIPE,
                stdout=PIPE,
            )
            members.append(Member(process))
            members[-1].tell(msgspec.json.encode(options))
        await asyncio.gather(*(member.is_ready() for member in members))
        yield members
    finally:
        await asyncio.gather(*(member.end() for member in members))


def _published(answer: Answer) -> Published:
    assert not isinstance(answer, Done)
    return answer
