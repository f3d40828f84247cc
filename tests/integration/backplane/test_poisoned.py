"""An entry that no receiver can take, at three nodes: it is set aside, and all else goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from realtime_node.cluster.backplane import WITHOUT_HISTORY, EntryKind
from realtime_node.cluster.on_redis.entries import VERSION
from realtime_node.cluster.on_redis.replies import as_is
from realtime_node.cluster.on_redis.script import pack
from realtime_node.failures import Failures, recording
from realtime_node.protocol.messages import ClientInfo
from tests.integration.backplane.helpers import Counting, own_keys, parts_of
from tests.support.backplanes import HISTORY, Node, Recorder, RedisCluster, text
from tests.support.conditions import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_node.cluster.backplane import Entry

_POISON: Final = "poison"
_TRIES: Final = 3


class _Allergic(Recorder):
    """Raises when it is handed the poison, at the place in the batch where it is."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.attempts = 0
        self._error = error

    async def receive(self, entries: Sequence[Entry]) -> None:
        """Take what comes before the poison, and raise."""
        for entry in entries:
            if entry.publication is not None and text(entry.publication) == _POISON:
                self.attempts += 1
                raise self._error("it cannot be taken")
            await super().receive([entry])


class _Aside(Counting):
    def __init__(self) -> None:
        super().__init__()
        self.aside = 0
        self.unread = 0

    def set_aside(self, count: int) -> None:
        """Count."""
        self.aside += count

    def unreadable(self, count: int) -> None:
        """Count."""
        self.unread += count

    async def has_unread(self, count: int) -> None:
        """Wait until so many entries could not be read."""
        await eventually(lambda: self.unread == count)


class _Restarts:
    def __init__(self) -> None:
        self.loops: list[str] = []
        self.callbacks: list[str] = []

    def restarted(self, loop: str) -> None:
        self.loops.append(loop)

    def callback_failed(self, where: str) -> None:
        self.callbacks.append(where)


async def _nodes(
    cluster: RedisCluster, restarts: _Restarts, error: type[BaseException] = ValueError
) -> list[tuple[Node, _Aside]]:
    nodes: list[tuple[Node, _Aside]] = []
    for name in "abc":
        counting = _Aside()
        with recording(Failures(restarts)):
            node = await cluster.node(name, instruments=counting, receiver=_Allergic(error))
            for channel in ("poisoned", "other"):
                top = (await node.backplane.subscribe(channel, HISTORY)).top
                node.receiver.told[channel] = top
            await node.backplane.subscribe("talk", WITHOUT_HISTORY)
        nodes.append((node, counting))
    return nodes


async def _is_told(receiver: Recorder, channel: str) -> None:
    await eventually(lambda: receiver.lost_channels == {channel}, what=f"{channel} is told")


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_a_publication_that_always_raises_is_set_aside(
    cluster: RedisCluster, error: type[BaseException]
) -> None:
    """After three tries its channel is told, at each node; nothing is restarted or lost beside."""
    restarts = _Restarts()
    nodes = await _nodes(cluster, restarts, error)
    publisher = nodes[0][0]
    sent = [
        ("other", "1", HISTORY),
        ("poisoned", "before", HISTORY),
        ("poisoned", _POISON, HISTORY),
        ("other", "2", HISTORY),
    ]
    await asyncio.gather(*(publisher.publish(*each) for each in sent))
    for node, counting in nodes:
        receiver = node.receiver
        assert isinstance(receiver, _Allergic)
        assert await receiver.has("other", 2) == ["1", "2"]
        await _is_told(receiver, "poisoned")
        assert receiver.attempts == _TRIES
        assert counting.aside == 1
        assert receiver.texts("poisoned") == ["before"]
    await publisher.publish("other", "3")
    await publisher.publish("talk", "4", WITHOUT_HISTORY)
    for node, _ in nodes:
        assert await node.receiver.has("other", 3) == ["1", "2", "3"]
        assert await node.receiver.has("talk", 1) == ["4"]
    assert restarts.loops == []
    assert len(restarts.callbacks) == _TRIES * len(nodes)


async def test_a_channel_without_history_that_always_raises_is_told(cluster: RedisCluster) -> None:
    """There is nowhere to take it from again: its subscribers learn that something is gone."""
    restarts = _Restarts()
    nodes = await _nodes(cluster, restarts)
    publisher = nodes[0][0]
    await publisher.publish("talk", _POISON, WITHOUT_HISTORY)
    for node, _ in nodes:
        await _is_told(node.receiver, "talk")
    await publisher.publish("talk", "after", WITHOUT_HISTORY)
    for node, _ in nodes:
        assert await node.receiver.has("talk", 1) == ["after"]
    assert restarts.loops == []


async def test_an_entry_that_cannot_be_decoded_is_set_aside(cluster: RedisCluster) -> None:
    """Whoever wrote it: it is counted, its channel told, and what follows arrives."""
    restarts = _Restarts()
    nodes = await _nodes(cluster, restarts)
    for node, counting in nodes:
        inbox = own_keys(cluster, node, "poisoned").inbox
        writes = parts_of(node).writes[0]
        for header in (b"p1 e poisoned", b"j0  poisoned", b"c0  "):
            payload = bytes((VERSION,)) + b"\xc1 never used"
            await writes.execute(pack(b"XADD", inbox, b"1-*", header, payload), read=as_is)
        await counting.has_unread(3)
        assert node.receiver.lost_channels == {"poisoned"}
    await nodes[0][0].publish("other", "after")
    await nodes[0][0].backplane.announce("other", EntryKind.JOIN, ClientInfo(user="u", client="c"))
    for node, _ in nodes:
        assert await node.receiver.has("other", 1) == ["after"]
    assert restarts.loops == []
