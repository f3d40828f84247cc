"""Work of one client that is done together: many questions to the store cost one wait."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def finish_all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines together and return their results, in order, when all have ended.

    Raises the first failure, when all have ended: nothing of the others goes on behind it.
    """
    coroutines = list(work)
    if len(coroutines) < 2:  # noqa: PLR2004 - one needs no task
        return [await each for each in coroutines]
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    failure = next((each for each in results if isinstance(each, BaseException)), None)
    try:
        if failure is not None:
            raise failure
        return [each for each in results if not isinstance(each, BaseException)]
    finally:
        # A failure leads to this frame: what it leads back to would be freed by a collection only.
        del failure, results
