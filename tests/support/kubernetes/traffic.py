"""Clients of a RealtimeCluster and a backend that publishes to them, all through its Services.

Each publication is sent until it is acknowledged, under one idempotency key, and stands in the
ledger then; each client keeps what it got. So whatever happens to nodes meanwhile, it can be told
afterwards who had to come back how often, and whether anything was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Final, Self

import aiohttp

from tests.support.conditions import eventually
from tests.support.kubernetes.cluster import Cluster
from tests.support.ledger import Ledger, Verdict
from tests.support.recovering_client import RecoveringClient
from tests.support.tokens import token

logger = logging.getLogger(__name__)

CHANNELS: Final = tuple(f"feed:{number}" for number in range(10))
FEED: Final = {
    "name": "feed",
    "history_size": 10_000,
    "history_ttl": "600s",
    "force_recovery": True,
    "allow_subscribe_for_client": True,
}
"""The namespace of the channels."""
ACKNOWLEDGED_WITHIN_S: Final = 60.0
OUT_AT_ONCE: Final = 200
"""Publications that may be without an answer; then the next one waits."""
SAMPLE_EVERY_S: Final = 1.0


class Traffic:
    """Clients that stay, and publications at a steady rate, until it is stopped."""

    def __init__(
        self,
        backend: aiohttp.ClientSession,
        make_client: Callable[[int], RecoveringClient],
        per_s: float,
    ) -> None:
        """Made by `flowing`."""
        self.ledger = Ledger()
        self.clients: list[RecoveringClient] = []
        self.arrivals_per_s: list[float] = []
        """Clients that connected, by second."""
        self.per_s = per_s
        """Publications per second; may be changed."""
        self._backend = backend
        self._make_client = make_client
        self._left: list[RecoveringClient] = []
        self._run = uuid.uuid4().hex
        """Keys of publications begin with it: one of an earlier traffic would publish nothing."""
        self._stopped = asyncio.Event()
        self._all_acknowledged = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def flowing(
        cls, cluster: Cluster, name: str, namespace: str, *, clients: int, per_s: float
    ) -> AsyncIterator[Self]:
        """Traffic on a cluster in which all clients follow their channels."""
        keys = cluster.secret(f"{name}-keys", namespace)
        secret = keys["token-hmac-key"]
        with ExitStack() as ways:
            public = ways.enter_context(cluster.reach(name, namespace, 8000))
            api = ways.enter_context(cluster.reach(f"{name}-api", namespace, 9000))
            url = f"ws://{public}/connection/websocket"
            # A connection is used once: a kept one would go to the same node for ever.
            once = aiohttp.TCPConnector(force_close=True, limit=OUT_AT_ONCE)
            headers = {"X-API-Key": keys["api-key"]}
            async with aiohttp.ClientSession(
                f"http://{api}", connector=once, headers=headers
            ) as backend:

                def make_client(number: int) -> RecoveringClient:
                    user = token(secret=secret, sub=f"user-{number}")
                    return RecoveringClient([url], user, CHANNELS[number % len(CHANNELS)])

                traffic = cls(backend, make_client, per_s)
                try:
                    await traffic.join(clients)
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(traffic._publish_on())
                        tasks.create_task(traffic._sample())
                        yield traffic
                        traffic._stopped.set()
                    logger.info("traffic: %s", traffic.summary())
                finally:
                    await asyncio.gather(*(client.close() for client in traffic.clients))

    async def join(self, count: int) -> None:
        """More clients come, and stay; returns when all follow their channels."""
        ever = len(self.clients) + len(self._left)
        self.clients += [self._make_client(ever + number) for number in range(count)]
        await eventually(self.all_follow, within_s=60, what="all clients subscribed")

    async def leave(self, count: int, *, oldest: bool = False) -> None:
        """The clients that came last go, or first if they are the `oldest`; nobody judges them."""
        if oldest:
            going, self.clients = self.clients[:count], self.clients[count:]
        else:
            stay = len(self.clients) - count
            self.clients, going = self.clients[:stay], self.clients[stay:]
        self._left += going
        await asyncio.gather(*(client.close() for client in going))

    def all_follow(self) -> bool:
        """Whether every client is on a node; raises what ended a client."""
        for client in self.clients:
            if client.failure:
                raise client.failure
        return all(client.url for client in self.clients)

    def reconnects(self) -> Counter[int]:
        """How many clients had to come back how often."""
        return Counter(client.connections - 1 for client in self.clients)

    def summary(self) -> str:
        """What it has come to, in words."""
        counted = sorted(self.reconnects().items())
        reconnects = ", ".join(f"{clients} with {times}" for times, clients in counted)
        return (
            f"{len(self.clients)} clients, {self.ledger.count} publications acknowledged,"
            f" clients by reconnects: {reconnects},"
            f" at most {max(self.arrivals_per_s, default=0):.0f} arrivals/s"
        )

    async def settle(self) -> None:
        """Publish no more, and wait until everybody has all of it."""
        self._stopped.set()
        # What is acknowledged later than anybody looks would count as lost.
        async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
            await self._all_acknowledged.wait()
        readings = [client.reading for client in self.clients]
        await eventually(
            lambda: self.all_follow() and all(map(self.ledger.is_up_to_date, readings)),
            within_s=30,
            what="every client got the newest publication",
        )

    def worst(self) -> Verdict:
        """The most that any client lost, got twice, or got in another order."""
        verdicts = [self.ledger.judge(client.reading) for client in self.clients]
        return Verdict(*(max(each) for each in zip(*verdicts, strict=True)))

    async def _publish_on(self) -> None:
        room = asyncio.Semaphore(OUT_AT_ONCE)
        number = 0
        async with asyncio.TaskGroup() as calls:
            while not self._stopped.is_set():
                number += 1
                await room.acquire()
                call = calls.create_task(self._publish(number))
                call.add_done_callback(lambda _: room.release())
                await asyncio.sleep(1 / self.per_s)
        self._all_acknowledged.set()

    async def _publish(self, number: int) -> None:
        channel = CHANNELS[number % len(CHANNELS)]
        body = {"channel": channel, "data": number, "idempotency_key": f"{self._run}-{number}"}
        until = time.monotonic() + ACKNOWLEDGED_WITHIN_S
        while True:
            assert time.monotonic() < until, f"publication {number} was not acknowledged"
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                limit = aiohttp.ClientTimeout(total=6)
                async with self._backend.post("/api/publish", json=body, timeout=limit) as response:
                    answer = await response.json()
                if result := answer.get("result"):
                    self.ledger.acknowledge(channel, result["epoch"], result["offset"], number)
                    return
                assert answer["error"]["code"] == 100, answer
            await asyncio.sleep(0.1)

    async def _sample(self) -> None:
        before, at = self._arrived(), time.monotonic()
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), SAMPLE_EVERY_S)
            count, now = self._arrived(), time.monotonic()
            self.arrivals_per_s.append((count - before) / (now - at))
            before, at = count, now

    def _arrived(self) -> int:
        return sum(client.connections for client in [*self.clients, *self._left])
