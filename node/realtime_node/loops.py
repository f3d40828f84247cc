"""Loops that run as long as the node does: heartbeats, the wheel of deadlines, cleaning up.

A loop handles what it expects by itself: an outage of the store, above all. What it does not expect
is a bug of ours, and may cost a turn of the loop, never the loop: a task that has ended would be
missed by nobody, while the node goes on looking healthy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

_log = logging.getLogger(__name__)

PAUSE_S: Final = 1.0
"""Before a loop begins again, so that one that always fails fills neither the log nor the node."""


def for_good(loop: Callable[[], Awaitable[None]], *, name: str) -> asyncio.Task[None]:
    """Run a loop until its task is cancelled or it returns; begin it again after it raised."""
    return asyncio.get_running_loop().create_task(_again_and_again(loop, name), name=name)


async def _again_and_again(loop: Callable[[], Awaitable[None]], name: str) -> None:
    while True:
        try:
            await loop()
        except Exception:  # noqa: BLE001 - it is logged, with its traceback
            _log.exception("%s failed, and begins again in %g s", name, PAUSE_S)
            await asyncio.sleep(PAUSE_S)
        else:
            return
