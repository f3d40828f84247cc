"""The orders of one round: given to many nodes at once, and to one node one after another.

A node that does not answer costs its own timeout and keeps no other waiting; `AT_ONCE` bounds how
many are asked at a time. The executor, which knows what else is done about a Pod, says when to wait
for its orders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from realtime_operator.apply.drain_client import Order

AT_ONCE: Final = 64
"""Nodes that are told something at the same time."""


class Orders:
    """What is under way to nodes."""

    def __init__(self, give: Callable[[Order], Awaitable[None]]) -> None:
        """Give an order by `give`, which has a timeout of its own."""
        self._give = give
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._last: dict[str, asyncio.Task[None]] = {}

    def begin(self, order: Order) -> None:
        """Give an order, after those that its node was given before."""
        before = self._last.get(order.name)
        name = f"order to {order.name}"
        self._last[order.name] = asyncio.create_task(self._after(before, order), name=name)

    async def wait_for(self, pod_name: str) -> None:
        """Wait until a node has had its orders, one way or another."""
        if task := self._last.get(pod_name):
            await task

    async def finish(self) -> None:
        """Wait for all of them. Raises what `give` raised: nothing but what ends the round."""
        await asyncio.gather(*self._last.values())

    async def cancel(self) -> None:
        """Give no more."""
        tasks = list(self._last.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _after(self, before: asyncio.Task[None] | None, order: Order) -> None:
        if before:
            await before
        async with self._gate:
            await self._give(order)
