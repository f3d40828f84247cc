"""Which channels this node is to receive: what is wanted here, made true in Redis.

`subscribe`, which `joining` calls for many at once, makes a channel wanted and real together: its
callers need the position of that instant. `release` only notes that nobody wants it any more; the
reconciler ends it in Redis after a linger, unless somebody came back. Every change carries a
sequence that grows by one; Redis keeps the highest it saw per channel and node, so a removal that
was delayed on a connection that broke cannot undo a later subscribe.

Bounds: `_REMOVALS_AT_ONCE` removals are out together; what fails is tried again after another
linger. The lingering channels are at most those that were subscribed.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Final

from realtime_node.cluster.backplane import WITHOUT_HISTORY, StreamOptions, Subscribed
from realtime_node.errors import BackplaneError
from realtime_node.protocol.messages import StreamPosition
from realtime_node.supervision import supervise

from .all_of import all_of
from .commands import Commands
from .history import meta_ttl_ms, parse_publications
from .keys import Keys
from .options import RedisOptions
from .replies import Reply, number, ok_and_flag, text
from .runner import Call, Runner
from .script import SUBSCRIBE, UNSUBSCRIBE

_log = logging.getLogger(__name__)

_REMOVALS_AT_ONCE: Final = 128
_ADDITIONS_AT_ONCE: Final = 128


class Interest:
    """Keeps Redis' view of this node's interest equal to what is wanted here."""

    def __init__(
        self,
        options: RedisOptions,
        keys: Keys,
        runner: Runner,
        writes: Sequence[Commands],
        *,
        node_id: Callable[[], str],
    ) -> None:
        """`writes` are the connections by partition."""
        self._options = options
        self._keys = keys
        self._runner = runner
        self._writes = writes
        self._node_id = node_id
        self._sequences = itertools.count(1)
        self._held: set[str] = set()
        self._subscribing: Counter[str] = Counter()
        # Channel → when its interest may end, in the order of that time.
        self._lingering: dict[str, float] = {}
        self._released = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to end what was released."""
        self._task = supervise(self._end_released, name="redis-interest")

    async def close(self) -> None:
        """Stop; what is still registered goes with the node."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def subscribe(
        self,
        channel: str,
        options: StreamOptions,
        *,
        since: StreamPosition | None,
        limit: int,
        is_wanted: Callable[[], bool],
    ) -> Subscribed:
        """See `Backplane.subscribe`; whoever asked may be gone by then, which `is_wanted` tells."""
        self._subscribing[channel] += 1
        done = False
        try:
            subscribed = await self._add(channel, options, since, limit)
            done = is_wanted()
        finally:
            self._subscribing[channel] -= 1
            if not self._subscribing[channel]:
                del self._subscribing[channel]
            if done:
                self._held.add(channel)
                self._lingering.pop(channel, None)
            elif channel not in self._held:
                # It may have been done all the same.
                self._linger(channel)
        return subscribed

    def release(self, channel: str) -> None:
        """See `Backplane.release`."""
        if channel in self._held:
            self._held.discard(channel)
            self._linger(channel)

    def wanted(self, partition: int) -> list[str]:
        """The channels of a partition that somebody here is subscribed or subscribing to."""
        return [
            channel
            for channel in {**dict.fromkeys(self._held), **self._subscribing}
            if self._keys.partition_of(channel) == partition
        ]

    def held(self) -> list[str]:
        """The channels that somebody here is subscribed to."""
        return list(self._held)

    def is_held(self, channel: str) -> bool:
        """Whether somebody here is subscribed to a channel."""
        return channel in self._held

    async def confirm(self, channel: str) -> None:
        """Register a channel again that Redis forgot; raises `BackplaneUnavailableError`."""
        await self._add(channel, WITHOUT_HISTORY, None, 0)

    async def reestablish(self, partitions: Collection[int]) -> None:
        """Register the held channels again, for a new identity or a Redis that forgot.

        Raises `BackplaneUnavailableError` when Redis does not take them all.
        """
        partition_of = self._keys.partition_of
        held = iter([channel for channel in self._held if partition_of(channel) in partitions])
        while chunk := list(itertools.islice(held, _ADDITIONS_AT_ONCE)):
            await all_of(*(self.confirm(channel) for channel in chunk if channel in self._held))

    async def _add(
        self, channel: str, options: StreamOptions, since: StreamPosition | None, limit: int
    ) -> Subscribed:
        keys = self._keys.channel(channel)
        partition = self._keys.partition_of(channel)

        def build() -> Call:
            node = self._node_id()
            own = self._keys.node(partition, node)
            return (
                (keys.generation, own.node, own.channels, keys.interest, keys.meta, keys.history),
                (
                    node,
                    next(self._sequences),
                    channel,
                    meta_ttl_ms(options) if options.has_history else 0,
                    "" if since is None else since.offset,
                    limit,
                ),
            )

        writes = self._writes[partition]
        return await self._runner.run(writes, SUBSCRIBE, build, read=_subscribed, may_repeat=True)

    # --- the reconciler -------------------------------------------------------------------------

    def _linger(self, channel: str) -> None:
        # Taken out first: a dict keeps a key's old place, and the order is the order of time.
        self._lingering.pop(channel, None)
        loop = asyncio.get_running_loop()
        self._lingering[channel] = loop.time() + self._options.release_linger_s
        self._released.set()

    def _is_wanted(self, channel: str) -> bool:
        return channel in self._held or channel in self._subscribing

    async def _end_released(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._lingering:
                self._released.clear()
                await self._released.wait()
            pause = next(iter(self._lingering.values()), 0.0) - loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
            due = self._take_due(loop.time())
            await all_of(*(self._remove(channel) for channel in due))

    def _take_due(self, now: float) -> list[str]:
        due: list[str] = []
        for channel, when in itertools.islice(self._lingering.items(), _REMOVALS_AT_ONCE):
            if when > now:
                break
            due.append(channel)
        for channel in due:
            del self._lingering[channel]
        return [channel for channel in due if not self._is_wanted(channel)]

    async def _remove(self, channel: str) -> None:
        keys = self._keys.channel(channel)
        partition = self._keys.partition_of(channel)
        sequence = next(self._sequences)

        def build() -> Call:
            node = self._node_id()
            own = self._keys.node(partition, node)
            return (own.node, own.channels, keys.interest), (node, sequence, channel)

        try:
            await self._runner.run(self._writes[partition], UNSUBSCRIBE, build, read=ok_and_flag)
        except BackplaneError as error:
            _log.info("interest in a channel could not be ended yet: %s", error)
            self._linger_on(channel)
        except BaseException:
            self._linger_on(channel)
            raise

    def _linger_on(self, channel: str) -> None:
        if not self._is_wanted(channel):
            self._linger(channel)


def _subscribed(reply: Reply) -> Subscribed:
    _, offset, epoch, entries = reply
    return Subscribed(
        top=StreamPosition(offset=number(offset), epoch=text(epoch)),
        publications=parse_publications(entries),
    )
