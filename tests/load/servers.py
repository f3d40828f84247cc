"""The servers under measurement, started alike: one process, one core, the same settings.

All read settings of one shape, so what differs between them is the program alone. A server is
started anew for each measurement: nothing that an earlier one left behind counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiohttp

from tests.load import machine
from tests.support.node_process import NODE, NodeProcess, free_port

API_KEY = "bench"

_REDIS_COMMANDS = ("redis-server", "valkey-server")
_REDIS_READY_S = 5.0
_REDIS_STOP_S = 5.0


class Protocol(StrEnum):
    """What clients speak; the value is wsload's name of it."""

    CENTRIFUGE = "centrifuge"
    SOCKET_IO = "socket.io"


@dataclass(frozen=True)
class Kind:
    """A program that can be measured."""

    name: str
    command: tuple[str, ...]  # followed by the path of the settings
    ready_path: str
    protocol: Protocol = Protocol.CENTRIFUGE
    extra_settings: tuple[tuple[str, Any], ...] = ()


# Clients come as fast as a scenario wants them; admission looks at each, and holds up none.
_WIDE_DOOR = ("admission", {"connects_per_second": 100_000, "burst": 100_000, "shed_loop_lag": "0"})

OUR_NODE = Kind(
    "realtime-node", (NODE, "serve", "--config"), "/readyz", extra_settings=(_WIDE_DOOR,)
)


def centrifugo(program: Path) -> Kind:
    """Return Centrifugo as a kind of server.

    Nothing makes it batch: it has no setting for that in the open source edition. What waits in a
    client's queue when its writer runs goes out as one frame, of at most 16 messages.
    """
    return Kind(
        "Centrifugo",
        (str(program), "-c"),
        "/health",
        extra_settings=(("health", {"enabled": True}),),
    )


def socketio(command: tuple[str, ...]) -> Kind:
    """Return Socket.IO as a kind of server, of the command that runs peers/socketio/server.mjs."""
    return Kind("Socket.IO", command, "/health", Protocol.SOCKET_IO)


class MissingRedisError(Exception):
    """No Redis can be started here."""


@dataclass(frozen=True)
class Server:
    """One running server."""

    process: NodeProcess
    protocol: Protocol

    @property
    def port(self) -> int:
        """Where clients connect and the HTTP API is."""
        return self.process.port

    async def status(self) -> dict[str, Any]:
        """Return what the node tells of itself."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.process.http_url}/status") as answer,
        ):
            told: dict[str, Any] = await answer.json()
        return told

    def clock(self) -> machine.Clock:
        """Return how long the server has run, and waited for its core.

        Raises:
            AssertionError: it has ended; the message holds the end of its log.
        """
        return machine.clock(self._live_pid())

    def memory(self) -> machine.Memory:
        """Return the memory in use now.

        Raises:
            AssertionError: it has ended; the message holds the end of its log.
        """
        return machine.memory(self._live_pid())

    def _live_pid(self) -> int:
        process = self.process
        assert process.is_running, f"{process.name} ended under load; its log:\n{process.log()}"
        return process.pid


@contextlib.asynccontextmanager
async def running(
    kind: Kind, directory: Path, *, index: int = 0, redis_port: int | None = None
) -> AsyncIterator[Server]:
    """Run one server on a core of its own; without Redis its engine is in memory.

    Raises:
        AssertionError: it did not become ready; the message holds the end of its log.
    """
    engine: dict[str, Any] = {"type": "memory"}
    if redis_port is not None:
        engine = {"type": "redis", "redis": {"address": f"redis://127.0.0.1:{redis_port}"}}
    settings = {
        "engine": engine,
        "http_api": {"key": API_KEY},
        "client": {"insecure": True},
        "channel": {"without_namespace": {"allow_subscribe_for_client": True}},
        "log": {"level": "warn"},
        **dict(kind.extra_settings),
    }
    process = NodeProcess(
        settings,
        directory,
        name=f"{kind.name}-{index}",
        command=(*machine.pinned(machine.server_core(index)), *kind.command),
        ready_path=kind.ready_path,
    )
    async with process:
        yield Server(process, kind.protocol)


@contextlib.asynccontextmanager
async def redis(directory: Path) -> AsyncIterator[int]:
    """Run a Redis that keeps nothing on disk, beside the generators; yields its port.

    Raises:
        MissingRedisError: there is none on PATH, or it did not start.
    """
    command = next(filter(None, map(shutil.which, _REDIS_COMMANDS)), None)
    if command is None:
        raise MissingRedisError("no Redis on PATH: apt-get install redis-server")
    port = free_port()
    with (directory / "redis.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
            [
                *machine.pinned(machine.GENERATOR_CORE),
                command,
                *("--bind", "127.0.0.1", "--port", str(port)),
                *("--save", "", "--appendonly", "no", "--dir", str(directory)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
        )
    try:
        await _accepting(port, process)
        yield port
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_REDIS_STOP_S)
        process.kill()


async def _accepting(port: int, process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REDIS_READY_S):
            while process.poll() is None:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)
    raise MissingRedisError(f"{process.args!r} does not accept connections")
