"""A real node and clients that stop reading: each policy does to them what it says.

Clients have a small receive buffer, so that their windows are full after a few frames; they read
again, or never, when the test says so. Others on the same channels read all the time.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest

from tests.support.conditions import NEVER_S
from tests.support.node_process import COMMAND, NodeProcess
from tests.support.raw_websocket import Outcome, RawWebSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

_API_KEY: Final = "slow"
_RECEIVE_BUFFER: Final = 16_384
_KIB: Final = 1024
_LARGE: Final = _KIB * _KIB
_STALLED: Final = 300
_BUDGET: Final = 16 * _KIB * _KIB
_OPEN: Final = {"allow_subscribe_for_client": True}
_KEPT: Final = {**_OPEN, "history_size": 2000, "history_ttl": "300s", "force_recovery": True}
_SETTINGS: Final[dict[str, Any]] = {
    "http_api": {"key": _API_KEY},
    "client": {
        "insecure": True,
        "write_timeout": "60s",
        "queue_max_size": 256 * _KIB * _KIB,
        "queues_max_size": _BUDGET,
    },
    "channel": {
        "namespaces": [
            {"name": "chat", **_KEPT, "slow_client": {"policy": "queue"}},
            {"name": "prices", **_KEPT, "slow_client": {"policy": "latest", "key": "symbol"}},
            {"name": "typing", **_OPEN, "slow_client": {"policy": "drop"}},
            {"name": "strict", **_KEPT, "slow_client": {"policy": "disconnect"}},
            {
                "name": "huge",
                **_OPEN,
                "slow_client": {
                    "policy": "queue",
                    "may_lose": True,
                    "max_bytes": 256 * _KIB * _KIB,
                    "max_age": "60s",
                },
            },
        ]
    },
    "log": {"level": "warn"},
}


class Node:
    """A node process and its API."""

    def __init__(self, process: NodeProcess, session: aiohttp.ClientSession) -> None:
        self.process = process
        self._session = session
        self._clients: list[Client] = []

    def client(self, channel: str, **since: Any) -> Client:
        """A client that subscribed; it is closed with the node."""
        client = Client(self.process.port, channel, since)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Close all clients."""
        for client in self._clients:
            client.close()

    async def publish(self, channel: str, number: int, size: int = 4 * _KIB, tag: str = "") -> None:
        """Publish a number in so many bytes."""
        body: dict[str, Any] = {"channel": channel, "data": {"n": number, "pad": "x" * size}}
        if tag:
            body["tags"] = {"symbol": tag}
        answer = await self._session.post(
            f"{self.process.http_url}/api/publish",
            data=io.BytesIO(json.dumps(body).encode()),  # what is larger than 1 MiB is to be a file
            headers={"X-API-Key": _API_KEY, "Content-Type": "application/json"},
        )
        assert "result" in await answer.json()

    async def metric(self, pattern: str) -> float:
        """The sum of all samples whose line begins as `pattern` says."""
        answer = await self._session.get(f"{self.process.http_url}/metrics")
        lines = [
            line
            for line in (await answer.text()).splitlines()
            if re.match(rf"realtime_{pattern}", line)
        ]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    async def until(self, pattern: str, value: float, within_s: float = NEVER_S) -> None:
        """Wait for a metric."""
        async with asyncio.timeout(within_s):
            while await self.metric(pattern) < value:
                await asyncio.sleep(0.05)


@pytest.fixture
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    """A running node by itself; the parameter is the command that starts it."""
    async with _running(_SETTINGS, tmp_path, getattr(request, "param", ())) as node:
        yield node


@pytest.fixture
async def impatient_node(tmp_path: Path) -> AsyncIterator[Node]:
    """One that cuts off clients which take nothing for two seconds."""
    client = {**_SETTINGS["client"], "write_timeout": "2s"}
    async with _running({**_SETTINGS, "client": client}, tmp_path) as node:
        yield node


@asynccontextmanager
async def _running(
    settings: dict[str, Any], directory: Path, command: Sequence[str] = ()
) -> AsyncIterator[Node]:
    async with AsyncExitStack() as stack:
        process = NodeProcess(settings, directory, command=command)
        await stack.enter_async_context(process)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        node = Node(process, session)
        stack.callback(node.close)
        yield node


class Client:
    """A subscriber of one channel that reads only when it is told to."""

    def __init__(self, port: int, channel: str, since: dict[str, Any]) -> None:
        """Connect, subscribe, and read the replies."""
        self.channel = channel
        self.socket = RawWebSocket(port, receive_buffer_bytes=_RECEIVE_BUFFER)
        subscribe = {"id": 2, "subscribe": {"channel": channel, **since}}
        self.socket.send_text(b'{"id":1,"connect":{}}', json.dumps(subscribe).encode())
        self.reply: dict[str, Any] = self.socket.outcome(until_id=2).messages[-1]["subscribe"]
        self.seen = [each["data"]["n"] for each in self.reply.get("publications", [])]
        self.position = {"epoch": self.reply.get("epoch", ""), "offset": 0, "recover": True}
        self.close_code: int | None = None
        self._note(self.reply.get("publications", []))

    def _note(self, found: list[dict[str, Any]]) -> None:
        for publication in found:
            self.position["offset"] = publication.get("offset", 0)

    def read_until(self, number: int) -> None:
        """Read up to the publication with a number.

        Raises `AssertionError` if the connection ends before.
        """
        while number not in self.seen[-1:]:
            outcome = self.socket.outcome(until_push=self.channel)
            assert not outcome.ended, f"ended at {self.seen[-1:]}, before {number}"
            self._take(outcome)

    def read_to_the_end(self) -> None:
        """Read until the connection ends."""
        outcome = self.socket.outcome()
        self._take(outcome)
        self.close_code = outcome.close_code

    def _take(self, outcome: Outcome) -> None:
        found = [each["push"]["pub"] for each in outcome.messages if "pub" in each.get("push", {})]
        self.seen += [each["data"]["n"] for each in found]
        self._note(found)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


