"""A primary, its replica, and the Sentinel that promotes it when the primary is gone."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from redis import Redis
from redis.exceptions import RedisError

from tests.support.node_process import free_port
from tests.support.redis_server import Program, RedisServer

if TYPE_CHECKING:
    from types import TracebackType

_WITHIN_S = 15.0
NAME = "test-primary"


class Sentinel:
    """Three processes; a context manager that ends them by their pids."""

    def __init__(self) -> None:
        """Start them, and return when Sentinel knows both servers."""
        self.port = free_port()
        self.primary = RedisServer(tcp=True)
        self.replica = RedisServer(
            tcp=True, settings=("--replicaof", "127.0.0.1", str(self.primary.port))
        )
        self._directory = tempfile.TemporaryDirectory(prefix="rt-sentinel-")
        config = Path(self._directory.name) / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self._directory.name}\n"
            f"sentinel monitor {NAME} 127.0.0.1 {self.primary.port} 1\n"
            f"sentinel down-after-milliseconds {NAME} 300\n"
            f"sentinel failover-timeout {NAME} 3000\n",
            encoding="utf-8",
        )
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
        with Redis(port=self.port) as sentinel, Redis(port=self.replica.port) as replica:
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
