"""A server in a process of its own: our node, or any other that serves the same protocol.

The process gets its settings in a file and a port that the kernel chose; the test gets addresses
once the server says that it is ready. Whatever happens in between is in the server's log, whose end
is part of every failure here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from tests.support.conditions import NEVER_S
from tests.support.forked import ForkedNode

if TYPE_CHECKING:
    from collections.abc import Sequence

NODE = str(Path(sys.executable).with_name("realtime-node"))
COMMAND = (NODE, "serve", "--config")
"""Starts our node anew, where a test is about the command or about memory."""

_LOG_TAIL_BYTES = 4_000


def free_port() -> int:
    """Return a port on the loopback interface that nobody listens on, and that is ours alone.

    A socket stays bound to it as long as this process lives: the kernel gives the port to nobody
    else meanwhile, but servers that reuse addresses, as all of ours do, may listen there.
    """
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", 0))
    port: int = probe.getsockname()[1]
    probe.detach()  # kept open, and never listened on
    return port


class NodeProcess:
    """One running server. Use it as an asynchronous context manager, or `start` and `stop` it."""

    def __init__(  # noqa: PLR0913 - what differs between servers
        self,
        settings: dict[str, Any],
        directory: Path,
        *,
        name: str = "node",
        command: Sequence[str] = (),
        ready_path: str = "/readyz",
        internal: bool = False,
    ) -> None:
        """Prepare a server whose settings and log go into `directory`.

        `command` starts the server, followed by the path of the settings file; without one it is
        our node, which is forked. `http_server.address` and `port` are added to the settings here.
        An internal port stays as it is set; with `internal` it is one that the kernel gives.
        """
        self.name = name
        self.port = free_port()
        given = settings.get("http_server", {}).get("internal_port")
        self._internal_port = free_port() if internal else given
        self._command = command
        self.settings_path = directory / f"{name}.json"
        """The file that the server is told to read."""
        # No balancer stands before a test's nodes; whoever tests one sets the time it takes.
        no_wait = {} if "drain" in settings else {"REALTIME_NODE_DRAIN__PROPAGATION": "0s"}
        self._environ = {**os.environ, **no_wait}
        self._ready_url = f"{self.http_url}{ready_path}"
        self._log_path = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | ForkedNode | None = None
        self.settings_path.write_text(self.file_of(settings))

    def file_of(self, settings: dict[str, Any]) -> str:
        """Return what the file says for such settings."""
        http_server = {
            **settings.get("http_server", {}),
            "address": "127.0.0.1",
            "port": self.port,
        }
        if self._internal_port:
            http_server["internal_port"] = self._internal_port
        return json.dumps({**settings, "http_server": http_server}, indent=2)

    @property
    def http_url(self) -> str:
        """Where the HTTP API and the health endpoints are, without a trailing slash."""
        return f"http://127.0.0.1:{self._internal_port or self.port}"

    @property
    def websocket_url(self) -> str:
        """Where clients connect."""
        return f"ws://127.0.0.1:{self.port}/connection/websocket"

    @property
    def pid(self) -> int:
        """The process id. Raises AssertionError before `start`."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    async def start(self, *, within_s: float = NEVER_S) -> Self:
        """Start the process and return when it is ready to serve.

        Raises:
            AssertionError: it ended, or was not ready within `within_s` seconds.
        """
        self._process = self._launch()
        deadline = time.monotonic() + within_s
        async with aiohttp.ClientSession() as session:
            while not await self._is_ready(session):
                assert self.is_running, self._failure("ended before it was ready")
                assert time.monotonic() < deadline, self._failure(f"not ready in {within_s} s")
                await asyncio.sleep(0.02)
        return self

    def _launch(self) -> subprocess.Popen[bytes] | ForkedNode:
        settings = str(self.settings_path)
        if not self._command:
            return ForkedNode(("serve", "--config", settings), self._environ, self._log_path)
        with self._log_path.open("ab") as log:
            # A process group of its own: Ctrl-C is for the tests, which then end their servers.
            return subprocess.Popen(
                (*self._command, settings),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                process_group=0,
                env=self._environ,
            )

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    async def is_ready(self) -> bool:
        """Whether the server says so now."""
        async with aiohttp.ClientSession() as session:
            return await self._is_ready(session)

    def resident_bytes(self) -> int:
        """Return how much of the process's memory is in RAM."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def private_bytes(self) -> int:
        """Return how much of that is no file's, and so the process's own."""
        resident, of_files = Path(f"/proc/{self.pid}/statm").read_text().split()[1:3]
        return (int(resident) - int(of_files)) * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        """Return how many seconds of CPU the process has taken."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log(self) -> str:
        """Return the end of what the server wrote."""
        return self._log_path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")

    @property
    def exit_status(self) -> int:
        """How the process ended. Raises AssertionError while it runs."""
        assert self._process is not None
        assert not self.is_running, f"{self.name} has not ended"
        return self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal, and wait for nothing."""
        assert self._process is not None, f"{self.name} was not started"
        self._process.send_signal(number)

    def kill(self) -> None:
        """End the process as a crash or the kernel's memory killer would."""
        assert self._process is not None, f"{self.name} was not started"
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    async def stop(self, *, within_s: float = NEVER_S) -> int:
        """Ask the process to end, end it by force when it does not, and return its exit status."""
        assert self._process is not None, f"{self.name} was not started"
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + within_s
        while self.is_running and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        if self.is_running:
            self.kill()
        return self._process.wait()

    async def __aenter__(self) -> Self:
        """Start."""
        try:
            return await self.start()
        except BaseException:
            if self._process is not None:
                await self.stop(within_s=0)
            raise

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.stop()

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            timeout = aiohttp.ClientTimeout(total=2)
            async with session.get(self._ready_url, timeout=timeout) as answer:
                return answer.status == 200
        return False

    def _failure(self, what: str) -> str:
        return f"{self.name}: {what}; the end of its log:\n{self.log()}"
