"""Every order in which two sides' commands can reach Redis, executed one by one.

The commands are the very bytes that nodes send; the test only decides when each arrives.
"""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from realtime_node.cluster.on_redis.keys import Keys
from realtime_node.cluster.on_redis.script import (
    BURY,
    DECLARE_DEAD,
    FORGET,
    HEARTBEAT,
    PUBLISH,
    REGISTER,
    ROTATE,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Script,
)
from tests.support.stores import on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from redis.asyncio import Redis

    from realtime_node.cluster.on_redis.script import Argument
    from tests.support.stores import Stores

_LEASE_MS = 10_000
_JANITOR = ("suspect", "declare dead", "forget", "bury")


class _Step(NamedTuple):
    """A command of one side."""

    name: str
    script: Script
    keys: Sequence[bytes]
    arguments: Sequence[Argument]


class _World:
    """A partition with a janitor's node and one whose lease has ended."""

    def __init__(self, redis: Redis) -> None:
        # Typed as loosely as its replies are.
        self.redis: Any = redis
        self.keys = Keys(f"test-{secrets.token_hex(4)}", 1)
        self.shared = self.keys.partition(0)
        self.news = self.keys.channel("news")
        self.janitor = self.keys.node(0, "janitor")
        self.node = self.keys.node(0, "node")

    async def run(self, step: _Step) -> list[bytes]:
        """Execute a command as Redis would receive it."""
        arguments = [*step.keys, *step.arguments]
        reply: list[bytes] = await self.redis.eval(
            step.script.source.decode(),
            len(step.keys),
            *arguments,
        )
        return reply

    async def begin(self) -> None:
        """Register both, make the node interested, and let its lease end."""
        for name in ("janitor", "node"):
            own = self.keys.node(0, name)
            keys = (self.shared.generation, own.node, self.shared.nodes, self.shared.described)
            await self.run(_Step("register", REGISTER, (*keys, own.inbox), (name, "d", "g", "h")))
        await self.run(self.subscribe(1))
        await self.redis.zadd(self.shared.nodes, {"node": 1})

    def subscribe(self, sequence: int) -> _Step:
        """The node becomes interested in the channel."""
        keys = (self.shared.generation, self.node.node, self.node.channels, self.news.interest)
        arguments = ("node", sequence, "news", 60_000, "", 0)
        return _Step("subscribe", SUBSCRIBE, (*keys, self.news.meta, self.news.history), arguments)

    def unsubscribe(self, sequence: int) -> _Step:
        """It is interested no longer."""
        keys = (self.node.node, self.node.channels, self.news.interest)
        return _Step("unsubscribe", UNSUBSCRIBE, keys, ("node", sequence, "news"))

    async def publish(self, node: str, sequence: int) -> _Step:
        """A node publishes, knowing who is interested now."""
        own = self.keys.node(0, node)
        interest: dict[bytes, bytes] = await self.redis.hgetall(self.news.interest)
        version = interest.pop(b".version", b"0")
        inboxes = [self.keys.node(0, name.decode()).inbox for name in interest]
        keys = (self.shared.generation, own.node, own.mark, self.news.interest, self.news.meta)
        arguments = (sequence, version, "news", b"x", 100, 60_000, 60_000, 0, 1000, 10**6, 0)
        streams = (self.news.history, self.news.dedup, *inboxes)
        return _Step("publish", PUBLISH, (*keys, *streams), arguments)

    def heartbeat(self) -> _Step:
        """The node prolongs its lease."""
        shared = self.shared
        described = (self.node.node, shared.nodes, shared.described, shared.generation)
        arguments = ("node", "d", _LEASE_MS, 1, "0", 0, "100.0")
        keys = (*described, shared.traffic, shared.budget, shared.departed)
        return _Step("heartbeat", HEARTBEAT, keys, arguments)

    def cleaning(self) -> list[_Step]:
        """What a janitor does to the node, in its order."""
        node, shared = self.node, self.shared
        dead = (node.node, node.channels, node.present, shared.nodes, shared.departed)
        forgotten = (*dead, self.news.interest, self.news.presence)
        buried = (node.node, shared.nodes, shared.described, node.channels, node.present)
        rest = (node.inbox, node.mark, shared.traffic, node.sessions)
        declared = (
            DECLARE_DEAD,
            (self.janitor.node, node.node, shared.nodes),
            ("node", _LEASE_MS, 60_000, 0),
        )
        return [
            _Step("suspect", *declared),
            _Step("declare dead", *declared),
            _Step("forget", FORGET, forgotten, ("node", "news")),
            _Step("bury", BURY, (*buried, *rest), ("node",)),
        ]

    async def is_interested(self) -> bool:
        """Whether Redis delivers the channel to the node."""
        return bool(await self.redis.hexists(self.news.interest, "node"))

    async def exists(self, key: bytes) -> bool:
        """Whether there is such a key."""
        return bool(await self.redis.exists(key))


@pytest.fixture(params=[on("redis"), on("valkey"), on("redis cluster")])
async def world(request: pytest.FixtureRequest, stores: Stores) -> AsyncIterator[_World]:
    """A world that has begun, on each program: how a server is found changes no command."""
    async with stores.get(request.param).client() as redis:
        made = _World(redis)
        await made.begin()
        yield made


