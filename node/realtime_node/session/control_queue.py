"""Control messages on their way to the sessions they mean, some sessions in each pass of the loop.

One call of the HTTP API may mean every connection of a user with ten thousand of them, and a batch
may hold ten thousand calls. Applied in one step they would keep the node from its sockets for half
a second. So each pass spends a bounded effort, and the rest follows in the next passes, in the
order in which the messages came. A message that means few sessions is applied at once.

Bound: what one read of each inbox brings. The hub does not ask for more before all is applied.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from realtime_node.cluster.backplane import Control
from realtime_node.supervision import guard, guarded

EFFORT_PER_PASS: Final = 400
"""What is spent before the loop goes on; a session or a subscription that ends counts as one, which
takes about 25 µs."""


class ControlQueue:
    """Applies control messages in order."""

    def __init__(self, steps_of: Callable[[Control], Iterator[int]]) -> None:
        """Apply a message by running through `steps_of` it: a session each, the effort it took."""
        self._steps_of = steps_of
        self._waiting: deque[Iterator[int]] = deque()
        self._left = EFFORT_PER_PASS
        self._is_scheduled = False
        self._applied: asyncio.Future[None] | None = None

    def add(self, control: Control) -> asyncio.Future[None] | None:
        """Apply a message behind those before it; return what completes when it is, None if it is.

        The future is the caller's own: one that gives up takes nothing from others that wait.
        """
        self._waiting.append(self._steps_of(control))
        self._work()
        if not self._waiting:
            return None
        if self._applied is None or self._applied.done():
            self._applied = asyncio.get_running_loop().create_future()
        return asyncio.shield(self._applied)

    def _work(self) -> None:
        while self._waiting and self._left > 0:
            effort = None
            with guard("control"):
                effort = next(self._waiting[0], None)
            if effort is None:
                self._waiting.popleft()
            else:
                self._left -= effort
        if not self._waiting and self._applied is not None and not self._applied.done():
            self._applied.set_result(None)
        if self._left < EFFORT_PER_PASS and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(guarded(self._next_pass, where="control"))

    def _next_pass(self) -> None:
        self._is_scheduled = False
        self._left = EFFORT_PER_PASS
        self._work()
