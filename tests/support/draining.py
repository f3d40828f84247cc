"""Draining real nodes: clients that do not come back, and when each was sent away.

`Crowd` holds many WebSocket connections spread over nodes, each in one small task; `Admin` is the
operator's side. `busiest_second` says whether a pace was kept.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy

from realtime_node.admission.admit import Refusal
from tests.support.conditions import NEVER_S
from tests.support.node_process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from realtime_node.admission.door import Door

ADMIN_KEY = "the admin key of a test"


def admin_settings() -> dict[str, Any]:
    """Settings that open the admin API on an internal port of its own."""
    return {
        "admin": {"key": ADMIN_KEY},
        "http_server": {"internal_address": "127.0.0.1", "internal_port": free_port()},
    }


class Admin:
    """A node's internal port, as an operator uses it."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {ADMIN_KEY}"})

    async def post(self, path: str, **body: Any) -> Any:
        """The answer of a request that is expected to be taken."""
        async with self._session.post(self._url + path, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def status(self) -> dict[str, Any]:
        """The node's `/status`."""
        async with self._session.get(self._url + "/status") as answer:
            status: dict[str, Any] = await answer.json()
            return status

    async def metrics(self) -> str:
        """The node's `/metrics`."""
        async with self._session.get(self._url + "/metrics") as answer:
            return await answer.text()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()


class Goodbye(NamedTuple):
    """The end of a connection."""

    at: float
    """Monotonic time."""
    code: int
    """Close code; 1006 without one."""
    url: str
    """The node that it was on."""


class Crowd:
    """Clients that connect once, stay until they are sent away, and note when that was."""

    def __init__(self) -> None:
        self.goodbyes: list[Goodbye] = []
        self.num_connected = 0
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self, url: str, count: int, *, at_once: int = 50) -> None:
        """Connect so many more clients to one node."""
        for start in range(0, count, at_once):
            ready = [asyncio.Event() for _ in range(min(at_once, count - start))]
            self._tasks += [asyncio.create_task(self._live(url, event)) for event in ready]
            async with asyncio.timeout(NEVER_S):
                await asyncio.gather(*(event.wait() for event in ready))

    def times(self, url: str = "", *, code: int = 0) -> list[float]:
        """When clients were sent away, from one node or with one code if asked."""
        return sorted(
            goodbye.at
            for goodbye in self.goodbyes
            if (not url or goodbye.url == url) and (not code or goodbye.code == code)
        )

    def codes(self) -> set[int]:
        """Every code that was seen."""
        return {goodbye.code for goodbye in self.goodbyes}

    async def _live(self, url: str, connected: asyncio.Event) -> None:
        code = 1006
        async with self._session.ws_connect(url, autoclose=False) as socket:
            await socket.send_str('{"id": 1, "connect": {}}')
            await socket.receive()
            self.num_connected += 1
            connected.set()
            while True:
                message = await socket.receive()
                if message.type is aiohttp.WSMsgType.TEXT:
                    await socket.send_str("{}")  # a ping; nothing else comes
                    continue
                if message.type is aiohttp.WSMsgType.CLOSE:
                    code = message.data
                self.goodbyes.append(Goodbye(time.monotonic(), code, url))
                break
        self.num_connected -= 1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()
        for each in ended:
            if isinstance(each, Exception) and error is None:
                raise each


def refusal(door: Door) -> str:
    """What a door says to one who knocks; empty if it lets him in."""
    answer = door.knock("127.0.0.1", CIMultiDictProxy(CIMultiDict()), 0)
    return answer.reason if isinstance(answer, Refusal) else ""


def busiest_second(times: Iterable[float], *, span_s: float = 1.0) -> int:
    """The most events within any span of time."""
    ordered = sorted(times)
    return max(
        (bisect_right(ordered, at + span_s) - index for index, at in enumerate(ordered)), default=0
    )


def mean_rate(times: Sequence[float]) -> float:
    """Events per second from the first to the last."""
    return (len(times) - 1) / (max(times) - min(times))
