"""The commands that wait for one connection: their order, their bound, and their deadlines.

Ordinary commands wait in the order in which they were asked for. What is *urgent* goes before them,
the most urgent first, and alone: what goes out behind what is asked after would write over it.

Bounds: `limit` commands of `limit_bytes` together, the next is refused at once; urgent ones are no
more than were out when a connection broke. Each leaves at its deadline at the latest.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from realtime_node.supervision import guarded

from .instruments import Instruments
from .refusals import never_sent, not_sent, queue_full
from .replies import Reply

_LOOK_EVERY_S: Final = 0.05
_HURRY_S: Final = 0.05


class Command:
    """One command, packed, and who waits for its answer."""

    __slots__ = ("deadline", "future", "in_order", "packed", "read", "sent", "urgency")

    def __init__(  # noqa: PLR0913 - all that is known of it
        self,
        packed: bytes,
        future: asyncio.Future[Any],
        deadline: float,
        read: Callable[[Reply], object],
        *,
        in_order: bool,
        urgency: int,
    ) -> None:
        self.packed = packed
        self.future = future
        self.deadline = deadline
        self.read = read
        self.in_order = in_order
        self.urgency = urgency
        self.sent = 0
        """How often it was sent."""

    def fail(self, error: Exception) -> None:
        """Answer with an error, unless its caller is gone."""
        if not self.future.done():
            self.future.set_exception(error)


class PipelineQueue:
    """What waits behind the pipeline that is out."""

    def __init__(
        self, kind: str, instruments: Instruments, *, limit: int, limit_bytes: int
    ) -> None:
        """`kind` is the connection's, as `Instruments` know it."""
        self._kind = kind
        self._instruments = instruments
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._waiting: deque[Command] = deque()
        self._urgent: list[Command] = []
        """The most urgent one last."""
        self._bytes = 0
        self._shown_length = 0
        self._timer: asyncio.TimerHandle | None = None
        self._on_timer = guarded(self._look, where="redis-deadlines")
        self.gathered = asyncio.Event()
        """Set while something waits."""

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._urgent) + len(self._waiting)

    def put(self, command: Command, *, was_admitted: bool) -> None:
        """Let a command wait, or refuse it; `was_admitted`: the bound let it in before."""
        if not (command.urgency or was_admitted) and (
            len(self._waiting) >= self._limit or self._bytes >= self._limit_bytes
        ):
            self._instruments.refused(self._kind)
            command.fail(queue_full(len(self._waiting), self._bytes))
            return
        if command.urgency:
            insort(self._urgent, command, key=lambda each: each.urgency)
        else:
            self._waiting.append(command)
        self._bytes += len(command.packed)
        self._has_more()

    def put_back(self, commands: list[Command]) -> None:
        """Let commands that were sent wait again, before all others."""
        self._waiting.extendleft(reversed(commands))
        self._bytes += sum(len(command.packed) for command in commands)
        self._has_more()

    def take(self, batch: list[Command], *, most: int, most_bytes: int, now: float) -> None:
        """Move the next commands into a batch: at most `most`, or one more than fit into bytes."""
        size = 0
        queue: deque[Command] | list[Command] = self._urgent or self._waiting
        take = self._urgent.pop if self._urgent else self._waiting.popleft
        while queue and len(batch) < most and size < most_bytes:
            command = take()
            self._bytes -= len(command.packed)
            # A caller that gave up is not served: what it asked for was never sent.
            if command.future.done():
                continue
            # Nor one whose answer could hardly come in time: a pipeline waits as long as its most
            # hurried command, and gives the connection up then.
            if command.deadline <= now + _HURRY_S:
                command.fail(never_sent())
                continue
            size += len(command.packed)
            batch.append(command)
        length = len(self)
        if not length:
            self.gathered.clear()
        self._instruments.queue_changed(self._kind, length - self._shown_length)
        self._shown_length = length

    def hand_back(self) -> None:
        """Let what waits in order come back: it must not overtake what was lost."""
        kept: deque[Command] = deque()
        for command in self._waiting:
            if command.in_order:
                self._bytes -= len(command.packed)
                command.fail(not_sent())
            else:
                kept.append(command)
        self._waiting = kept

    def close(self, why: Callable[[], Exception]) -> None:
        """Fail all that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for command in (*self._urgent, *self._waiting):
            command.fail(why())
        self._urgent.clear()
        self._waiting.clear()
        self._bytes = 0

    def _has_more(self) -> None:
        self.gathered.set()
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_LOOK_EVERY_S, self._on_timer)

    def _look(self) -> None:
        """Fail what was not sent in time."""
        self._timer = None
        if not len(self):
            return
        loop = asyncio.get_running_loop()
        try:
            now = loop.time()
            if any(command.deadline <= now for command in self._waiting):
                self._waiting = deque(self._unexpired(self._waiting, now))
            if self._urgent:
                self._urgent = list(self._unexpired(self._urgent, now))
        finally:
            self._timer = loop.call_later(_LOOK_EVERY_S, self._on_timer)

    def _unexpired(self, commands: Iterable[Command], now: float) -> Iterator[Command]:
        for command in commands:
            if command.deadline <= now:
                self._bytes -= len(command.packed)
                command.fail(never_sent())
            else:
                yield command
