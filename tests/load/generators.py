"""The load tools as the scenarios use them: started on their core, steered, and read as results.

    Load       wsload: clients that count what they receive, until they are let go
    publish    publisher: one paced run against the HTTP API
    Credits    the pipe by which the first paces the second: what was delivered may be published

Every wait here is bounded, because the tools bound their own runs, and by a deadline besides.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.load import machine
from tests.load.latencies import Latencies
from tests.load.servers import API_KEY, Protocol
from tests.load.tools import Tools

_DEADLINE_MARGIN_S = 30.0
_LINE_MAX_BYTES = 256 * 1024  # of wsload's output; a summary holds up to 1,800 bins of latencies

_Result = TypeVar("_Result", "Second", "LoadSummary", "PublisherSummary", "SendLoopSummary")


class GeneratorError(Exception):
    """A load tool failed or fell silent; the message tells what it said."""


@dataclass(frozen=True)
class Second:
    """One second of wsload's timeline."""

    second: int
    publications: int
    frames: int
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class LoadSummary:
    """What wsload counted from the moment when all clients were subscribed."""

    clients: int
    subscribed: int
    stalled: int
    lost: int
    lost_stalled: int  # of these; one whose end it cannot see, as it reads nothing, is not lost
    errors: int
    unreachable: int
    closed: dict[str, int]  # close code → clients
    refused: dict[str, int]  # HTTP status → clients
    setup_s: float
    seconds: float
    active_s: float  # from the first publication to the last
    expected: int | None
    complete: int | None  # reading clients that received exactly the expected publications
    fewest: int
    most: int
    publications: int
    frames: int
    publications_per_frame: float
    most_per_frame: int
    bytes: int
    deliveries_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    latencies: Latencies
    disordered: int  # publications older than one before them, by what their publisher says
    cpu_s: float
    timeline: list[Second]


@dataclass(frozen=True)
class PublisherSummary:
    """What publisher sent and what it was answered."""

    requests: int
    answered: int
    accepted: int
    rejected: int
    late: int
    seconds: float
    requests_per_s: float
    publications_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_s: float


@dataclass(frozen=True)
class SendLoopSummary:
    """The cost of sending a ready frame to every connection."""

    sends: int
    seconds: float
    us_per_send: float


class Credits:
    """A pipe of permissions from wsload to publisher: one for each `every` deliveries.

    So publications go out as fast as they are delivered whole, and no faster: the backlog is at
    most `ahead` requests, whatever the server.
    """

    def __init__(self, *, every: int, ahead: int) -> None:
        self.every = every
        self.ahead = ahead
        self.read_end, self.write_end = os.pipe()
        self._open = {self.read_end, self.write_end}

    def __enter__(self) -> Self:
        """Nothing more to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close what is still open here; the tools have their own copies."""
        for end in self._open:
            os.close(end)

    def write_end_is_handed_over(self) -> None:
        """Close our copy, so that the end of wsload is the end of the pipe."""
        self._open.remove(self.write_end)  # the number may be another file's by the end
        os.close(self.write_end)


