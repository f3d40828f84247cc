"""The reader of a node's inbox: what a bug behind it, or nonsense before it, costs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import AsyncMock, MagicMock

import msgspec
import pytest
from msgspec import Raw

from realtime_node.cluster.on_redis.entries import encode_publication
from realtime_node.cluster.on_redis.inbox import InboxReader
from realtime_node.cluster.on_redis.inbox_ids import sequence_of
from realtime_node.cluster.on_redis.options import RedisOptions
from realtime_node.protocol.messages import Publication
from tests.support.conditions import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from realtime_node.cluster.backplane import Entry
    from realtime_node.cluster.on_redis.link import Link

_PAYLOAD = encode_publication(Publication(data=Raw(b"{}")))
_OPTIONS = RedisOptions(reconnect_max_delay_s=0.01)


class _Redis:
    """A server with one inbox, and the links to it."""

    def __init__(self) -> None:
        self.entries: list[list[Any]] = []
        self.replies: list[object] = []
        """What reads are answered with, before the truth."""
        self.links = 0
        self.add(b"h0  ", b"")

    def add(self, header: bytes, payload: bytes = _PAYLOAD) -> None:
        self.entries.append([b"1-%d" % len(self.entries), [header, payload]])

    async def open(self, name: str) -> Link:
        assert name == "inbox"
        self.links += 1
        return cast("Link", _Link(self))


class _Link:
    def __init__(self, redis: _Redis) -> None:
        self._redis = redis
        self._after = -1

    async def call(self, *command: Any, read: Callable[[Any], Any]) -> Any:
        if command[0] == b"XRANGE" and command[2] != b"-":
            return read([each for each in self._redis.entries if each[0] == command[2]])
        return read(
            self._redis.entries[:1] if command[0] == b"XRANGE" else self._redis.entries[-1:]
        )

    async def write(self, packed: Sequence[bytes]) -> None:
        position = packed[-1].split(b"\r\n")[-2]
        self._after = -1 if position == b"0" else sequence_of(position)
        self._trims = len(packed) - 1

    async def read(self) -> object:
        await asyncio.sleep(0)
        if self._trims:
            self._trims -= 1
            return 0
        if self._redis.replies:
            reply = self._redis.replies.pop(0)
            if isinstance(reply, BaseException):
                raise reply
            return reply
        found = self._redis.entries[self._after + 1 :]
        return [[b"inbox", found]] if found else None

    async def abort(self) -> None:
        pass


class _World:
    """A reader with all around it."""

    def __init__(self) -> None:
        self.redis = _Redis()
        self.taken: list[Entry] = []
        self.bugs: list[BaseException] = []
        """What the receiver raises with the next batches."""
        self.receiver = MagicMock(receive=self._receive)
        self.repair = MagicMock(fresh=lambda entries: entries, run=AsyncMock())
        self.instruments = MagicMock()
        self.vanished = MagicMock()
        self.reader = InboxReader(
            msgspec.structs.replace(_OPTIONS),
            self.redis.open,
            self.receiver,
            self.instruments,
            continuity=MagicMock(check=AsyncMock()),
            repair=self.repair,
            traces=MagicMock(node="n"),
            name="inbox",
            on_vanished=self.vanished,
        )

    async def _receive(self, entries: Sequence[Entry]) -> None:
        if self.bugs:
            raise self.bugs.pop(0)
        self.taken += entries

    @property
    def channels(self) -> list[str]:
        return [entry.channel for entry in self.taken]

    async def takes(self, *channels: str) -> None:
        await eventually(lambda: self.channels == list(channels), what=f"{channels} were taken")


@pytest.fixture
async def world() -> AsyncIterator[_World]:
    """A reader that reads."""
    world = _World()
    await world.reader.switch({0: b"inbox"}, lost=False)
    yield world
    await world.reader.close()


@pytest.mark.parametrize("bug", [ValueError("a bug"), asyncio.CancelledError()])
async def test_a_batch_that_the_receiver_raises_with_is_compared_with_the_store(
    world: _World, bug: BaseException
) -> None:
    """How much of it was taken is not known: its channels are compared, nothing is sent twice."""
    world.bugs.append(bug)
    world.redis.add(b"p0  a")
    await eventually(lambda: world.repair.run.await_count, what="a comparison")
    world.repair.run.assert_awaited_once_with(0, 0, ["a"])
    world.redis.add(b"p0  b")
    await world.takes("b")
    assert world.redis.links == 1, "nothing was restarted"


@pytest.mark.parametrize("failure", [ValueError("a bug"), asyncio.CancelledError()])
async def test_a_reader_that_fails_begins_again_and_compares(
    world: _World, failure: BaseException
) -> None:
    """Whatever ends a read, the next connection goes on, after all was compared."""
    world.redis.replies.append(failure)
    world.redis.add(b"p0  a")
    await world.takes("a")
    assert world.redis.links == 2
    compared = [call.args for call in world.repair.run.await_args_list]
    assert any(partition == 0 and channels is None for partition, _, channels in compared)


@pytest.mark.parametrize(
    "reply",
    [
        0,
        b"OK",
        [],
        [[]],
        [[b"another", [[b"1-1", [b"p0  a", b""]]]]],
        [[b"inbox", []]],
        [[b"inbox", [[b"1-x", [b"p0  a", b""]]]]],
        [[b"inbox", [[b"1700000-0", [b"p0  a", b""]]]]],
        [[b"inbox", [[b"1-1", [b"p0  a"]]]]],
        [[b"inbox", [[b"1-1", None]]]],
        [[b"inbox", [[b"1-1", [b"p0  a", b""]], [b"1-9", [b"p0  a", b""]]]]],
    ],
    ids=str,
)
async def test_a_read_that_makes_no_sense_is_read_again(world: _World, reply: object) -> None:
    """Its connection is given up, nothing of it is handed over, and nothing counts as read."""
    world.redis.replies.append(reply)
    world.redis.add(b"p0  a")
    await world.takes("a")
    expected = 1 if reply == [] else 2
    assert world.redis.links == expected
    assert world.instruments.garbled.call_count == expected - 1
    world.repair.run.assert_not_awaited()


async def test_an_entry_that_cannot_be_read_costs_its_channel(world: _World) -> None:
    """It is set aside and its channel told; the entries around it arrive."""
    world.redis.add(b"p0  a")
    world.redis.add(b"p0  poisoned", b"\xff what is this")
    world.redis.add(b"p0  b")
    await world.takes("a", "b")
    world.receiver.lost.assert_called_once_with(0, ["poisoned"])


async def test_an_entry_of_a_channel_that_cannot_be_read_is_told_to_all(world: _World) -> None:
    """Who missed it is not known, so everybody is told."""
    world.redis.add(b"p0  \xff")
    world.redis.add(b"p0  a")
    await world.takes("a")
    world.receiver.lost.assert_called_once_with(0, None)


@pytest.mark.parametrize("failure", [ValueError("a bug"), asyncio.CancelledError()])
async def test_a_doubt_is_kept_until_it_is_settled(world: _World, failure: BaseException) -> None:
    """A comparison that fails is made again; a doubt is not forgotten over it."""
    world.repair.run.side_effect = [failure, None, None]
    world.reader.doubt(0)
    await eventually(lambda: world.repair.run.await_count == 2, what="another try")
    await eventually(lambda: world.reader._comparing is None)
    world.reader.doubt(0)
    await eventually(lambda: world.repair.run.await_count == 3, what="the next doubt")
