"""Redis answers nonsense for a while: to a node that is an outage, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from realtime_node.errors import BackplaneError
from realtime_node.failures import Failures, recording
from tests.integration.backplane.helpers import Counting, parts_of
from tests.support.backplanes import HISTORY, Node, RedisCluster
from tests.support.conditions import eventually
from tests.support.garbler import Garbler, inverted, reshaped, retyped
from tests.support.inner_node import InnerNode
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from realtime_node.cluster.on_redis.options import RedisOptions

_PUBLISH_EVERY_S: Final = 0.01
_FAULT_S: Final = 1.5
_AGAIN_WITHIN_S: Final = 5.0
_SPOILS: Final = [lambda: inverted, lambda: retyped, reshaped]


class _Counting(Counting):
    def __init__(self) -> None:
        super().__init__()
        self.unread = 0

    def garbled(self, connection: str) -> None:
        """Count."""
        assert connection in {"writes", "reads", "inbox"}
        self.unread += 1


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A server behind the garbler."""
    with RedisServer() as server:
        yield server


@pytest.fixture
async def garbler(redis: RedisServer) -> AsyncIterator[Garbler]:
    """What stands in front of it."""
    async with Garbler(redis.socket) as garbler:
        yield garbler


@pytest.fixture
async def cluster(redis: RedisServer) -> AsyncIterator[RedisCluster]:
    """Nodes that talk to the server itself, unless they are told otherwise."""
    cluster = RedisCluster(redis.url)
    yield cluster
    await cluster.close()


def _through(garbler: Garbler, options: RedisOptions) -> RedisOptions:
    return msgspec.structs.replace(
        options, address=garbler.url, command_timeout_s=0.5, connect_timeout_s=0.5, lease_s=5.0
    )


async def _publish_for(node: Node, seconds: float) -> list[str]:
    texts: list[str] = []
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    while loop.time() < ends_at:
        texts.append(str(len(texts)))
        await node.publish("news", texts[-1])
        await asyncio.sleep(_PUBLISH_EVERY_S)
    return texts


@pytest.mark.parametrize("make_spoil", _SPOILS, ids=["inverted", "retyped", "reshaped"])
async def test_a_node_loses_nothing_while_every_answer_is_nonsense(
    make_spoil: Callable[[], Callable[[bytes], bytes]],
    garbler: Garbler,
    cluster: RedisCluster,
) -> None:
    """Each publication of another node arrives once and in order, or the channel is told."""
    counting, failures = _Counting(), Failures()
    a = await cluster.node("a")
    with recording(failures):
        options = _through(garbler, cluster.options)
        b = await cluster.node("b", options=options, instruments=counting)
    b.receiver.told["news"] = (await b.backplane.subscribe("news", HISTORY)).top
    await a.publish("news", "before")
    await b.receiver.has("news", 1)
    garbler.spoil = make_spoil()
    texts = await _publish_for(a, _FAULT_S)
    # Nothing of this is the node's own fault, and it says what is wrong.
    assert not any(loop.is_own_fault for loop in failures.failing())
    assert counting.unread + len(b.backplane.obstacles()) > 0
    garbler.spoil = None
    await a.publish("news", "after")
    await eventually(
        lambda: b.receiver.texts("news")[-1:] == ["after"] or b.receiver.losses,
        within_s=_AGAIN_WITHIN_S,
    )
    if not b.receiver.losses:
        assert b.receiver.texts("news") == ["before", *texts, "after"]
    assert garbler.spoiled > 10
    await eventually(lambda: not b.backplane.obstacles())
    leased_at = parts_of(b).shards[0].liveness._leased_until
    await eventually(lambda: parts_of(b).shards[0].liveness._leased_until > leased_at)


@pytest.mark.parametrize("make_spoil", _SPOILS, ids=["inverted", "retyped", "reshaped"])
async def test_what_a_node_published_meanwhile_is_there_once_or_refused(
    make_spoil: Callable[[], Callable[[bytes], bytes]],
    garbler: Garbler,
    cluster: RedisCluster,
) -> None:
    """A nonsensical answer to a publish is looked up, never taken for a success."""
    a = await cluster.node("a", options=_through(garbler, cluster.options))
    b = await cluster.node("b")
    b.receiver.told["news"] = (await b.backplane.subscribe("news", HISTORY)).top

    async def publish(text: str) -> tuple[str, int | None]:
        with contextlib.suppress(BackplaneError):
            return text, (await a.publish("news", text)).offset
        return text, None

    garbler.spoil = make_spoil()
    publishing = []
    for number in range(60):
        publishing.append(asyncio.create_task(publish(str(number))))
        await asyncio.sleep(_PUBLISH_EVERY_S)
    garbler.spoil = None
    answers = await asyncio.gather(*publishing)
    offset = (await _until_published(a)).offset
    texts = await b.receiver.has("news", offset)
    assert len(set(texts)) == len(texts)
    for text, found in answers:
        if found is not None:
            assert texts[found - 1] == text


async def _until_published(node: Node) -> Any:
    while True:
        try:
            return await node.publish("news", "last")
        except BackplaneError:  # connections are made again
            await asyncio.sleep(0.05)


async def test_a_whole_node_stays_ready_and_delivers_again(garbler: Garbler) -> None:
    """Its status tells of the outage meanwhile; a client gets what comes after it."""
    settings = {
        "engine": {
            "type": "redis",
            "redis": {"address": garbler.url, "prefix": f"test-{secrets.token_hex(4)}"},
        },
        "client": {"insecure": True},
        "shutdown": {"timeout": "2s"},
    }
    async with InnerNode.running(settings) as node:
        client = await node.client("news")
        assert await node.publish("news", 1)
        assert (await client.next())["push"]["pub"]["data"] == 1
        garbler.spoil = inverted
        assert not await node.publish("news", 2)
        await eventually(lambda: node.node.status().backplane_obstacles)
        assert node.node.status().ready
        assert not any(loop.is_own_fault for loop in node.node.status().failing)
        assert node.count("redis_garbled_replies_total") >= 1
        garbler.spoil = None
        loop = asyncio.get_running_loop()
        ended_at = loop.time()
        while not await node.publish("news", 3):
            assert loop.time() - ended_at < _AGAIN_WITHIN_S
        data: list[int] = []
        while 3 not in data:
            message = await client.next(within_s=_AGAIN_WITHIN_S)
            data.append(message["push"]["pub"]["data"])
        assert data in ([3], [2, 3])
