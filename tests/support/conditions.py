"""Waiting for something that another task or process brings about, without guessing how long."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER_S: Final = 60.0
"""The deadline of whatever a test waits for: long enough that it only means "never".

A test that waits less says something of the machine, and of what runs beside it. How soon something
has to happen is said by a timeout of the product that the test sets.
"""


async def eventually(
    condition: Callable[[], object], *, within_s: float = NEVER_S, what: str = ""
) -> float:
    """Return after how many seconds `condition()` became true.

    `what` says what was waited for; a callable would only show its name.

    Raises:
        AssertionError: it did not within `within_s` seconds.
    """
    started = time.monotonic()
    while not condition():
        waited = time.monotonic() - started
        assert waited < within_s, f"not within {within_s} s: {what or condition}"
        await asyncio.sleep(0.005)
    return time.monotonic() - started
