"""A cluster as `realtime-node dev` makes it, used through what it prints, as a person would."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import aiohttp
import psutil

from tests.support.conditions import NEVER_S
from tests.support.node_process import NODE

if TYPE_CHECKING:
    from collections.abc import Mapping

_NODE_LINE = re.compile(r"^  (node-\d+) +id (\w+) +pid (\d+) +(\S+)/status$", re.MULTILINE)


class ShownNode(NamedTuple):
    """A node as the banner shows it."""

    name: str
    node_id: str
    pid: int
    api_url: str


class Banner:
    """What stands in the banner."""

    def __init__(self, text: str) -> None:
        """Read a whole banner."""
        self.text = text
        self.nodes = [
            ShownNode(name, node_id, int(pid), url)
            for name, node_id, pid, url in _NODE_LINE.findall(text)
        ]

    def row(self, title: str) -> list[str]:
        """Return the values beside and below a title."""
        found = re.search(rf"^  {title} +(\S.*(?:\n {{13}}\S.*)*)", self.text, re.MULTILINE)
        assert found, f"no {title} in {self.text}"
        return [line.strip() for line in found[1].splitlines()]

    @property
    def curl(self) -> str:
        """The line that publishes."""
        found = re.search(r"^  (curl .*)$", self.text, re.MULTILINE)
        assert found, self.text
        return found[1]


class DevCluster:
    """A running `realtime-node dev`; an asynchronous context manager that waits for the banner."""

    def __init__(
        self, directory: Path, *arguments: str, environ: Mapping[str, str] | None = None
    ) -> None:
        """Prepare a cluster on a port that the kernel chooses; output goes into `directory`."""
        self._command = (NODE, "dev", "--port", "0", *arguments)
        # A short way to it, since a socket's path may have no more than 107 characters.
        self._short = Path(tempfile.gettempdir()) / f"rt-dev-{secrets.token_hex(4)}"
        self._short.symlink_to(directory)
        self._environ = {**os.environ, "TMPDIR": str(self._short), **(environ or {})}
        self._out = directory / "dev.out"
        self._err = directory / "dev.err"
        self.started_in_s = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start the process and return at once."""
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                self._command,
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                env=self._environ,
                process_group=0,
            )

    async def start(self, *, within_s: float = NEVER_S) -> Self:
        """Start the process and return when its banner is there."""
        started = time.monotonic()
        self.launch()
        while "Ctrl-C" not in self._out.read_text():
            assert self.is_running, f"it ended before it was up:\n{self.log()}"
            waited = time.monotonic() - started
            assert waited < within_s, f"not up in {within_s} s:\n{self.log()}"
            await asyncio.sleep(0.01)
        self.started_in_s = time.monotonic() - started
        return self

    @property
    def banner(self) -> Banner:
        """What was printed."""
        return Banner(self._out.read_text())

    def log(self) -> str:
        """Return what was written to standard error."""
        return self._err.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        """Whether the supervisor lives."""
        return self.process is not None and self.process.poll() is None

    def children(self) -> list[psutil.Process]:
        """Return the processes that the supervisor started."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def send(self, number: signal.Signals) -> None:
        """Send the supervisor a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self, *, within_s: float = NEVER_S) -> int:
        """Wait for the supervisor's end and return its exit status."""
        deadline = time.monotonic() + within_s
        while self.is_running:
            assert time.monotonic() < deadline, f"not ended in {within_s} s:\n{self.log()}"
            await asyncio.sleep(0.01)
        assert self.process is not None
        self._short.unlink(missing_ok=True)
        return self.process.wait()

    async def api(self, method: str, *, node: int = 0, **arguments: Any) -> dict[str, Any]:
        """Call the HTTP API of a node and return the whole answer."""
        url = f"{self.banner.nodes[node].api_url}/api/{method}"
        headers = {"X-API-Key": self.banner.row("API key")[0]}
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json=arguments, headers=headers) as answer,
        ):
            assert answer.status == 200, await answer.text()
            body: dict[str, Any] = await answer.json()
            return body

    async def __aenter__(self) -> Self:
        """Start."""
        try:
            return await self.start()
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *_: object) -> None:
        """End it, by force if it does not end by itself."""
        if self.process is None:
            return
        if self.is_running:
            self.send(signal.SIGTERM)
        try:
            await self.ended()
        except AssertionError:
            self.process.kill()
            self.process.wait()
            raise
