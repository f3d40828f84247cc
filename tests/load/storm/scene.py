"""The stage of every scenario: a Redis, some nodes, a publisher, and an operator's hand on them.

Publications go through a few nodes only, by default those that outlive the scenario, so that every
one is acknowledged or refused, and the ledger is whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.load import rounds
from tests.load.servers import MissingRedisError
from tests.load.storm.crowd import Crowd
from tests.load.storm.following import Acknowledged, Verdict
from tests.load.storm.messages import Story
from tests.support.conditions import eventually
from tests.support.node_process import NODE, NodeProcess
from tests.support.publishing_load import PublishingLoad
from tests.support.redis_server import RedisServer
from tests.support.tokens import SECRET

API_KEY: Final = "storm"
ADMIN_KEY: Final = "an-admin-key-long-enough-for-everybody"
CHANNELS: Final = 100
CHANNEL_NAMES: Final = tuple(f"load:{n}" for n in range(CHANNELS))
PUBLICATIONS_PER_S: Final = 150
"""Over all channels: each client receives one and a half per second."""

_SETTLED_WITHIN_S: Final = 20.0
_SETTLED_FOR_S: Final = 2.5
"""Longer than a member's second: no report without a delivery is missed."""
_ANSWER_WITHIN_S: Final = 10.0

_SETTINGS: Final[dict[str, Any]] = {
    "http_api": {"key": API_KEY},
    "client": {"token": {"hmac_secret_key": SECRET}},
    "log": {"level": "warn"},
    "channel": {
        "namespaces": [
            {
                "name": "load",
                "history_size": 1000,
                "history_ttl": "300s",
                "force_recovery": True,
                "presence": True,
                "allow_subscribe_for_client": True,
            }
        ]
    },
}


@dataclass(frozen=True)
class Lab(rounds.Lab):
    """What every scenario needs."""

    clients: int | None
    """Instead of a scenario's own number."""
    settings: Mapping[str, Any]
    """Added to those of every node."""

    def crowd_of(self, full: int) -> int:
        """Return how many clients to play."""
        return self.clients or (full // 10 if self.quick else full)


class Scene:
    """Running nodes and a publisher. Made by `set_up`, which ends them."""

    def __init__(self, redis: RedisServer, nodes: Sequence[NodeProcess], publishing: int) -> None:
        """Publish through the last `publishing` of the nodes."""
        self.redis = redis
        self.nodes = list(nodes)
        self.load = PublishingLoad(
            self.nodes[-publishing:],
            CHANNEL_NAMES,
            api_key=API_KEY,
            per_s=PUBLICATIONS_PER_S,
            data_of=lambda number: {"n": number, "t": time.monotonic_ns()},
        )

    @property
    def ports(self) -> list[int]:
        """Where clients connect."""
        return [node.port for node in self.nodes]

    @property
    def names(self) -> dict[int, str]:
        """Port → name."""
        return {node.port: node.name for node in self.nodes}

    async def status(self, node: NodeProcess) -> dict[str, Any]:
        """Return what a node tells of itself."""
        return await self._ask("GET", node, "/status")

    async def order_drain(self, node: NodeProcess, phase: str, **options: Any) -> float:
        """Give an order as the operator would; return when it was answered.

        Raises:
            AssertionError: the node refused.
        """
        await self._ask("POST", node, "/drain", {"phase": phase, "reason": "storm lab", **options})
        return time.monotonic()

    async def presence(self, node: NodeProcess) -> int:
        """Return how many clients the cluster believes to be present, over all channels."""
        headers = {"X-API-Key": API_KEY}
        async with aiohttp.ClientSession(headers=headers) as session:
            total = 0
            for channel in CHANNEL_NAMES:
                url = f"{node.http_url}/api/presence_stats"
                async with session.post(url, json={"channel": channel}) as answer:
                    total += (await answer.json())["result"]["num_clients"]
        return total

    async def _ask(
        self, method: str, node: NodeProcess, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        timeout = aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S)
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
            session.request(method, node.http_url + path, json=body) as answer,
        ):
            text = await answer.text()
            assert answer.ok, f"{node.name} answered {method} {path} with {answer.status}: {text}"
            told: dict[str, Any] = json.loads(text)
            return told

    async def judged(self, crowd: Crowd) -> tuple[Verdict, list[Story]]:
        """Publish no more, let all be delivered, end the crowd and hold it against the ledger."""
        self.load.stop()
        latencies = crowd.timeline.latencies
        count, since = -1, time.monotonic()

        def settled() -> bool:
            nonlocal count, since
            delivered = sum(histogram.count for histogram in latencies.values())
            if delivered != count:
                count, since = delivered, time.monotonic()
            return time.monotonic() - since > _SETTLED_FOR_S

        await eventually(settled, within_s=_SETTLED_WITHIN_S, what="the last is delivered")
        stories = await crowd.judged()
        acknowledged = Acknowledged(self.load.ledger.channels)
        followings = [following for story in stories for following in story.followings]
        # Thousands of sums, while the publisher may still have answers to read.
        return await asyncio.to_thread(acknowledged.judge_all, followings), stories


@contextlib.asynccontextmanager
async def set_up(
    lab: Lab, nodes: int, *, publishing: int, aof: bool = False, **settings: Any
) -> AsyncIterator[Scene]:
    """Run so many nodes on a Redis, publishing through the last of them.

    `aof` lets Redis keep what it acknowledged over a restart; `settings` are added to the nodes'.

    Raises:
        MissingRedisError: there is none on PATH.
        AssertionError: a node did not start.
    """
    if not any(map(shutil.which, ("redis-server", "valkey-server"))):
        raise MissingRedisError("no Redis on PATH: apt-get install redis-server")
    async with contextlib.AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer(aof=aof))
        every = merged(
            _SETTINGS,
            {"engine": {"type": "redis", "redis": {"address": redis.url}}},
            settings,
            lab.settings,
        )
        running = [
            await stack.enter_async_context(
                NodeProcess(every, lab.directory, name=f"node-{number}", internal=True)
            )
            for number in range(nodes)
        ]
        scene = Scene(redis, running, publishing)
        publisher = asyncio.create_task(scene.load.run())
        try:
            yield scene
        finally:
            scene.load.stop()
            await publisher


def merged(*several: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of which the later are laid over the earlier, section by section."""
    result: dict[str, Any] = {}
    for settings in several:
        for key, value in settings.items():
            known = result.get(key)
            both = isinstance(known, dict) and isinstance(value, Mapping)
            result[key] = merged(known, value) if both else value  # type: ignore[arg-type]
    return result


async def offers(settings: Mapping[str, Any], directory: Path) -> bool:
    """Whether the node knows settings; what it does not know it cannot be asked to do."""
    path = directory / "offered.json"
    path.write_text(json.dumps(merged(_SETTINGS, settings)))
    check = await asyncio.create_subprocess_exec(
        *(NODE, "check", "--config", str(path)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await check.wait() == 0


async def ended(node: NodeProcess, *, within_s: float) -> int:
    """Wait until a node has ended by itself; return its exit status.

    Raises:
        AssertionError: it still runs.
    """
    await eventually(lambda: not node.is_running, within_s=within_s, what=f"{node.name} ends")
    return await node.stop()


def terminate(node: NodeProcess) -> float:
    """Ask a node to end, as a kubelet does; return when."""
    node.send(signal.SIGTERM)
    return time.monotonic()
