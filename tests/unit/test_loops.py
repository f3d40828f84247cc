"""A loop that fails goes on."""

from __future__ import annotations

import asyncio
import logging

import pytest

from realtime_node import loops
from realtime_node.loops import for_good


async def test_a_loop_that_fails_begins_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody expected costs a turn, and is in the log with its traceback."""
    monkeypatch.setattr(loops, "PAUSE_S", 0.0)
    turns: list[int] = []
    is_running = asyncio.Event()

    async def run() -> None:
        turns.append(len(turns))
        if len(turns) <= 2:
            raise KeyError("a bug")
        is_running.set()
        await asyncio.Event().wait()

    with caplog.at_level(logging.ERROR):
        task = for_good(run, name="sweep")
        await asyncio.wait_for(is_running.wait(), 5)
    assert turns == [0, 1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "sweep failed, and begins again in 0 s"
    ] * 2
    assert caplog.records[0].exc_info
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_loop_may_end() -> None:
    """One that returns has done what it had to."""

    async def run() -> None:
        await asyncio.sleep(0)

    await asyncio.wait_for(for_good(run, name="once"), 5)
