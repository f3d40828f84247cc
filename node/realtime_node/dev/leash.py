"""Runs a command that cannot outlive its parent: `python -m realtime_node.dev.leash PID COMMAND…`.

The supervisor ends what it started; but killed by SIGKILL it cannot. So a child asks the kernel
(Linux's PR_SET_PDEATHSIG) to be killed when its parent dies, before it becomes the command: the
wish outlives `exec`. This needs no thread or pipe that the command would have to know about, and
asking here, not between fork and exec of the supervisor, no code of ours runs in a forked copy of
it. On other systems the command just runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Bind this process to its parent and become the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        _die_with(int(parent))
    os.execvp(command[0], command)  # noqa: S606 - there is no shell to need


def _die_with(parent: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit("the parent is gone already")  # and so would never send the signal


if __name__ == "__main__":
    main()
