"""The pipelined connection: what is asked for while a pipeline is out goes out as the next one.

Callers hand in packed commands and await their replies. A single task takes what has gathered,
sends it in one write and reads as many replies, so throughput follows load without a setting, and
commands are executed in the order in which they were handed in: a node's marks depend on that.

Nothing is sent twice on the connection for writes. A command that was never sent fails as surely
not done; one that was sent and not answered fails as unknown. The connection for reads sends once
again what a lost connection left unanswered.

What has to keep its order although some of it may be sent again is queued `in_order`: when one such
command is lost with its connection, those that wait behind it come back as `NotSentError`, and who
asked for them (`lines`) sends all of them once more. Between the two, what is *urgent* asks the new
connection what became of the lost ones; a pipeline holds nothing else as long as there is such.

Bounds: `command_queue_limit` commands of `command_queue_bytes` together wait, the next is refused
at once; `PIPELINE_LIMIT` commands are out together, or one more than fit into `_PIPELINE_BYTES`;
every command has a deadline.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import insort
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from typing import Final

from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    ResponseError,
)

from realtime_node.backoff import Backoff
from realtime_node.errors import RealtimeError

from .instruments import Instruments
from .link import CONNECTION_FAILURES, Link, OpenLink, Reply, describe_failure
from .options import RedisOptions
from .refusals import never_sent, not_joined, not_sent, queue_full, translated, unanswered

_log = logging.getLogger(__name__)

# Not more than a mark has slots: so every publish that was out when a connection broke can be
# looked up there.
PIPELINE_LIMIT: Final = 256

_PIPELINE_BYTES: Final = 1024 * 1024
_SWEEP_INTERVAL_S: Final = 0.05
_HURRY_S: Final = 0.05

OnConnected = Callable[[Link], Awaitable[None]]


class _Command:
    __slots__ = ("deadline", "future", "in_order", "packed", "sent", "urgency")

    def __init__(
        self,
        packed: bytes,
        future: asyncio.Future[Reply],
        deadline: float,
        *,
        in_order: bool,
        urgency: int,
    ) -> None:
        self.packed = packed
        self.future = future
        self.deadline = deadline
        self.in_order = in_order
        self.urgency = urgency
        self.sent = 0

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Commands:
    """A connection that is kept, and the queue in front of it."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        name: str,
        options: RedisOptions,
        open_link: OpenLink,
        instruments: Instruments,
        *,
        on_connected: OnConnected,
        repeats: int,
        suffix: str = "",
    ) -> None:
        """`repeats`: how often a command is sent again after a lost connection; 0 for writes.

        `suffix` tells the connection from others of its name; `Instruments` take them together.

        `on_connected` is given every new connection before any command is.
        """
        self._kind = name
        self._name = name + suffix
        self._options = options
        self._open_link = open_link
        self._instruments = instruments
        self._on_connected = on_connected
        self._repeats = repeats
        self._queue: deque[_Command] = deque()
        self._urgent: list[_Command] = []
        """The most urgent one last."""
        self._queued_bytes = 0
        self._shown_length = 0
        self._gathered = asyncio.Event()
        self._link: Link | None = None
        self._answered_at = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._is_serving = False

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._link is not None

    @property
    def answered_at(self) -> float:
        """The loop's time at which the server answered last."""
        return self._answered_at

    async def start(self) -> None:
        """Connect for the first time; raises what hinders it, one of ours or of redis-py."""
        link = await self._open()
        self._is_serving = True
        self._task = asyncio.get_running_loop().create_task(
            self._serve(link), name=f"redis-{self._name}"
        )

    async def close(self) -> None:
        """Fail what waits and close the connection."""
        self._is_serving = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._sweep is not None:
            self._sweep.cancel()
        for command in (*self._urgent, *self._queue):
            command.fail(not_joined())
        self._urgent.clear()
        self._queue.clear()
        self._queued_bytes = 0

    def execute(
        self,
        packed: bytes,
        deadline: float | None = None,
        *,
        urgency: int = 0,
        in_order: bool = False,
        was_admitted: bool = False,
    ) -> asyncio.Future[Reply]:
        """Queue a packed command; `deadline` in the loop's time, None: a full timeout from now.

        Any `urgency` but 0 puts it before all that waits, the highest first, whatever the bound:
        for what asks after commands that were out when a connection broke, and so for no more than
        were. `was_admitted`: the bound let it in before, and it came back.

        The future raises `BackplaneUnavailableError`, `ScriptMissingError` or `BackplaneError`; if
        it is `in_order` also `NotSentError`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()
        if not self._is_serving:
            future.set_exception(not_joined())
            return future
        if not (urgency or was_admitted) and (
            len(self._queue) >= self._options.command_queue_limit
            or self._queued_bytes >= self._options.command_queue_bytes
        ):
            self._instruments.refused(self._kind)
            future.set_exception(queue_full(len(self._queue), self._queued_bytes))
            return future
        if deadline is None:
            deadline = loop.time() + self._options.command_timeout_s
        command = _Command(packed, future, deadline, in_order=in_order, urgency=urgency)
        if urgency:
            insort(self._urgent, command, key=lambda each: each.urgency)
        else:
            self._queue.append(command)
        self._queued_bytes += len(packed)
        self._gathered.set()
        if self._sweep is None:
            self._sweep = loop.call_later(_SWEEP_INTERVAL_S, self._sweep_expired)
        return future

    # --- the connection's life ------------------------------------------------------------------

    async def _open(self) -> Link:
        link = await self._open_link(self._name)
        try:
            async with asyncio.timeout(self._options.command_timeout_s):
                await self._on_connected(link)
        except BaseException:
            await link.abort()
            raise
        self._link = link
        self._answered_at = asyncio.get_running_loop().time()
        return link

    async def _serve(self, link: Link) -> None:
        while True:
            try:
                await self._exchange(link)
            except CONNECTION_FAILURES as error:
                _log.warning(
                    "connection %s to Redis was lost: %s", self._name, describe_failure(error)
                )
            finally:
                self._link = None
                await link.abort()
            link = await self._reopen()

    async def _reopen(self) -> Link:
        backoff = Backoff(self._options.reconnect_max_delay_s)
        known = ""
        while True:
            await asyncio.sleep(backoff.next())
            try:
                link = await self._open()
            except (*CONNECTION_FAILURES, RealtimeError) as error:
                failure = describe_failure(error)
                # Once per outage and cause: it is tried every few moments.
                level = logging.DEBUG if failure == known else logging.WARNING
                _log.log(level, "connection %s to Redis cannot be made: %s", self._name, failure)
                known = failure
                continue
            _log.info("connection %s to Redis is back", self._name)
            self._instruments.reconnected(self._kind)
            return link

    # --- pipelines ------------------------------------------------------------------------------

    async def _exchange(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._gathered.wait()
            # A connection that broke while it was idle must not make a command's end unknown.
            await link.check()
            batch = self._take()
            if not batch:
                continue
            began = loop.time()
            pending = deque(batch)
            try:
                async with asyncio.timeout_at(min(command.deadline for command in batch)):
                    await self._round_trip(link, pending)
            except BaseException as error:
                self._abandon(pending, error)
                raise
            self._answered_at = loop.time()
            self._instruments.pipeline(self._kind, len(batch), self._answered_at - began)

    def _take(self) -> list[_Command]:
        batch: list[_Command] = []
        size = 0
        # Alone: what goes out behind what is asked after would write over it, if this breaks too.
        queue: deque[_Command] | list[_Command] = self._urgent or self._queue
        take = self._urgent.pop if self._urgent else self._queue.popleft
        now = asyncio.get_running_loop().time()
        while queue and len(batch) < PIPELINE_LIMIT and size < _PIPELINE_BYTES:
            command = take()
            self._queued_bytes -= len(command.packed)
            # A caller that gave up is not served: what it asked for was never sent.
            if command.future.done():
                continue
            # Nor one whose answer could hardly come in time: a pipeline waits as long as its most
            # hurried command, and gives the connection up then.
            if command.deadline <= now + _HURRY_S:
                command.fail(never_sent())
                continue
            command.sent += 1
            size += len(command.packed)
            batch.append(command)
        length = len(self._urgent) + len(self._queue)
        if not length:
            self._gathered.clear()
        self._instruments.queue_changed(self._kind, length - self._shown_length)
        self._shown_length = length
        return batch

    async def _round_trip(self, link: Link, pending: deque[_Command]) -> None:
        await link.write([command.packed for command in pending])
        drop: ResponseError | None = None
        while pending:
            try:
                reply = await link.read()
            except BusyLoadingError as error:
                # redis-py has closed the connection over it.
                pending.popleft().fail(translated(error))
                raise
            except (ReadOnlyError, MovedError, ClusterDownError) as error:
                # A primary that is none any more: the next connection finds its successor.
                drop = error
                pending.popleft().fail(translated(error))
            except ResponseError as error:
                pending.popleft().fail(translated(error))
            else:
                future = pending.popleft().future
                if not future.done():
                    future.set_result(reply)
        if drop is not None:
            raise drop

    def _abandon(self, pending: Collection[_Command], error: BaseException) -> None:
        again: list[_Command] = []
        if any(command.in_order for command in pending):
            self._hand_back()
        for command in pending:
            if command.sent <= self._repeats and self._is_serving:
                again.append(command)
            else:
                command.fail(unanswered(error))
        if again:
            self._queue.extendleft(reversed(again))
            self._queued_bytes += sum(len(command.packed) for command in again)
            self._gathered.set()

    def _hand_back(self) -> None:
        """Let what waits in order come back: it must not overtake what was lost."""
        kept: deque[_Command] = deque()
        for command in self._queue:
            if command.in_order:
                self._queued_bytes -= len(command.packed)
                command.fail(not_sent())
            else:
                kept.append(command)
        self._queue = kept

    # --- deadlines of what was not sent ---------------------------------------------------------

    def _sweep_expired(self) -> None:
        self._sweep = None
        if not self._queue and not self._urgent:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if any(command.deadline <= now for command in self._queue):
            self._queue = deque(self._unexpired(self._queue, now))
        if self._urgent:
            self._urgent = list(self._unexpired(self._urgent, now))
        self._sweep = loop.call_later(_SWEEP_INTERVAL_S, self._sweep_expired)

    def _unexpired(self, commands: Iterable[_Command], now: float) -> Iterator[_Command]:
        for command in commands:
            if command.deadline <= now:
                self._queued_bytes -= len(command.packed)
                command.fail(never_sent())
            else:
                yield command
