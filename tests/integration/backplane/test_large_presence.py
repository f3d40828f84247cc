"""Presence of a large channel: read in parts, once for all who ask, and counted unread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from realtime_node.cluster.on_redis import entries, presence_reader
from realtime_node.errors import ReplyError
from realtime_node.protocol.messages import ClientInfo
from tests.integration.backplane.helpers import parts_of

if TYPE_CHECKING:
    from tests.support.backplanes import Node, RedisCluster

_CLIENTS: Final = 3 * presence_reader._PAGE


@pytest.fixture
async def nodes(cluster: RedisCluster) -> tuple[Node, Node]:
    """Two nodes, of which the first has many clients in a channel."""
    a, b = await cluster.node("a"), await cluster.node("b")
    await asyncio.gather(
        *(
            a.presence.add("room", ClientInfo(user=f"u{n // 2}", client=f"c{n}"))
            for n in range(_CLIENTS)
        )
    )
    return a, b


class _Decodings:
    """How many clients were decoded between two turns of the loop."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.total = 0
        self.most = 0
        self._step = 0
        self._original = entries.decode_info
        patch.setattr(presence_reader, "decode_info", self._decode)

    def _decode(self, payload: bytes) -> Any:
        if not self._step:
            asyncio.get_running_loop().call_soon(self._end_step)
        self.total += 1
        self._step += 1
        self.most = max(self.most, self._step)
        return self._original(payload)

    def _end_step(self) -> None:
        self._step = 0


async def test_a_large_channel_is_read_in_parts_and_once(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step decodes more than a part; who asks meanwhile, or soon after, shares the answer."""
    decodings = _Decodings(monkeypatch)
    monkeypatch.setattr(presence_reader, "_KEPT_S", 60.0)
    _, b = nodes
    expected = {f"c{n}" for n in range(_CLIENTS)}
    for present in await asyncio.gather(*(b.presence.get("room") for _ in range(10))):
        assert set(present) == expected
    assert set(await b.presence.get("room")) == expected
    # Each of those who asked in the same moment read the first part, and one of them the rest.
    assert decodings.total <= 2 * _CLIENTS + 10 * presence_reader._PAGE
    assert decodings.most <= 1000
    before = decodings.total
    assert set(await b.presence.get("room")) == expected
    assert decodings.total == before


async def test_what_is_kept_knows_of_the_nodes_own_clients(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that has just come or gone finds itself, or does not, in an answer that is older."""
    monkeypatch.setattr(presence_reader, "_KEPT_S", 60.0)
    a, _ = nodes
    assert "late" not in await a.presence.get("room")
    await a.presence.add("room", ClientInfo(user="u", client="late"))
    await a.presence.remove("room", "c0")
    present = await a.presence.get("room")
    assert "late" in present
    assert "c0" not in present


async def test_a_large_channel_is_counted_without_being_read(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two numbers cost one small answer, whatever the channel's size."""
    decodings = _Decodings(monkeypatch)
    for node in nodes:
        assert await node.presence.stats("room") == (_CLIENTS, _CLIENTS // 2)
    assert decodings.total == 0


async def test_a_list_that_would_be_too_long_is_not_read(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first part tells how many there are."""
    decodings = _Decodings(monkeypatch)
    _, b = nodes
    with pytest.raises(ReplyError, match="limit exceeded"):
        await b.presence.get("room", limit=_CLIENTS - 1)
    assert decodings.total == 0
    assert len(await b.presence.get("room", limit=_CLIENTS)) == _CLIENTS


async def test_answers_that_are_kept_are_bounded(
    cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest goes when there is one more than may be kept, and when its time is over."""
    monkeypatch.setattr(presence_reader, "_MAX_KEPT", 2)
    reader = parts_of(await cluster.node("a")).presence._reader
    for name in "abc":
        reader._keep(name, {})
    assert list(reader._kept) == ["b", "c"]
