"""Several calls at once, of which none is left behind when one of them fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")


async def all_of(*calls: Awaitable[_T]) -> list[_T]:
    """Return what the calls return; raise what the first of them raised, after all have ended."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    found: list[_T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        found.append(result)
    return found
