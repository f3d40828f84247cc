"""The reader of a node's inbox: what a bug in its receiver costs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from msgspec import Raw

from realtime_node.cluster.on_redis.entries import encode_publication
from realtime_node.cluster.on_redis.inbox import InboxReader
from realtime_node.protocol.messages import Publication
from tests.support.conditions import NEVER_S

_PAYLOAD = encode_publication(Publication(data=Raw(b"{}")))


async def test_a_receiver_that_fails_once_is_read_for_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The failure is logged, the partition is compared with the store, and reading goes on."""
    count = 0
    taken: list[int] = []
    went_on = asyncio.Event()

    async def read() -> Any:
        nonlocal count
        count += 1
        await asyncio.sleep(0)
        return [[b"inbox", await newest()]]

    async def newest(*_command: Any) -> Any:
        return [[b"1-%d" % max(count - 1, 0), [b"p0  a", _PAYLOAD]]]

    async def receive(entries: Any) -> None:
        taken.append(entries[0].sequence)
        if len(taken) == 2:
            raise AssertionError("a bug of ours")
        if len(taken) > 3:
            went_on.set()

    link = MagicMock(call=newest, read=read)
    link.write, link.abort = AsyncMock(), AsyncMock()
    repair = MagicMock(fresh=lambda entries: entries, run=AsyncMock())
    options: Any = SimpleNamespace(
        reconnect_max_delay_s=0.01,
        command_timeout_s=1,
        inbox_block_s=1,
        inbox_read_count=10,
        inbox_trim_entries=1000,
        inbox_trim_interval_s=100,
    )
    reader = InboxReader(
        options,
        AsyncMock(return_value=link),
        MagicMock(receive=receive),
        MagicMock(),
        continuity=MagicMock(check=AsyncMock()),
        repair=repair,
        traces=MagicMock(node="n"),
        name="inbox",
        on_vanished=MagicMock(),
    )
    await reader.switch({0: b"inbox"}, lost=False)
    await asyncio.wait_for(went_on.wait(), NEVER_S)
    await reader.close()
    assert taken == sorted(set(taken)), "nothing is handed over twice"
    assert (0, taken[1], None) in [call.args for call in repair.run.await_args_list]
    assert "begins again" in caplog.text