class Load:
    """Running clients. Made by `clients`, which lets them go at its end."""

    def __init__(self, process: Process, limit_s: float) -> None:
        self._process = process
        self._limit_s = limit_s
        self.setup_s = 0.0

    async def ready(self, clients: int) -> None:
        """Wait until every client is subscribed.

        Raises:
            GeneratorError: some could not, or wsload gave up.
        """
        event = await self._event()
        if event["subscribed"] != clients:
            raise GeneratorError(f"only {event['subscribed']} of {clients} clients subscribed")
        self.setup_s = event["seconds"]

    async def expect(self, publications: int) -> LoadSummary:
        """Wait until each client has received so many, or the time of the load is over.

        Raises:
            GeneratorError: wsload failed.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(b"expect %d\n" % publications)
        timeline = []
        while (event := await self._event())["event"] == "second":
            timeline.append(_read_as(Second, event))
        latencies = Latencies.read(event["latency_us"])
        return _read_as(LoadSummary, {**event, "timeline": timeline, "latencies": latencies})

    async def _event(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(self._limit_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise GeneratorError(f"wsload said nothing for {self._limit_s:.0f} s") from None
        if not line:
            raise GeneratorError("wsload ended early; it says why above")
        event: dict[str, Any] = json.loads(line)
        return event


@contextlib.asynccontextmanager
async def clients(  # noqa: PLR0913 - each is one option of wsload
    tools: Tools,
    ports: Sequence[int],
    count: int,
    *,
    seconds: float,
    connects_per_s: float = 1_000,
    source_ips: int = 1,
    stalled: int = 0,
    protocol: Protocol = Protocol.CENTRIFUGE,
    timeline: bool = False,
    channel: str = "bench",
    channels: int = 0,
    token: str = "",
    credit: Credits | None = None,
) -> AsyncIterator[Load]:
    """Hold clients, on the channel that `publish` publishes to, subscribed when this yields.

    With `channels` they spread over as many of them, as the publications of `publish` do. They end
    within `seconds` after that, whatever has been received. The first `stalled` of them
    read nothing from then on.

    Raises:
        GeneratorError: not every client could subscribe.
    """
    command = [
        *machine.pinned(machine.GENERATOR_CORE),
        *(str(tools.wsload), "--control"),
        *("--ports", ",".join(map(str, ports))),
        *("--clients", str(count)),
        *("--rate", str(connects_per_s)),
        *("--seconds", str(seconds)),
        *("--source-ips", str(source_ips)),
        *("--stalled", str(stalled)),
        *("--protocol", protocol),
        *("--channel", channel),
        *("--token", token),
    ]
    if channels:
        command += ["--channels", str(channels)]
    if timeline:
        command.append("--timeline")
    if credit:
        command += ["--credit-every", str(credit.every), "--credit-fd", str(credit.write_end)]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE,
        stdout=PIPE,
        pass_fds=(credit.write_end,) if credit else (),
        limit=_LINE_MAX_BYTES,
    )
    if credit:
        credit.write_end_is_handed_over()
    try:
        load = Load(process, seconds + count / connects_per_s + _DEADLINE_MARGIN_S)
        await load.ready(count)
        yield load
    finally:
        await _end(process)


async def publish(  # noqa: PLR0913 - each is one option of publisher
    tools: Tools,
    ports: Sequence[int],
    *,
    seconds: float,
    requests: int | None = None,
    rate: float = 0,
    batch: int = 0,
    data_bytes: int = 200,
    connections: int = 1,
    pipeline: int = 1,
    channels: int = 0,
    credit: Credits | None = None,
) -> PublisherSummary:
    """Publish, for at most `seconds`, and return when every request was answered.

    Unpaced without a `rate` (requests per second) and without credits. With `batch` a request holds
    so many publications. With `channels` each request goes to the next of them in turn.

    Raises:
        GeneratorError: publisher failed.
    """
    command = [
        *(str(tools.publisher), "--api-key", API_KEY),
        *("--ports", ",".join(map(str, ports))),
        *("--seconds", str(seconds)),
        *("--rate", str(rate)),
        *("--data-bytes", str(data_bytes)),
        *("--connections", str(connections)),
        *("--pipeline", str(pipeline)),
    ]
    if requests is not None:
        command += ["--requests", str(requests)]
    if batch:
        command += ["--batch", str(batch)]
    if channels:
        command += ["--channels", str(channels)]
    if credit:
        command += ["--credits", str(credit.ahead)]
    stdin = credit.read_end if credit else DEVNULL
    return _read_as(
        PublisherSummary, await _run(command, seconds, core=machine.GENERATOR_CORE, stdin=stdin)
    )


async def send_loop(
    tools: Tools, *, connections: int, frame_bytes: int, rounds: int, rate: float
) -> SendLoopSummary:
    """Measure bare send() in C, at `rate` rounds per second, or without pause where it is 0.

    Raises:
        GeneratorError: sendloop failed.
    """
    options = _send_options(connections, frame_bytes, rounds, rate)
    return await _send([str(tools.sendloop), *options], rounds, rate)


async def uvloop_send_loop(
    tools: Tools, *, connections: int, frame_bytes: int, rounds: int, rate: float
) -> SendLoopSummary:
    """Measure bare uvloop writes likewise.

    Raises:
        GeneratorError: the script failed.
    """
    script = Path(__file__).with_name("uvloop_sendloop.py")
    options = _send_options(connections, frame_bytes, rounds, rate)
    return await _send(
        [sys.executable, str(script), "--sendloop", str(tools.sendloop), *options], rounds, rate
    )


def _send_options(connections: int, frame_bytes: int, rounds: int, rate: float) -> list[str]:
    return [
        *("--clients", str(connections), "--bytes", str(frame_bytes)),
        *("--rounds", str(rounds), "--rate", str(rate)),
        *("--drain-core", str(machine.GENERATOR_CORE)),
    ]


async def _send(command: Sequence[str], rounds: int, rate: float) -> SendLoopSummary:
    seconds = rounds / rate if rate else 0
    return _read_as(SendLoopSummary, await _run(command, seconds, core=machine.server_core(0)))


async def _run(
    command: Sequence[str], seconds: float, *, core: int, stdin: int = DEVNULL
) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *machine.pinned(core), *command, stdin=stdin, stdout=PIPE
    )
    try:
        async with asyncio.timeout(seconds + _DEADLINE_MARGIN_S):
            output, _ = await process.communicate()
    except TimeoutError:
        raise GeneratorError(f"{command[0]} did not end in time") from None
    finally:
        await _end(process)
    if process.returncode:
        raise GeneratorError(f"{command[0]} failed; it says why above")
    summary: dict[str, Any] = json.loads(output)
    return summary


async def _end(process: Process) -> None:
    """End of input is what wsload waits for; what does not end by itself is killed."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(5):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _read_as(kind: type[_Result], values: dict[str, Any]) -> _Result:
    return kind(**{field.name: values[field.name] for field in fields(kind)})
