"""Node processes that start at once: forked from one that has imported all of the node.

Python's own fork server imports once what a node needs, a second and more of computing, and forks
a process whenever a test wants a node: with a pid, signals, an exit status and an end of its own,
like one that was started by its command. The command itself has tests elsewhere.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from typing import TYPE_CHECKING, Final

from realtime_node.cli import main

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


class ForkedNode:
    """`realtime-node` with some arguments, to be handled like a `subprocess.Popen`."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        """Start it; what it prints is appended to `log`."""
        self._process = _CONTEXT.Process(
            target=_run, args=(tuple(arguments), dict(environ), str(log)), daemon=False
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """The process, for signals."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit status, None while it runs; the negative number of a signal."""
        return self._process.exitcode

    def wait(self) -> int:
        """Wait for its end and return the exit status."""
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _run(arguments: tuple[str, ...], environ: dict[str, str], log: str) -> None:
    # A process group of its own: Ctrl-C is for the tests, which then end their servers.
    os.setpgid(0, 0)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.environ.clear()
    os.environ.update(environ)
    sys.exit(main(arguments))
