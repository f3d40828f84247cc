"""This node's identity in the cluster: how it joins, and how it joins again.

A node is alive while its hash exists without a tombstone. Scripts check that of their caller before
they write: FENCED means that others have cleaned this node away (it was paused past its lease) or
that Redis was emptied. The identity is then burnt. A new one is registered, all interest and
presence with it, and the receiver learns that positions may not be continued, for what was
published in between went to nobody.

    joined ──FENCED, or the inbox is gone──▶ rejoining ──all registered──▶ joined, other id
    joined ──Redis restarted───────────────▶ all registered again ───────▶ joined, same id

A shard that cannot be reached just then, one of a Redis Cluster, does not keep the node from the
others: it is *absent*. Its commands are refused at once, and the node enlists there as soon as it
can be reached.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

from realtime_node.backoff import Backoff
from realtime_node.cluster.backplane import NodeInfo
from realtime_node.errors import BackplaneError, BackplaneUnavailableError
from realtime_node.supervision import supervise

from .all_of import all_of
from .continuity import GENERATION_BYTES, Continuity
from .entries import encode_hello, encode_node
from .instruments import Instruments
from .keys import Keys
from .options import RedisOptions
from .outage import Outage
from .replies import Reply, data
from .script import REGISTER
from .shard import Shard
from .traces import Traces

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_ID_BYTES: Final = 8
_USED: Final = b"FENCED"
_ENLIST_EVERY_S: Final = 0.25
"""Looking whether an absent shard is connected by now costs nothing."""


class Registered(Protocol):
    """What follows the registration of an identity."""

    async def reestablish(self, partitions: Collection[int], /) -> None:
        """Register interest, presence and sessions of partitions; raises `BackplaneError`."""

    async def enter(self, shard: Shard, *, lost: bool) -> None:
        """Read the identity's inboxes of a shard; `lost`: entries went to no inbox before."""

    async def leave(self, shard: Shard) -> None:
        """Read no inbox of a shard any more."""


