"""Asks all nodes of a cluster how they are, at once, each by the IP address of its Pod.

A node that does not answer in time, or with anything but a status, is missing from the answer;
nothing is guessed for it, and the others are not kept waiting. All of it is over before the next
round is due, however many nodes hang. Those that Kubernetes calls ready are asked first: what is
left of a zone that was lost takes nobody's turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

import aiohttp

from realtime_operator.crd.scaling import ScrapeSpec
from realtime_operator.decide.snapshot import Pod
from realtime_operator.observe.node_status import ReportedStatus
from realtime_operator.supervision import Supervisor

AT_ONCE: Final = 64
"""Nodes that are asked at the same time."""
LONGEST_S: Final = 60.0
"""All answers are waited for no longer than this, however rarely nodes are asked: a loop that does
not come round counts as stuck."""
LARGEST_ANSWER: Final = 65_536
"""Bytes that are read of an answer."""


class StatusReader:
    """Reads `/status` of nodes."""

    def __init__(
        self, session: aiohttp.ClientSession, supervisor: Supervisor, *, port: int
    ) -> None:
        """Ask through `session`, on the nodes' internal port."""
        self._session = session
        self._supervisor = supervisor
        self._port = port

    async def read_all(self, pods: Iterable[Pod], how: ScrapeSpec) -> Mapping[str, ReportedStatus]:
        """What nodes say, by name of their Pods; those that said nothing useful are missing."""
        asked = [pod for pod in pods if pod.ip and not pod.has_failed]
        asked.sort(key=lambda pod: (pod.is_deleted, not pod.is_ready))
        gate = asyncio.Semaphore(AT_ONCE)
        over_at = asyncio.get_running_loop().time() + min(how.interval_seconds, LONGEST_S)
        answers = await asyncio.gather(
            *(self._try(pod, gate, how.timeout_seconds, over_at) for pod in asked)
        )
        return {pod.name: said for pod, said in zip(asked, answers, strict=True) if said}

    async def _try(
        self, pod: Pod, gate: asyncio.Semaphore, timeout_s: float, over_at: float
    ) -> ReportedStatus | None:
        """Read one node's answer; what nobody expected of it costs that node's answer alone."""
        with self._supervisor.guard("status of a node"):
            return await self._read(pod, gate, timeout_s, over_at)
        return None

    async def _read(
        self, pod: Pod, gate: asyncio.Semaphore, timeout_s: float, over_at: float
    ) -> ReportedStatus | None:
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        url = f"http://{host}:{self._port}/status"
        async with gate:
            left_s = over_at - asyncio.get_running_loop().time()
            if left_s <= 0:
                return None
            timeout = aiohttp.ClientTimeout(total=min(timeout_s, left_s))
            try:
                async with self._session.get(
                    url, timeout=timeout, allow_redirects=False
                ) as response:
                    body = bytearray()
                    while part := await response.content.read(LARGEST_ANSWER - len(body)):
                        body += part
                return ReportedStatus.read(body)
            except (aiohttp.ClientError, TimeoutError, OSError):
                return None