async def in_thread(call: Callable[[], None]) -> None:
    """Let a client read while the test goes on."""
    await asyncio.to_thread(call)


async def test_a_queue_is_complete_up_to_its_end_and_recovers_the_rest(node: Node) -> None:
    """Who reads again too late sees everything in order, then 3008, and loses nothing by it."""
    slow, healthy = node.client("chat:a"), node.client("chat:a")
    reading = asyncio.create_task(in_thread(lambda: healthy.read_until(299)))
    number = 0
    while not await node.metric(r'slow_client_closes_total{policy="queue"'):
        await node.publish("chat:a", number)
        number += 1
    await in_thread(slow.read_to_the_end)
    assert slow.close_code == 3008
    assert slow.seen == list(range(len(slow.seen)))
    assert 0 < len(slow.seen) < number
    back = node.client("chat:a", **slow.position)
    assert back.reply["recovered"]
    assert back.seen == list(range(len(slow.seen), number))
    reading_on = asyncio.create_task(in_thread(lambda: back.read_until(299)))
    for rest in range(number, 300):
        await node.publish("chat:a", rest)
    await asyncio.gather(reading, reading_on)
    assert healthy.seen == list(range(300))


async def test_who_never_reads_again_is_cut_off_in_time(impatient_node: Node) -> None:
    """Its connection ends without a close frame it could not be sent, and the node is rid of it."""
    node = impatient_node
    stalled = node.client("prices:a")
    for number in range(200):
        await node.publish("prices:a", number, tag="x")
    await node.until(r'slow_client_closes_total{policy="",reason="stalled"}', 1)
    await node.until(r'disconnects_total{code="1006"}', 1)
    assert await node.metric("clients ") == 0
    assert await node.metric("slow_client_waiting_bytes ") == 0
    await in_thread(stalled.read_to_the_end)
    assert stalled.close_code is None


async def test_newest_values_after_congestion_and_after_recovery(node: Node) -> None:
    """No value is older than one before it, and the newest of each symbol is there at the end."""
    slow = node.client("prices:a")
    for number in range(300):
        await node.publish("prices:a", number, tag="xyz"[number % 3])
    await in_thread(lambda: slow.read_until(299))
    assert slow.seen == sorted(set(slow.seen))
    assert len(slow.seen) < 200
    assert slow.seen[-3:] == [297, 298, 299]
    for number in range(300, 400):
        await node.publish("prices:a", number, tag="xyz"[number % 3])
    back = node.client("prices:a", **slow.position)
    assert back.reply["recovered"]
    assert back.seen == [397, 398, 399]


async def test_dropped_messages_are_skipped_and_the_client_stays(node: Node) -> None:
    """A client that reads again gets what was on its way, then what is new.

    Between these a message may have passed where the kernel made room for it at that moment.
    """
    slow = node.client("typing:a")
    for number in range(200):
        await node.publish("typing:a", number)
    reading = asyncio.create_task(in_thread(lambda: slow.read_until(10_000)))
    await node.until("slow_client_messages_total", 1)
    while await node.metric("slow_clients "):
        await asyncio.sleep(0.02)
    await node.publish("typing:a", 10_000)
    await reading
    assert slow.seen == sorted(set(slow.seen))
    assert (slow.seen[0], slow.seen[-1]) == (0, 10_000)
    assert len(slow.seen) < 200


async def test_a_strict_channel_closes_at_once(node: Node) -> None:
    """The first publication that does not fit the buffers closes the client, which recovers."""
    slow = node.client("strict:a")
    number = 0
    while not await node.metric(r'slow_client_closes_total{policy="disconnect"'):
        await node.publish("strict:a", number)
        number += 1
    await in_thread(slow.read_to_the_end)
    assert slow.close_code == 3008
    assert slow.seen == list(range(number - 1))
    back = node.client("strict:a", **slow.position)
    assert back.seen == [number - 1]


# A forked node shares memory with others, and a new one has its own.
@pytest.mark.parametrize("node", [COMMAND], indirect=True, ids=["started anew"])
async def test_memory_has_a_budget_and_nobody_healthy_pays_for_it(node: Node) -> None:
    """Many that choke on large frames take no more than the budget, and are cut off for it."""
    healthy = node.client("huge:a")
    for _ in range(_STALLED):
        node.client("huge:a")
    before = most = node.process.resident_bytes()
    await node.publish("huge:a", 0, _LARGE)
    await in_thread(lambda: healthy.read_until(0))
    await node.until("slow_clients ", _STALLED)
    for number in range(1, 40):
        await node.publish("huge:a", number, _LARGE)
        await in_thread(partial(healthy.read_until, number))
        most = max(most, node.process.resident_bytes())
    assert healthy.seen == list(range(40))
    closed = r'slow_client_closes_total{policy="",reason="node_bytes"}'
    await node.until(closed, _STALLED)
    assert await node.metric("clients ") == 1
    # Beside what waits, a publication of a megabyte is there in a few forms while it is taken in.
    assert most - before <= _BUDGET * 1.2 + 8 * _LARGE
