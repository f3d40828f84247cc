"""The crowd as a scenario uses it: several members, started, told, heard, and judged at the end."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from tests.load.generators import GeneratorError
from tests.load.storm.backoff import DOCUMENTED, Backoff
from tests.load.storm.messages import (
    Choose,
    Churn,
    Judge,
    Mark,
    Order,
    Report,
    Second,
    Stall,
    Start,
    Story,
)
from tests.load.storm.timeline import Timeline
from tests.support.conditions import eventually
from tests.support.tokens import SECRET

_LINE_MAX_BYTES: Final = 64 << 20
_STORY_WITHIN_S: Final = 30.0
_END_WITHIN_S: Final = 5.0

_reports: Final[msgspec.json.Decoder[Report]] = msgspec.json.Decoder(Report)


@dataclass(frozen=True)
class Plan:
    """Who makes up a crowd."""

    clients: int
    nodes: Sequence[int]
    """Ports among which they choose."""
    channels: Sequence[str]
    connects_per_s: float
    members: int = 2
    backoff: Backoff = DOCUMENTED
    first: int = 0

    def of_members(self) -> Iterator[Start]:
        """Share the clients out evenly."""
        share, rest = divmod(self.clients, self.members)
        first = self.first
        for member in range(self.members):
            clients = share + (member < rest)
            yield Start(
                nodes=list(self.nodes),
                first=first,
                clients=clients,
                channels=list(self.channels),
                secret=SECRET,
                connects_per_s=self.connects_per_s / self.members,
                least_delay_s=self.backoff.least_s,
                most_delay_s=self.backoff.most_s,
            )
            first += clients


@dataclass
class _Member:
    """One process, and what it told last."""

    process: Process
    here: int = 0
    cpu_s: float = 0.0
    story: asyncio.Future[Story] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def tell(self, order: Order) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(order) + b"\n")


class Crowd:
    """Running members. Made by `gathered`, which ends them."""

    def __init__(self, clients: int) -> None:
        """Have no members yet."""
        self.clients = clients
        self.timeline = Timeline()
        self.ended = 0
        self._members: list[_Member] = []

    @property
    def here(self) -> int:
        """How many clients are connected and subscribed, as told within the last second."""
        return sum(member.here for member in self._members)

    @property
    def cpu_s(self) -> float:
        """What playing them has cost."""
        return sum(member.cpu_s for member in self._members)

    def choose(self, nodes: Sequence[int]) -> None:
        """Tell the balancer which nodes there are."""
        self._tell(Choose(list(nodes)))

    def mark(self, part: str) -> float:
        """Begin a part of the scenario, see `Mark`; return when."""
        self._tell(Mark(part))
        return time.monotonic()

    def churn(self, per_s: float) -> None:
        """Let clients drop out at a rate, each to come back."""
        self._tell(Churn(per_s / len(self._members)))

    def stall(self, clients: int, seconds: float) -> None:
        """Let some read nothing for a while."""
        self._tell(Stall(clients // len(self._members), seconds))

    async def all_here(self, *, within_s: float) -> float:
        """Wait until every client is connected and subscribed; return how long it took.

        Raises:
            AssertionError: some are not.
        """
        began = time.monotonic()
        try:
            await eventually(lambda: self.here >= self.clients, within_s=within_s)
        except AssertionError:
            raise AssertionError(
                f"{self.here} of {self.clients} clients are connected after {within_s:.0f} s;"
                f" {self.timeline.troubles()}"
            ) from None
        return time.monotonic() - began

    async def judged(self) -> list[Story]:
        """End the clients and hear what became of them.

        Raises:
            GeneratorError: a member does not tell.
        """
        self._tell(Judge())
        try:
            async with asyncio.timeout(_STORY_WITHIN_S):
                return [await member.story for member in self._members]
        except TimeoutError:
            raise GeneratorError("a member of the crowd did not tell its story") from None

    def _tell(self, order: Order) -> None:
        for member in self._members:
            member.tell(order)

    async def join(self, start: Start) -> None:
        """Start a member; `listen` has to be running for it."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.load.storm.member"),
            stdin=PIPE,
            stdout=PIPE,
            limit=_LINE_MAX_BYTES,
        )
        self._members.append(_Member(process))
        self._members[-1].tell(start)

    async def listen(self) -> None:
        """Take what the members tell until they end.

        Raises:
            GeneratorError: one ended before it told its story.
        """
        async with asyncio.TaskGroup() as listening:
            for number, member in enumerate(self._members):
                listening.create_task(self._hear(number, member))

    async def _hear(self, number: int, member: _Member) -> None:
        assert member.process.stdout is not None
        while line := await member.process.stdout.readline():
            report = _reports.decode(line)
            if isinstance(report, Second):
                member.here, member.cpu_s = report.here, report.cpu_s
                self.timeline.add(number, report)
            else:
                member.story.set_result(report)
        if not member.story.done():
            error = GeneratorError("a member of the crowd ended early; it says why above")
            member.story.set_exception(error)
            raise error

    async def end(self) -> None:
        """Let the members end; kill those that do not."""
        for member in self._members:
            if member.process.stdin is not None:
                member.process.stdin.close()
            try:
                async with asyncio.timeout(_END_WITHIN_S):
                    await member.process.wait()
            except TimeoutError:
                member.process.kill()
                await member.process.wait()
            if not member.story.done():
                member.story.cancel()


@contextlib.asynccontextmanager
async def gathered(*plans: Plan) -> AsyncIterator[Crowd]:
    """Run a crowd of one or more kinds of clients; they are on their way when this yields.

    Raises:
        GeneratorError: a member failed.
    """
    crowd = Crowd(sum(plan.clients for plan in plans))
    listening: asyncio.Task[None] | None = None
    try:
        first = 0
        for plan in plans:
            for start in replace(plan, first=first).of_members():
                await crowd.join(start)
            first += plan.clients
        listening = asyncio.create_task(crowd.listen())
        yield crowd
    finally:
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        await crowd.end()