class Membership:
    """Holds the node's id; every part asks here for it anew with each call."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        options: RedisOptions,
        keys: Keys,
        shards: Sequence[Shard],
        instruments: Instruments,
        *,
        traces: Traces,
        continuity: Continuity,
        registered: Registered,
    ) -> None:
        """`registered` does what follows a registration."""
        self._options = options
        self._keys = keys
        self._shards = shards
        self._instruments = instruments
        self._traces = traces
        self._continuity = continuity
        self._registered = registered
        self._node_id = secrets.token_hex(_ID_BYTES)
        self._describe: Callable[[], NodeInfo]
        self._joined = False
        self._burnt = ""
        self._changed = asyncio.Event()
        self._rejoining: asyncio.Task[None] | None = None
        # Partitions whose Redis is another process than before.
        self._to_restore: set[int] = set()
        self._restoring: asyncio.Task[None] | None = None
        # Shards in which this identity is not registered yet.
        self._absent: list[Shard] = []
        self._has_lost = False
        self._enlisting: asyncio.Task[None] | None = None

    @property
    def node_id(self) -> str:
        """The present identity."""
        return self._node_id

    @property
    def is_rejoining(self) -> bool:
        """Whether this identity is given up: all positions will be compared when there is a new."""
        return self._rejoining is not None and not self._rejoining.done()

    @property
    def absent(self) -> Sequence[Shard]:
        """The shards in which this node is not registered, since they could not be reached."""
        return self._absent

    def is_absent(self, partition: int) -> bool:
        """Whether this node is not registered in a partition yet."""
        return any(partition in shard.partitions for shard in self._absent)

    async def join(self, describe: Callable[[], NodeInfo]) -> None:
        """Join for the first time, wherever it is possible; raises `BackplaneError` if nowhere."""
        self._describe = describe
        self._traces.begin(self._node_id)
        self._absent = await self._register(self._node_id)
        await self._bar_absent()
        self._joined = True
        await self._enter_present(lost=False)

    async def close(self) -> None:
        """Keep the identity from now on, whatever happens to it."""
        self._joined = False
        self._changed.set()
        tasks = [
            task for task in (self._rejoining, self._restoring, self._enlisting) if task is not None
        ]
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
        for task in (self._rejoining, self._enlisting):
            if task is not None:
                task.cancel()
        self._rejoining = supervise(partial(self._rejoin, fenced), name="redis-rejoin")

    async def _rejoin(self, fenced: str) -> None:
        """Take another identity, and register all under it; what was done already stays done."""
        if self._node_id == fenced:
            node = secrets.token_hex(_ID_BYTES)
            self._absent = await self._persist(lambda: self._register(node))
            self._node_id = node
            self._traces.begin(node)
        await self._bar_absent()
        self._changed.set()
        present = [each for each in range(self._keys.partitions) if not self.is_absent(each)]
        await self._persist(lambda: self._registered.reestablish(present))
        await self._enter_present(lost=True)
        _log.info("node %s has joined again as %s, all registered", fenced, self._node_id)

    async def _restore(self) -> None:
        while partitions := frozenset(self._to_restore):
            self._to_restore.clear()
            try:
                await self._persist(lambda: self._registered.reestablish(partitions))
            except BaseException:
                self._to_restore.update(partitions)
                raise
            _log.info("Redis restarted: interest and presence are registered again")
        self._restoring = None

    async def _bar_absent(self) -> None:
        for shard in self._shards:
            if shard in self._absent:
                _log.error("%s cannot be reached: this node works without it", shard.name)
                shard.bar(shard.writes.outage or "this node is not registered there yet")
            else:
                shard.admit()
        for shard in self._absent:
            await self._registered.leave(shard)

    async def _enter_present(self, *, lost: bool) -> None:
        self._has_lost = lost
        for shard in self._shards:
            if shard not in self._absent:
                await self._registered.enter(shard, lost=lost)
        if self._absent:
            self._enlisting = supervise(self._enlist_absent, name="redis-enlist")

    async def _enlist_absent(self) -> None:
        """Register in absent shards, as they come back."""
        outage = Outage(_log, "registering with a part of the Redis Cluster is tried again")
        while self._absent:
            for shard in list(self._absent):
                if not shard.writes.is_connected:
                    continue
                try:
                    await self._enlist(shard)
                except BackplaneError as error:
                    outage.note(error)
            await asyncio.sleep(_ENLIST_EVERY_S)

    async def _enlist(self, shard: Shard) -> None:
        await self._register_in(shard, self._node_id)
        shard.admit()
        await self._registered.reestablish(shard.partitions)
        await self._registered.enter(shard, lost=self._has_lost)
        self._absent.remove(shard)
        _log.warning("%s can be reached: this node has joined there", shard.name)

    async def _persist(self, work: Callable[[], Awaitable[_T]]) -> _T:
        backoff = Backoff(self._options.reconnect_max_delay_s)
        outage = Outage(_log, "registering with the cluster is tried again")
        while True:
            try:
                return await work()
            except BackplaneError as error:
                outage.note(error)
            await asyncio.sleep(backoff.next())

    # --- registration ---------------------------------------------------------------------------

    async def _register(self, node: str) -> list[Shard]:
        """Register an identity in all shards; returns those that could not be reached.

        Raises `BackplaneError` if that were all.
        """
        registrations = [self._register_in(shard, node) for shard in self._shards]
        outcomes = await asyncio.gather(*registrations, return_exceptions=True)
        failures = [each for each in outcomes if each is not None]
        unexpected = [each for each in failures if not isinstance(each, BackplaneError)]
        if unexpected or len(failures) == len(self._shards):
            raise (unexpected or failures)[0]
        return [
            shard
            for shard, outcome in zip(self._shards, outcomes, strict=True)
            if outcome is not None
        ]

    async def _register_in(self, shard: Shard, node: str) -> None:
        writes = shard.writes
        if not writes.is_connected:
            raise BackplaneUnavailableError(f"{shard.name} cannot be reached: {writes.outage}")
        # Not every node that is gone was declared dead: Redis may have lost it.
        await self._continuity.check_through(writes, shard.partitions)
        description = encode_node(self._describe())
        nonce = secrets.token_hex(GENERATION_BYTES)
        generations = await all_of(
            *(
                writes.execute(
                    self._registration(partition, node, description, nonce),
                    read=_read_generation,
                    even_if_barred=True,
                )
                for partition in shard.partitions
            )
        )
        for partition, generation in zip(shard.partitions, generations, strict=True):
            self._continuity.learn(partition, generation)

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
