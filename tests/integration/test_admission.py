"""A real node and a crowd at its door: how many come in, how fast, and what the others are told.

Clients are plain sockets that send a handshake and note what the answer is and when it came.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import aiohttp
import pytest

from tests.support.conditions import NEVER_S
from tests.support.node_process import NodeProcess
from tests.support.raw_websocket import HANDSHAKE, frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

_API_KEY: Final = "admission"
_ANSWER_WITHIN_S: Final = NEVER_S


class Answer(NamedTuple):
    """What the node said to a handshake."""

    status: int
    at: float
    """Seconds of the monotonic clock."""
    headers: dict[str, str]

    @property
    def retry_after_s(self) -> int:
        """When to come back."""
        return int(self.headers["retry-after"])


class Client:
    """One TCP connection with a handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int, *, says: bytes = HANDSHAKE) -> Self:
        """Connect and send a handshake, or anything else."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        client._writer.write(says)
        return client

    async def answer(self) -> Answer:
        """Wait for the head of the response."""
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
        at = time.monotonic()
        first, *lines = head.decode().strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return Answer(int(first.split()[1]), at, headers)

    async def message(self) -> Any:
        """Wait for one short frame with one message."""
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            _, length = await self._reader.readexactly(2)
            if length == 126:
                length = int.from_bytes(await self._reader.readexactly(2), "big")
            return json.loads(await self._reader.readexactly(length))

    async def ended(self) -> None:
        """Wait for the end of the connection."""
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            while await self._reader.read(65_536):
                pass

    def say(self, command: dict[str, Any]) -> None:
        """Send a command."""
        self._writer.write(frame(json.dumps(command).encode()))

    def close(self) -> None:
        """Go away."""
        self._writer.close()


class Door:
    """A node and the crowd before it."""

    def __init__(self, process: NodeProcess, session: aiohttp.ClientSession) -> None:
        self.process = process
        self._session = session
        self._clients: list[Client] = []

    async def client(self, *, says: bytes = HANDSHAKE) -> Client:
        """One client; it is closed with the node."""
        client = await Client.connect(self.process.port, says=says)
        self._clients.append(client)
        return client

    async def crowd(self, count: int) -> list[Client]:
        """Many clients, one right after the other."""
        return [await self.client() for _ in range(count)]

    async def answer_of_next(self, status: int) -> Answer:
        """Send handshakes until one is answered so."""
        return (await self._next(status))[1]

    async def let_in(self) -> Client:
        """Send handshakes until one is let in."""
        return (await self._next(101))[0]

    async def _next(self, status: int) -> tuple[Client, Answer]:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            while True:
                client = await self.client()
                answer = await client.answer()
                if answer.status == status:
                    return client, answer

    async def stand_still(self, seconds: float) -> None:
        """Stop the node's process for a while, as an overloaded machine does."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def close(self) -> None:
        """All clients go away."""
        for client in self._clients:
            client.close()

    async def status(self) -> dict[str, Any]:
        """What the node says of itself."""
        async with self._session.get(f"{self.process.http_url}/status") as answer:
            assert answer.status == 200
            status: dict[str, Any] = await answer.json()
            return status

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the node's status is as it should be."""
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            while not condition(status := await self.status()):
                await asyncio.sleep(0.02)
        return status

    async def metrics(self) -> str:
        """What the node tells Prometheus."""
        async with self._session.get(f"{self.process.http_url}/metrics") as answer:
            return await answer.text()

    async def api(self, method: str, **body: Any) -> Any:
        """Call the HTTP API."""
        async with self._session.post(
            f"{self.process.http_url}/api/{method}", json=body, headers={"X-API-Key": _API_KEY}
        ) as answer:
            assert answer.status == 200
            return await answer.json()


@contextlib.asynccontextmanager
async def node(directory: Path, **admission: Any) -> AsyncIterator[Door]:
    """A running node with such a door."""
    settings = {
        "http_api": {"key": _API_KEY},
        "client": {"insecure": True},
        "admission": admission,
        "log": {"level": "warn"},
    }
    async with NodeProcess(settings, directory) as process, aiohttp.ClientSession() as session:
        door = Door(process, session)
        try:
            yield door
        finally:
            door.close()