def _merges(first: int, second: int) -> list[tuple[bool, ...]]:
    """Every order of `first` commands of one side (True) and `second` of another."""
    places = itertools.combinations(range(first + second), first)
    return [tuple(place in chosen for place in range(first + second)) for chosen in places]


@pytest.mark.parametrize(
    "order", _merges(len(_JANITOR), 3), ids=lambda order: "".join("jn"[not j] for j in order)
)
async def test_a_janitor_and_a_node_that_wakes(world: _World, order: tuple[bool, ...]) -> None:
    """Whoever comes first wins entirely: the node lives untouched, or nothing of it counts."""
    janitor = iter(world.cleaning())
    node = iter(("heartbeat", "subscribe", "publish"))
    is_dead = is_awake = False
    for is_janitors in order:
        if is_janitors:
            step = next(janitor)
            status = (await world.run(step))[0]
            if step.name == "declare dead":
                is_dead = not is_awake
            silent = b"SUSPECTED" if step.name == "suspect" and not is_awake else b"ALIVE"
            assert status == (b"OK" if is_dead else silent), step.name
        else:
            match next(node):
                case "heartbeat":
                    step = world.heartbeat()
                    is_awake = not is_dead
                case "subscribe":
                    step = world.subscribe(2)
                case _:
                    step = await world.publish("node", 1)
            status = (await world.run(step))[0]
            assert status == (b"FENCED" if is_dead else b"OK"), step.name
    assert await world.is_interested() is not is_dead
    assert await world.exists(world.node.inbox) is not is_dead
    # Nobody's publish brings a buried inbox back.
    assert (await world.run(await world.publish("janitor", 1)))[0] == b"OK"
    assert await world.exists(world.node.inbox) is not is_dead


@pytest.mark.parametrize("late", ["heartbeat", "subscribe", "publish"])
async def test_a_zombies_late_commands_after_its_burial(world: _World, late: str) -> None:
    """Even when its tombstone has ended, a node that was cleaned away writes nothing."""
    steps = {
        "heartbeat": world.heartbeat(),
        "subscribe": world.subscribe(2),
        "publish": await world.publish("node", 1),
    }
    for step in world.cleaning():
        await world.run(step)
    await world.redis.delete(world.node.node)
    assert await world.run(steps[late]) == [b"FENCED"]
    assert not await world.is_interested()
    assert not await world.exists(world.node.inbox)
    assert not await world.exists(world.node.mark)


async def test_two_janitors_at_once(world: _World) -> None:
    """Two that clean one node, step by step in turn, leave what one alone would."""
    for step in world.cleaning():
        # The second janitor's suspicion is the first one's asked again.
        for expected in (b"SUSPECTED", b"OK") if step.name == "suspect" else (b"OK", b"OK"):
            assert (await world.run(step))[0] == expected
    assert not await world.is_interested()
    assert await world.redis.zrange(world.shared.nodes, 0, -1) == [b"janitor"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
async def test_the_last_subscribe_wins_in_every_order(
    world: _World, order: tuple[int, ...]
) -> None:
    """However connections delay them, removals never undo the subscribe that came after them."""
    steps = [world.unsubscribe(2), world.subscribe(3), world.unsubscribe(4), world.subscribe(5)]
    for index in order:
        assert (await world.run(steps[index]))[0] == b"OK"
    assert await world.is_interested()
    members = await world.redis.smembers(world.node.channels)
    assert members == {b"news"}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
async def test_nodes_that_notice_one_loss_rotate_once(
    world: _World, order: tuple[int, ...]
) -> None:
    """The first that rotates decides; the others get its generation, in whatever order."""
    before: bytes = await world.redis.get(world.shared.generation)
    replies = [
        await world.run(
            _Step("rotate", ROTATE, (world.shared.generation,), (before, f"node{index}"))
        )
        for index in order
    ]
    assert replies[0][1] != before
    assert replies == [replies[0]] * 3
    assert replies[0][1].startswith(f"node{order[0]}".encode())


@pytest.mark.parametrize("before", range(4))
async def test_a_subscribe_among_publications(world: _World, before: int) -> None:
    """Position, what was missed, and the inbox are the whole stream, wherever it falls."""
    await world.run(world.unsubscribe(2))
    for sequence in range(1, 4):
        if sequence == before + 1:
            break
        await world.run(await world.publish("janitor", sequence))
    reply = await world.run(world.subscribe(3))
    top = int(reply[1])
    assert top == before
    for sequence in range(before + 1, 4):
        await world.run(await world.publish("janitor", sequence))
    entries = await world.redis.xrange(world.node.inbox)
    offsets = [
        int(header[1:].split(b" ")[0])
        for _, fields in entries
        for header in fields
        if header.startswith(b"p")
    ]
    assert offsets == list(range(top + 1, 4))


async def test_a_publish_that_knows_an_older_interest_writes_nothing(world: _World) -> None:
    """Between learning and publishing the interest changed: all or nothing."""
    stale = await world.publish("janitor", 1)
    await world.run(world.unsubscribe(2))
    await world.run(world.subscribe(3))
    length = await world.redis.xlen(world.node.inbox)
    reply = await world.run(stale)
    assert (reply[0], reply[2:]) == (b"STALE_INTEREST", [b"node"])
    assert await world.redis.xlen(world.node.inbox) == length
    assert not await world.exists(world.news.history)
