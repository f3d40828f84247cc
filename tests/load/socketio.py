"""Installs the peer that the benchmarks measure beside: a Socket.IO server of a screenful.

Its packages go once beside it, into peers/socketio/node_modules, as the lockfile there names them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).with_name("peers") / "socketio"

_SERVER: Final = DIRECTORY / "server.mjs"
_LOCK: Final = DIRECTORY / "package-lock.json"
_MODULES: Final = DIRECTORY / "node_modules"
_INSTALLED: Final = _MODULES / ".installed"  # holds the digest of the lockfile
_INSTALL_TIMEOUT_S: Final = 300


class SocketIoNotInstalledError(Exception):
    """Node.js is missing, or npm could not install the packages; the message says which."""


def install_socketio() -> tuple[str, ...]:
    """Return the command of the server, whose packages are installed if they are not there yet.

    Raises:
        SocketIoNotInstalledError: they cannot be installed here.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        missing = "Node.js" if node is None else "npm"
        raise SocketIoNotInstalledError(
            f"the Socket.IO server needs Node.js and npm, and there is no {missing} on PATH:"
            " install Node.js 18.19 or newer with npm (https://nodejs.org), or run the benchmarks"
            " of our node alone: make bench"
        )
    digest = hashlib.sha256(_LOCK.read_bytes()).hexdigest()
    if not (_INSTALLED.exists() and _INSTALLED.read_text() == digest):
        print(f"Installing Socket.IO {versions()['socket.io']} into {_MODULES}", flush=True)
        try:
            subprocess.run(
                [npm, "ci", "--silent"], check=True, timeout=_INSTALL_TIMEOUT_S, cwd=DIRECTORY
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
            raise SocketIoNotInstalledError(f"Socket.IO was not installed: {failure}") from failure
        _INSTALLED.write_text(digest)
    return node, str(_SERVER)


def versions() -> dict[str, str]:
    """Return the version of each package that the lockfile names."""
    packages = json.loads(_LOCK.read_text())["packages"]
    return {
        path.removeprefix("node_modules/"): package["version"]
        for path, package in packages.items()
        if path
    }
