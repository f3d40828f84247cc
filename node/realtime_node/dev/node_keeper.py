"""One node of the cluster: its process is started, asked whether it is ready, and started again.

Readiness is asked of the node itself (`/status` on its internal port): behind a shared port any
node could have answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from realtime_node.dev.child import Child, Say
from realtime_node.dev.errors import DevClusterError
from realtime_node.dev.plan import NodePlace
from realtime_node.dev.restarts import decide_restart

READY_WITHIN_S: Final = 10.0
POLL_S: Final = 0.05
ANSWER_WITHIN_S: Final = 1.0


class _Status(msgspec.Struct):
    """What is of interest in a node's `/status`."""

    node_id: str
    ready: bool


class NodeKeeper:
    """Keeps one node running."""

    def __init__(
        self, place: NodePlace, settings_file: Path, child: Child, http: aiohttp.ClientSession
    ) -> None:
        """Prepare a node with these settings, whose process will be `child`."""
        self.place = place
        self.child = child
        self.node_id = ""
        """Its id since it was last ready; tabs show it."""
        self._http = http
        self._command = (
            *(sys.executable, "-P", "-m", "realtime_node.cli", "serve"),
            *("--config", str(settings_file), "--reuse-port", "--demo"),
        )

    async def start(self) -> None:
        """Start the node and return when it is ready.

        Raises `DevClusterError` if it ends or takes too long; it may run then.
        """
        await self.child.start(self._command)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_WITHIN_S):
                while self.child.is_running:
                    status = await self._ask()
                    if status is not None and status.ready:
                        self.node_id = status.node_id
                        return
                    await asyncio.sleep(POLL_S)
            await self.child.wait()  # its last words tell why
            raise DevClusterError(f"{self.place.name} did not start ({self.child.how_it_ended()})")
        raise DevClusterError(f"{self.place.name} is not ready after {READY_WITHIN_S:g} s")

    async def keep(self, say: Say) -> None:
        """Start the node again whenever it ends; runs until it is cancelled.

        Raises `DevClusterError` when it fails too often.
        """
        failures = 0
        while True:
            started = time.monotonic()
            await self.child.wait()
            restart = decide_restart(failures, time.monotonic() - started)
            while not await self._revive(restart.delay_s, restart.reason, say):
                restart = decide_restart(restart.failures, 0)
            failures = restart.failures

    async def _revive(self, delay_s: float | None, reason: str, say: Say) -> bool:
        """Start the node once more, and tell whether that worked."""
        died = f"pid {self.child.pid} died: {self.child.how_it_ended()}"
        if delay_s is None:
            raise DevClusterError(f"{self.place.name} is given up: {reason} (last {died})")
        say(self.place.name, f"{died}; starting it again in {delay_s:g} s ({reason})")
        await asyncio.sleep(delay_s)
        try:
            await self.start()
        except DevClusterError as error:
            say(self.place.name, str(error))
            await self.kill()
            return False
        say(self.place.name, f"is back: pid {self.child.pid}, id {self.node_id}")
        return True

    async def kill(self) -> None:
        """End the process without asking it."""
        self.child.send(signal.SIGKILL)
        await self.child.wait()

    async def _ask(self) -> _Status | None:
        """Return the node's status, None if it does not answer."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
            timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
            url = f"{self.place.internal_url}/status"
            async with self._http.get(url, timeout=timeout) as answer:
                return msgspec.json.decode(await answer.read(), type=_Status)
        return None
