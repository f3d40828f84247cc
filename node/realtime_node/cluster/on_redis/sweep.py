"""The sweep: a few channels a second are compared with Redis, all the time.

It is the safety net below everything else. What no script, mark or sequence shows (an interest that
was evicted or deleted by hand, a stream that was reset) is found here, mended, and what it may have
cost is filled from history or told. An inbox may lag behind its channel's stream for good reasons:
a channel that stands elsewhere is suspected, and compared for good once the inbox was read past
what it held at that moment.

Bounds: `sweep_channels` per `sweep_interval_s`, or as many more as a round of `_ROUND_S` needs;
`_MAX_SUSPECTS` are remembered, further ones are seen again in the next round.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from math import ceil
from typing import Final, NamedTuple

from realtime_node.cluster.backplane import Receiver
from realtime_node.errors import BackplaneError
from realtime_node.protocol.messages import StreamPosition
from realtime_node.supervision import guard, supervise

from .entries import UnreadableEntryError
from .inbox import InboxReader
from .inspection import Inspector
from .instruments import Instruments
from .interest import Interest
from .keys import Keys
from .options import RedisOptions

_log = logging.getLogger(__name__)

_ROUND_S: Final = 600.0
_MAX_SUSPECTS: Final = 1000


class _Suspicion(NamedTuple):
    """Reading the inbox of `node` up to `newest` should bring a channel to `top`."""

    node: str
    newest: int
    top: StreamPosition


class Sweep:
    """Looks after channels that nobody has a reason to doubt."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        options: RedisOptions,
        keys: Keys,
        interest: Interest,
        inspector: Inspector,
        instruments: Instruments,
        *,
        node_id: Callable[[], str],
    ) -> None:
        self._options = options
        self._keys = keys
        self._interest = interest
        self._inspector = inspector
        self._instruments = instruments
        self._node_id = node_id
        self._round: deque[str] = deque()
        self._suspects: dict[str, _Suspicion] = {}
        self._receiver: Receiver
        self._inboxes: Sequence[InboxReader]
        self._task: asyncio.Task[None] | None = None

    def start(self, receiver: Receiver, inboxes: Sequence[InboxReader]) -> None:
        """Begin to compare what `receiver` was given through the inboxes, by partition."""
        self._receiver = receiver
        self._inboxes = inboxes
        self._task = supervise(
            self._sweep, name="redis-sweep", period_s=self._options.sweep_interval_s
        )

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._options.sweep_interval_s)
            try:
                for channel, suspicion in list(self._suspects.items()):
                    await _contained(self._judge(channel, suspicion))
                for channel in self._next():
                    await _contained(self._look_at(channel))
            except BackplaneError as error:
                _log.info("the sweep goes on in a moment: %s", error)

    def _next(self) -> list[str]:
        """The channels whose turn it is."""
        if not self._round:
            self._round.extend(self._interest.held())
        needed = ceil(len(self._round) * self._options.sweep_interval_s / _ROUND_S)
        count = min(len(self._round), max(needed, self._options.sweep_channels))
        return [self._round.popleft() for _ in range(count)]

    async def _look_at(self, channel: str) -> None:
        node = self._node_id()
        try:
            found = await self._inspector.inspect(channel)
        except UnreadableEntryError:
            return  # of another release, whose nodes look after it
        self._instruments.swept(1)
        if not self._interest.is_held(channel) or node != self._node_id():
            return
        if not found.interested:
            _log.error("Redis lost this node's interest in %s: registered again", channel)
            self._instruments.mended("interest")
            await self._interest.confirm(channel)
            await self._compare(channel)
            return
        position = self._receiver.positions((channel,)).get(channel)
        if position is not None and position != found.top and len(self._suspects) < _MAX_SUSPECTS:
            self._suspects[channel] = _Suspicion(node, found.newest, found.top)

    async def _judge(self, channel: str, suspicion: _Suspicion) -> None:
        if suspicion.node != self._node_id() or not self._interest.is_held(channel):
            del self._suspects[channel]
            return
        partition = self._keys.partition_of(channel)
        if self._inboxes[partition].sequence(partition) < suspicion.newest:
            return
        position = self._receiver.positions((channel,)).get(channel)
        if position is None or (
            position.epoch == suspicion.top.epoch and position.offset >= suspicion.top.offset
        ):
            del self._suspects[channel]
            return
        _log.error("%s stands at %s, its stream at %s", channel, position, suspicion.top)
        await self._compare(channel)
        self._instruments.mended("position")
        self._suspects.pop(channel, None)

    async def _compare(self, channel: str) -> None:
        partition = self._keys.partition_of(channel)
        await self._inboxes[partition].compare(partition, [channel])


async def _contained(step: Coroutine[None, None, None]) -> None:
    """Let a bug cost one channel's turn; raise `BackplaneError` only, which ends the pass."""
    refusal: BackplaneError | None = None
    with guard("redis-sweep-step"):
        try:
            await step
        except BackplaneError as error:
            refusal = error
    if refusal is not None:
        raise refusal
