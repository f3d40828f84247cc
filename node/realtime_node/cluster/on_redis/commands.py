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

An answer that cannot be read shows that the connection cannot be trusted: it is given up like one
that was lost, with all that is out on it.

Bounds: those of `pipeline_queue`; `PIPELINE_LIMIT` commands are out together, or one more than fit
into `_PIPELINE_BYTES`; every command has a deadline.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    ResponseError,
)

from realtime_node.backoff import Backoff
from realtime_node.errors import BackplaneError, GarbledReplyError, RealtimeError
from realtime_node.supervision import supervise

from .deadline import until
from .instruments import Instruments
from .link import CONNECTION_FAILURES, Link, OpenLink, describe_failure
from .options import RedisOptions
from .outage import Outage
from .pipeline_queue import Command, PipelineQueue
from .refusals import barred, never_sent, not_joined, translated, unanswered
from .replies import MISREAD, Reply, garbled

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

# Not more than a mark has slots: so every publish that was out when a connection broke can be
# looked up there.
PIPELINE_LIMIT: Final = 256

_PIPELINE_BYTES: Final = 1024 * 1024

OnConnected = Callable[[Link], Awaitable[None]]


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
        self._queue = PipelineQueue(
            name,
            instruments,
            limit=options.command_queue_limit,
            limit_bytes=options.command_queue_bytes,
        )
        self._outage = Outage(_log, f"connection {self._name} to Redis cannot be made")
        self._link: Link | None = None
        self._answered_at = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._is_serving = False
        self._barred = ""

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._link is not None

    @property
    def answered_at(self) -> float:
        """The loop's time at which the server answered last."""
        return self._answered_at

    @property
    def outage(self) -> str:
        """Why there is no connection, as far as it is known; empty while there is one."""
        return "" if self.is_connected else self._outage.cause or "it is being connected"

    async def start(self) -> None:
        """Connect for the first time, and serve; raises as `connect`."""
        await self.connect()
        self.serve()

    async def connect(self) -> None:
        """Connect, unless that was done; raises what hinders it, one of ours or of redis-py."""
        if self._link is not None or self._is_serving:
            return
        try:
            self._link = await self._open()
        except CONNECTION_FAILURES as error:
            self._outage.note(error)
            raise

    def serve(self) -> None:
        """Execute commands, from now on; what is not connected is connected as soon as possible."""
        self._is_serving = True
        if self._task is None:
            self._task = supervise(self._serve, name=f"redis-{self._kind}")

    def bar(self, why: str) -> None:
        """Refuse commands at once from now on: this node is not registered where they go."""
        self._barred = why

    def admit(self) -> None:
        """Execute commands again."""
        self._barred = ""

    async def close(self) -> None:
        """Fail what waits and close the connection."""
        self._is_serving = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._link is not None:
            await self._give_up(self._link)
        self._queue.close(not_joined)

    def execute(  # noqa: PLR0913 - how it waits is the caller's to say
        self,
        packed: bytes,
        deadline: float | None = None,
        *,
        read: Callable[[Reply], _T],
        urgency: int = 0,
        in_order: bool = False,
        was_admitted: bool = False,
        even_if_barred: bool = False,
    ) -> asyncio.Future[_T]:
        """Queue a packed command; `deadline` in the loop's time, None: a full timeout from now.

        The answer is what `read` makes of the reply; see `replies` for what it may raise.

        Any `urgency` but 0 puts it before all that waits, the highest first, whatever the bound:
        for what asks after commands that were out when a connection broke, and so for no more than
        were. `was_admitted`: the bound let it in before, and it came back.

        The future raises `BackplaneUnavailableError`, `ScriptMissingError` or `BackplaneError`; if
        it is `in_order` also `NotSentError`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        if not self._is_serving:
            future.set_exception(not_joined())
            return future
        if self._barred and not even_if_barred:
            future.set_exception(barred(self._barred))
            return future
        if deadline is None:
            deadline = loop.time() + self._options.command_timeout_s
        self._queue.put(
            Command(packed, future, deadline, read, in_order=in_order, urgency=urgency),
            was_admitted=was_admitted,
        )
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
        self._answered_at = asyncio.get_running_loop().time()
        return link

    async def _serve(self) -> None:
        while True:
            if self._link is None:
                self._link = await self._reopen()
            link = self._link
            try:
                await self._exchange(link)
            except CONNECTION_FAILURES as error:
                if isinstance(error, GarbledReplyError):
                    self._instruments.garbled(self._kind)
                _log.warning(
                    "connection %s to Redis was lost: %s", self._name, describe_failure(error)
                )
            finally:
                await self._give_up(link)

    async def _give_up(self, link: Link) -> None:
        self._link = None
        await link.abort()

    async def _reopen(self) -> Link:
        backoff = Backoff(self._options.reconnect_max_delay_s)
        while True:
            await asyncio.sleep(backoff.next())
            try:
                link = await self._open()
            except (*CONNECTION_FAILURES, RealtimeError) as error:
                self._outage.note(error)
                continue
            self._outage.end()
            _log.info("connection %s to Redis is back", self._name)
            self._instruments.reconnected(self._kind)
            return link

    # --- pipelines ------------------------------------------------------------------------------

    async def _exchange(self, link: Link) -> None:
        while True:
            await self._queue.gathered.wait()
            # A connection that broke while it was idle must not make a command's end unknown.
            await link.check()
            batch: list[Command] = []
            try:
                await self._send_next(link, batch)
            except BaseException as error:
                self._abandon([command for command in batch if not command.future.done()], error)
                raise

    async def _send_next(self, link: Link, batch: list[Command]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._queue.take(batch, most=PIPELINE_LIMIT, most_bytes=_PIPELINE_BYTES, now=began)
        if not batch:
            return
        for command in batch:
            command.sent += 1
        async with until(min(command.deadline for command in batch)):
            await self._round_trip(link, batch)
        self._answered_at = loop.time()
        self._instruments.pipeline(self._kind, len(batch), self._answered_at - began)

    async def _round_trip(self, link: Link, batch: list[Command]) -> None:
        await link.write([command.packed for command in batch])
        drop: ResponseError | None = None
        for command in batch:
            try:
                reply = await link.read()
            except BusyLoadingError as error:
                # redis-py has closed the connection over it.
                command.fail(translated(error))
                raise
            except (ReadOnlyError, MovedError, ClusterDownError) as error:
                # A primary that is none any more: the next connection finds its successor.
                drop = error
                command.fail(translated(error))
            except ResponseError as error:
                command.fail(translated(error))
            else:
                self._answer(command, reply)
        if drop is not None:
            raise drop

    def _answer(self, command: Command, reply: Reply) -> None:
        if command.future.done():
            return
        try:
            answer = command.read(reply)
        except BackplaneError as error:
            command.fail(error)
        except MISREAD as error:
            raise garbled("a command", error) from error
        else:
            command.future.set_result(answer)

    def _abandon(self, pending: list[Command], error: BaseException) -> None:
        again: list[Command] = []
        if any(command.in_order for command in pending):
            self._queue.hand_back()
        for command in pending:
            if 0 < command.sent <= self._repeats and self._is_serving:
                again.append(command)
            elif command.sent:
                command.fail(unanswered(error))
            else:
                command.fail(never_sent())
        if again:
            self._queue.put_back(again)
