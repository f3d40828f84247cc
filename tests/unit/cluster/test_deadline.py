"""A deadline does not punish a process for having been paused."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest
import uvloop

from realtime_node.cluster.on_redis.deadline import LATE_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_DEADLINE_S = 0.02
_PAUSE_S = _DEADLINE_S + 2 * LATE_S


async def _read_after_a_pause(*, is_answered: bool) -> bytes:
    """Wait for one byte; the process stands still meanwhile, beyond the deadline."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    with ours, theirs:
        ours.setblocking(False)

        def pause() -> None:
            time.sleep(_PAUSE_S)
            if is_answered:
                theirs.send(b"x")

        async with until(loop.time() + _DEADLINE_S):
            loop.call_soon(pause)
            return await loop.sock_recv(ours, 1)


@pytest.mark.parametrize("runs", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_what_waits_in_the_socket_is_read_before_a_late_deadline_is_judged(
    runs: Callable[[Coroutine[None, None, bytes]], bytes],
) -> None:
    """The answer came in time, only nobody ran to take it."""
    assert runs(_read_after_a_pause(is_answered=True)) == b"x"


@pytest.mark.parametrize("runs", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_late_deadline_without_an_answer_is_one(
    runs: Callable[[Coroutine[None, None, bytes]], bytes],
) -> None:
    """A pause is no excuse for waiting on."""
    with pytest.raises(TimeoutError):
        runs(_read_after_a_pause(is_answered=False))


async def test_a_deadline_in_time_ends_the_block() -> None:
    """As `asyncio.timeout` does; what ends before is not disturbed."""
    loop = asyncio.get_running_loop()
    async with until(loop.time() + 60):
        pass
    with pytest.raises(TimeoutError):
        async with until(loop.time() + 0.01):
            await loop.create_future()
    with pytest.raises(KeyError):
        async with until(loop.time() + 60):
            raise KeyError