def most_within(times: Sequence[float], seconds: float) -> int:
    """The most events that any window of so many seconds has seen."""
    most, first = 0, 0
    for last, at in enumerate(times):
        while at - times[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.thorough
@pytest.mark.measures_time
async def test_a_crowd_is_let_in_at_the_rate_and_in_order(tmp_path: Path) -> None:
    """While demand exceeds it the rate is kept within a tenth, and no second sees a fifth more.

    Who would have waited too long is told at once, and when to come back.
    """
    rate, burst, wait_s = 100, 20, 3
    async with node(
        tmp_path, connects_per_second=rate, burst=burst, wait=f"{wait_s}s", shed_loop_lag="0"
    ) as door:
        began = time.monotonic()
        tasks = []
        for _ in range(1000):
            client = await door.client()
            tasks.append(asyncio.create_task(client.answer()))
        came_within_s = time.monotonic() - began
        answers = await asyncio.gather(*tasks)
        let_in = [answer for answer in answers if answer.status == 101]
        refused = [answer for answer in answers if answer.status == 503]
        assert len(let_in) + len(refused) == 1000
        assert refused
        times = [answer.at for answer in let_in]
        assert [at for at, after in itertools.pairwise(times) if after < at - 0.05] == []
        took_s = times[-1] - began
        assert len(let_in) - burst == pytest.approx(rate * took_s, rel=0.1)
        assert most_within(sorted(times), 1.0) <= rate * 1.2
        assert took_s < came_within_s + wait_s + 1.5  # nobody waited longer
        asked = Counter(answer.retry_after_s for answer in refused)
        assert set(asked) <= {1, 2, 3, 4, 5, 6}
        assert len(asked) > 1
        status = await door.status()
        assert (status["accepted_total"], status["refused_total"]) == (len(let_in), len(refused))
        assert status["accept_rate_per_s"] > rate / 4
        metrics = await door.metrics()
        assert f'realtime_handshakes_refused_total{{reason="rate"}} {len(refused)}.0' in metrics
        assert "realtime_handshake_wait_seconds_bucket" in metrics


async def test_who_goes_away_while_waiting_costs_nothing(tmp_path: Path) -> None:
    """The places of those who left are taken by the next, at once, and no token was theirs."""
    async with node(tmp_path, connects_per_second=1, burst=1, wait="100s") as door:
        first = await door.client()
        assert (await first.answer()).status == 101
        leaving = await door.crowd(60)
        await door.until(lambda status: status["num_waiting"] > 40)
        stays = await door.client()
        began = time.monotonic()
        for client in leaving:
            client.close()
        answer = await stays.answer()
        assert answer.status == 101
        assert answer.at - began < 30  # it was behind sixty, a minute
        status = await door.until(lambda status: status["num_waiting"] == 0)
        assert status["accepted_total"] < 30


async def test_commands_sent_ahead_of_the_answer_are_executed(tmp_path: Path) -> None:
    """A client that waits its turn may have sent its connect already."""
    async with node(tmp_path, connects_per_second=5, burst=1) as door:
        first = await door.client()
        assert (await first.answer()).status == 101
        client = await door.client(says=HANDSHAKE + frame(b'{"id":1,"connect":{}}'))
        await door.until(lambda status: status["num_waiting"] == 1)
        assert (await client.answer()).status == 101
        assert (await client.message())["connect"]["client"]


async def test_a_full_node_refuses_and_serves_everything_else(tmp_path: Path) -> None:
    """Health and the HTTP API pass no door; a place that is given up is taken."""
    async with node(tmp_path, max_connections=3) as door:
        crowd = await door.crowd(5)
        statuses = Counter([(await client.answer()).status for client in crowd])
        assert statuses == {101: 3, 503: 2}
        assert await door.api("publish", channel="a", data=1) == {"result": {}}
        status = await door.status()
        assert (status["num_connections"], status["max_connections"]) == (3, 3)
        assert await door.process.is_ready()
        crowd[0].close()
        await door.until(lambda status: status["num_connections"] == 2)
        late = await door.client()
        assert (await late.answer()).status == 101


async def test_addresses_behind_a_trusted_proxy_are_told_apart(tmp_path: Path) -> None:
    """Each client of the proxy has its own bucket; what a client claims itself counts nothing."""

    def from_address(address: str) -> bytes:
        return HANDSHAKE.replace(
            b"\r\n\r\n", f"\r\nX-Forwarded-For: {address}\r\n\r\n".encode(errors="surrogateescape")
        )

    async with node(
        tmp_path, per_ip_connects_per_second=1, per_ip_burst=2, trusted_proxies=["127.0.0.0/8"]
    ) as door:

        async def knock(address: str) -> Answer:
            return await (await door.client(says=from_address(address))).answer()

        for client in ("198.51.100.1", "198.51.100.2", "2001:db8:0:1::1"):
            assert [(await knock(client)).status for _ in range(3)] == [101, 101, 429]
        assert (await knock("198.51.100.9, 198.51.100.1")).status == 429
        assert (await knock("2001:db8:0:1::2")).retry_after_s >= 1
        hostile = ["\udcff\udcfe", "," * 4000, '"[', "198.51.100.1" * 300, "for=;;;"]
        answers = [(await knock(address)).status for address in hostile]
        assert answers == [101, 101, 429, 429, 429]  # all are the proxy's own


async def test_an_overloaded_node_sends_away_who_wants_in_and_keeps_who_is_in(
    tmp_path: Path,
) -> None:
    """503 for handshakes, 111 for a connect behind one, until the loop is in time again."""
    async with node(tmp_path, shed_loop_lag="100ms") as door:
        inside = await door.let_in()
        inside.say({"id": 1, "connect": {}})
        assert (await inside.message())["connect"]
        between = await door.let_in()
        await door.stand_still(2.5)
        refused = await door.answer_of_next(503)
        assert refused.retry_after_s in {1, 2}
        between.say({"id": 1, "connect": {}})
        reply = await between.message()
        assert reply == {
            "id": 1,
            "error": {"code": 111, "message": "too many requests", "temporary": True},
        }
        inside.say({"id": 2, "ping": {}})
        assert await inside.message() == {"id": 2, "ping": {}}
        await door.let_in()
        assert 'reason="loop_lag"' in await door.metrics()


async def test_a_connection_that_says_nothing_is_closed(tmp_path: Path) -> None:
    """Neither silence nor half a request holds a socket longer than `handshake_timeout`."""
    async with node(tmp_path, handshake_timeout="1s") as door:
        silent = await door.client(says=b"")
        half = await door.client(says=HANDSHAKE[:40])
        began = time.monotonic()
        await asyncio.gather(silent.ended(), half.ended())
        assert time.monotonic() - began > 0.5
        client = await door.client()
        assert (await client.answer()).status == 101


async def test_who_waits_is_told_when_the_node_ends(tmp_path: Path) -> None:
    """SIGTERM does not leave a handshake without an answer."""
    async with node(tmp_path, connects_per_second=1, burst=1, wait="30s") as door:
        crowd = await door.crowd(5)
        await door.until(lambda status: status["num_waiting"] == 4)
        stopping = asyncio.create_task(door.process.stop())
        answers = await asyncio.gather(*(client.answer() for client in crowd))
        assert Counter(answer.status for answer in answers)[503] >= 3
        door.close()
        assert await stopping == 0


async def test_the_loop_is_watched(tmp_path: Path) -> None:
    """Lag and busy share are in the status, within their bounds."""
    async with node(tmp_path) as door:
        status = await door.until(lambda status: status["loop_busy"] > 0)
        assert 0 < status["loop_busy"] <= 1
        assert 0 <= status["loop_lag_s"] < 5
        assert "realtime_loop_busy_ratio" in await door.metrics()
