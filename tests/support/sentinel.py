"""A primary, its replica, and the Sentinel that promotes it when the primary is gone."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from redis import Redis
from redis.exceptions import RedisError

from tests.support.conditions import NEVER_S
from tests.support.node_process import free_port
from tests.support.redis_server import Program, RedisServer

if TYPE_CHECKING:
    from types import TracebackType

_WITHIN_S = NEVER_S
NAME = "test-primary"


class Sentinel:
    """Three processes; a context manager that ends them by their pids."""

    def __init__(
        self, *, tls: Path | None = None, settings: str = "", down_after_ms: int = 300
    ) -> None:
        """Start them, and return when Sentinel knows both servers.

        `tls` is a directory of `write_certificates`: Sentinel then speaks TLS alone, and asks its
        clients for a certificate. `settings` are more lines of Sentinel's own configuration.
        `down_after_ms` is the silence after which the primary is taken for dead.
        """
        self.port = free_port()
        self.primary = RedisServer(tcp=True)
        self.replica = RedisServer(
            tcp=True, settings=("--replicaof", "127.0.0.1", str(self.primary.port))
        )
        self._directory = tempfile.TemporaryDirectory(prefix="rt-sentinel-")
        config = Path(self._directory.name) / "sentinel.conf"
        config.write_text(
            f"{'tls-port' if tls else 'port'} {self.port}\n"
            f"bind 127.0.0.1\ndir {self._directory.name}\n"
            f"sentinel monitor {NAME} 127.0.0.1 {self.primary.port} 1\n"
            f"sentinel down-after-milliseconds {NAME} {down_after_ms}\n"
            f"sentinel failover-timeout {NAME} 3000\n{settings}",
            encoding="utf-8",
        )
        self._tls: dict[str, Any] = {}
        if tls:
            with config.open("a", encoding="utf-8") as lines:
                lines.write(
                    f"port 0\ntls-cert-file {tls / 'server.pem'}\n"
                    f"tls-key-file {tls / 'server.key'}\n"
                    f"tls-ca-cert-file {tls / 'authority.pem'}\n"
                )
            self._tls = {
                "ssl": True,
                "ssl_ca_certs": str(tls / "authority.pem"),
                "ssl_certfile": str(tls / "client.pem"),
                "ssl_keyfile": str(tls / "client.key"),
            }
        self._process = subprocess.Popen(
            [Program.ANY.path(), str(config), "--sentinel"], stdout=subprocess.DEVNULL
        )
        try:
            self._wait_until_watching()
        except BaseException:
            self.close()
            raise

    def _wait_until_watching(self) -> None:
        deadline = time.monotonic() + _WITHIN_S
        with (
            Redis(host="127.0.0.1", port=self.port, **self._tls) as sentinel,
            Redis(port=self.replica.port) as replica,
        ):
            while time.monotonic() < deadline:
                try:
                    watched = sentinel.sentinel_slaves(NAME)
                    if watched and replica.info("replication")["master_link_status"] == "up":
                        return
                except RedisError:
                    pass
                time.sleep(0.05)
        raise AssertionError("Sentinel does not watch its replica")

    def close(self) -> None:
        """End all three."""
        self._process.kill()
        self._process.wait()
        self.replica.close()
        self.primary.close()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()
