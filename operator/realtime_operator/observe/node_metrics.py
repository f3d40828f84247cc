"""Asks all nodes of a cluster how they are, at once, each by the IP address of its Pod.

A node that does not answer within two seconds, or with anything but a status, is missing from the
answer and counted; nothing is guessed for it, and the others are not kept waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

import aiohttp
from pydantic import ValidationError

from realtime_operator.decide.snapshot import Pod
from realtime_operator.observe.node_status import ReportedStatus

TIMEOUT_S: Final = 2.0
AT_ONCE: Final = 64
"""Nodes that are asked at the same time."""
LARGEST_ANSWER: Final = 65_536
"""Bytes that are read of an answer."""


class StatusReader:
    """Reads `/status` of nodes."""

    def __init__(self, session: aiohttp.ClientSession, *, port: int) -> None:
        """Ask through `session`, on the nodes' internal port."""
        self._session = session
        self._port = port

    async def read_all(self, pods: Iterable[Pod]) -> Mapping[str, ReportedStatus]:
        """What nodes say, by name of their Pods; those that said nothing useful are missing."""
        asked = [pod for pod in pods if pod.ip and not pod.has_failed]
        gate = asyncio.Semaphore(AT_ONCE)
        answers = await asyncio.gather(*(self._read(pod, gate) for pod in asked))
        return {pod.name: said for pod, said in zip(asked, answers, strict=True) if said}

    async def _read(self, pod: Pod, gate: asyncio.Semaphore) -> ReportedStatus | None:
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        url = f"http://{host}:{self._port}/status"
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with gate:
            try:
                async with self._session.get(
                    url, timeout=timeout, allow_redirects=False
                ) as response:
                    body = bytearray()
                    while part := await response.content.read(LARGEST_ANSWER - len(body)):
                        body += part
                return ReportedStatus.model_validate_json(body)
            except (aiohttp.ClientError, TimeoutError, OSError, ValidationError):
                return None
