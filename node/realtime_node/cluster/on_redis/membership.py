"""This node's identity in the cluster: how it joins, and how it joins again.

A node is alive while its hash exists without a tombstone. Scripts check that of their caller before
they write: FENCED means that others have cleaned this node away (it was paused past its lease) or
that Redis was emptied. The identity is then burnt. A new one is registered, all interest and
presence with it, and the receiver learns that positions may not be continued, for what was
published in between went to nobody.

    joined ──FENCED, or the inbox is gone──▶ rejoining ──all registered──▶ joined, other id
    joined ──Redis restarted───────────────▶ all registered again ───────▶ joined, same id
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Final

from realtime_node.backoff import Backoff
from realtime_node.cluster.backplane import NodeInfo
from realtime_node.errors import BackplaneError
from realtime_node.supervision import supervise

from .all_of import all_of
from .commands import Commands
from .continuity import GENERATION_BYTES, Continuity
from .entries import encode_hello, encode_node
from .instruments import Instruments
from .keys import Keys
from .options import RedisOptions
from .replies import Reply, data
from .script import REGISTER
from .traces import Traces

_log = logging.getLogger(__name__)

_ID_BYTES: Final = 8
_USED: Final = b"FENCED"


class Membership:
    """Holds the node's id; every part asks here for it anew with each call."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        options: RedisOptions,
        keys: Keys,
        writes: Sequence[Commands],
        instruments: Instruments,
        *,
        traces: Traces,
        continuity: Continuity,
        reestablish: Callable[[Collection[int]], Awaitable[None]],
        enter: Callable[[bool], Awaitable[None]],
    ) -> None:
        """Take what a new identity needs.

        `writes` are the connections by partition. `reestablish` registers interest and presence of
        partitions again, `enter` turns the inbox reader to this
        identity's inboxes; its argument tells whether entries were lost before.
        """
        self._options = options
        self._keys = keys
        self._writes = writes
        self._instruments = instruments
        self._traces = traces
        self._continuity = continuity
        self._reestablish = reestablish
        self._enter = enter
        self._node_id = secrets.token_hex(_ID_BYTES)
        self._describe: Callable[[], NodeInfo]
        self._joined = False
        self._burnt = ""
        self._changed = asyncio.Event()
        self._rejoining: asyncio.Task[None] | None = None
        # Partitions whose Redis is another process than before.
        self._to_restore: set[int] = set()
        self._restoring: asyncio.Task[None] | None = None

    @property
    def node_id(self) -> str:
        """The present identity."""
        return self._node_id

    @property
    def is_rejoining(self) -> bool:
        """Whether this identity is given up: all positions will be compared when there is a new."""
        return self._rejoining is not None and not self._rejoining.done()

    async def join(self, describe: Callable[[], NodeInfo]) -> None:
        """Join for the first time; raises `BackplaneUnavailableError`."""
        self._describe = describe
        self._traces.begin(self._node_id)
        await self._register(self._node_id)
        await self._enter(False)  # noqa: FBT003 - the callback's only argument
        self._joined = True

    async def close(self) -> None:
        """Keep the identity from now on, whatever happens to it."""
        self._joined = False
        self._changed.set()
        tasks = [task for task in (self._rejoining, self._restoring) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def rejoin(self, fenced: str) -> None:
        """Return once this node has another identity than `fenced`.

        Whoever waits may give up; the work goes on until it is done.
        """
        if self._joined and fenced == self._node_id:
            self._burn(fenced)
            await self._changed.wait()

    def suspect(self) -> None:
        """Begin to join again, without waiting: what belongs to this identity is gone."""
        if self._joined:
            self._burn(self._node_id)

    def restore(self, partitions: Iterable[int]) -> None:
        """Register interest and presence again under the same identity, without waiting."""
        self._to_restore.update(partitions)
        if self._joined and self._restoring is None:
            self._restoring = supervise(self._restore, name="redis-restore")

    # --- the work behind it ---------------------------------------------------------------------

    def _burn(self, fenced: str) -> None:
        if self._burnt == fenced:
            return
        # Until it has another identity a supervised job works on that, so once is enough.
        self._burnt = fenced
        self._changed = asyncio.Event()
        self._instruments.fenced()
        _log.error("the cluster took node %s for dead: joining again", fenced)
        # Fenced while it was still registering for its last identity: that work is void. It may be
        # the caller who is cancelled here, as a part of that work.
        if self._rejoining is not None:
            self._rejoining.cancel()
        self._rejoining = supervise(partial(self._rejoin, fenced), name="redis-rejoin")

    async def _rejoin(self, fenced: str) -> None:
        """Take another identity, and register all under it; what was done already stays done."""
        if self._node_id == fenced:
            node = secrets.token_hex(_ID_BYTES)
            # Not every node that is gone was declared dead: Redis may have lost it.
            await self._persist(lambda: self._continuity.check_through(self._writes))
            await self._persist(lambda: self._register(node))
            self._node_id = node
            self._traces.begin(node)
            self._changed.set()
        await self._persist(lambda: self._reestablish(range(self._keys.partitions)))
        await self._enter(True)  # noqa: FBT003 - the callback's only argument
        _log.info("node %s has joined again as %s, all registered", fenced, self._node_id)

    async def _restore(self) -> None:
        while partitions := frozenset(self._to_restore):
            self._to_restore.clear()
            try:
                await self._persist(lambda: self._reestablish(partitions))
            except BaseException:
                self._to_restore.update(partitions)
                raise
            _log.info("Redis restarted: interest and presence are registered again")
        self._restoring = None

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> None:
        backoff = Backoff(self._options.reconnect_max_delay_s)
        while True:
            try:
                return await work()
            except BackplaneError as error:
                _log.warning("registering with the cluster is tried again: %s", error)
            await asyncio.sleep(backoff.next())

    async def _register(self, node: str) -> None:
        description = encode_node(self._describe())
        nonce = secrets.token_hex(GENERATION_BYTES)
        generations = await all_of(
            *(
                writes.execute(
                    self._registration(partition, node, description, nonce), read=_read_generation
                )
                for partition, writes in enumerate(self._writes)
            )
        )
        for partition, generation in enumerate(generations):
            if generation:
                self._traces[partition].generation = generation

    def _registration(self, partition: int, node: str, description: bytes, nonce: str) -> bytes:
        own = self._keys.node(partition, node)
        shared = self._keys.partition(partition)
        return REGISTER.pack_with_source(
            (shared.generation, own.node, shared.nodes, shared.described, own.inbox),
            (node, description, nonce, encode_hello()),
        )


def _read_generation(reply: Reply) -> bytes:
    """Read the generation of a partition; empty if the id is in use, as a repeated try finds it."""
    if reply == [_USED]:
        return b""
    _, generation = reply
    return data(generation)
