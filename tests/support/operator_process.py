"""The operator as it runs in a container: a process, its environment, its exit status."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Self

from tests.support.conditions import NEVER_S


class OperatorProcess:
    """One replica."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        """Made by `start`."""
        self.process = process
        self._log = log

    @classmethod
    async def start(
        cls, kubeconfig: Path, identity: str, *, node_port: int, arguments: tuple[str, ...]
    ) -> Self:
        """Start a replica that writes its log beside the kubeconfig."""
        log = kubeconfig.parent / f"{identity}.log"
        environment = {
            **{name: value for name, value in os.environ.items() if "KUBE" not in name},
            "KUBECONFIG": str(kubeconfig),
            "REALTIME_OPERATOR_HTTP_ADDRESS": "127.0.0.1",
            "REALTIME_OPERATOR_HTTP_PORT": "0",
            "REALTIME_OPERATOR_NAMESPACE": "operators",
            "REALTIME_OPERATOR_IDENTITY": identity,
            "REALTIME_OPERATOR_LEASE_DURATION_SECONDS": "3",
            "REALTIME_OPERATOR_NODE_PORT": str(node_port),
        }
        command = (sys.executable, "-W", "error", "-m", "realtime_operator.cli", "run", *arguments)
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command, env=environment, stdout=output, stderr=output
            )
        return cls(process, log)

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(encoding="utf-8")

    async def stop(self, *, within_s: float = NEVER_S) -> int:
        """Ask it to end (SIGTERM); return its exit status."""
        if self.process.returncode is None:
            self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), within_s)

    async def kill(self) -> None:
        """End it without a chance to clean up."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
