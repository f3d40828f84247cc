"""A process of the cluster: started on a leash, heard line by line, ended for certain.

A child has a session of its own, so that Ctrl-C in the terminal reaches the supervisor alone, which
then ends the children in order; `leash` ends them if the supervisor cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from realtime_node.supervision import supervise

LONGEST_LINE: Final = 64 * 1024
"""Bytes of a line of output; a longer one is left out."""
LAST_WORDS_WITHIN_S: Final = 1.0
"""How long to wait, after a process ended, for what it wrote."""

Say = Callable[[str, str], None]
"""Shows a line: who says it, and what."""


class Child:
    """One process at a time; it can be started anew once it ended."""

    def __init__(self, name: str, say: Say, *, environ: Mapping[str, str] | None = None) -> None:
        """Prepare a child whose output goes to `say`; `environ` None: our own environment."""
        self.name = name
        self._say = say
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._listener: asyncio.Task[None] | None = None

    async def start(self, command: Sequence[str]) -> None:
        """Start a command. It may have ended by the time this returns."""
        leash = (sys.executable, "-P", "-m", "realtime_node.dev.leash", str(os.getpid()))
        self._process = await asyncio.create_subprocess_exec(
            *leash,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environ,
            limit=LONGEST_LINE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        output = self._process.stdout
        self._listener = supervise(partial(self._listen, output), name="dev-output")

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its process id, the command's own; 0 before the first start."""
        return self._process.pid if self._process is not None else 0

    async def wait(self) -> None:
        """Return when the process has ended and its last words were heard."""
        if self._process is not None:
            await self._process.wait()
        if self._listener is not None:
            await asyncio.wait({self._listener}, timeout=LAST_WORDS_WITHIN_S)

    def how_it_ended(self) -> str:
        """Tell the exit status in words."""
        status = self._process.returncode if self._process is not None else None
        if status is None:
            return "it runs"
        if status < 0:
            return f"ended by {signal.Signals(-status).name}"
        return f"exit status {status}"

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if there is still somebody to get it."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _listen(self, output: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await output.readline()
            except ValueError:
                line = b"(a line too long to show)\n"
            if not line:
                return
            self._say(self.name, line.decode(errors="replace").rstrip())


async def end(children: Iterable[Child], *, within_s: float, hurry: asyncio.Event) -> list[Child]:
    """Ask children to end, and kill those that do not in time, or all once there is a hurry.

    Returns those that had to be killed. When it returns, all are gone.
    """
    running = [child for child in children if child.is_running]
    if not running:
        return []
    for child in running:
        child.send(signal.SIGTERM)
    gone = asyncio.create_task(_all_gone(running))
    haste = asyncio.create_task(hurry.wait())
    await asyncio.wait((gone, haste), timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    haste.cancel()
    stubborn = [child for child in running if child.is_running]
    for child in stubborn:
        child.send(signal.SIGKILL)
    await gone
    return stubborn


async def _all_gone(children: Iterable[Child]) -> bool:
    await asyncio.gather(*(child.wait() for child in children))
    return True
