"""Every part of the backplane, wired: who asks whom, and who is told what.

A `Shard` holds the connections; what speaks of a channel finds the connections of its partition.
Identity (`membership`), interest, presence and routes are the node's, over all shards; an inbox
reader and a heartbeat belong to one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from realtime_node.cluster.backplane import NodeInfo, Receiver

from .allowances import Census, RedisConnects, RedisReconnects
from .continuity import Continuity
from .departed import Departed
from .discovery import places
from .heartbeat import Heartbeat
from .history import History
from .inbox import InboxReader
from .inspection import Inspector
from .instruments import Instruments
from .interest import Interest
from .janitor import Janitor
from .joining import Joining
from .keys import Keys
from .membership import Membership
from .nodes import Nodes
from .options import RedisOptions
from .presence import RedisPresence
from .publishing import Publisher
from .repair import Repair
from .runner import Runner
from .sessions import RedisSessions
from .shard import Shard, by_partition
from .sweep import Sweep
from .tails import TailedReceiver, Tails
from .traces import Traces
from .verdicts import RedisVerdicts


class Parts:
    """What `RedisBackplane` starts, uses and closes."""

    def __init__(self, options: RedisOptions, instruments: Instruments) -> None:
        self._options = options
        self._instruments = instruments
        self._is_running = False
        self.keys = keys = Keys(options.prefix, options.partitions)
        self._traces = traces = Traces(options.partitions)
        self._continuity = continuity = Continuity(
            keys,
            traces,
            instruments,
            node_id=self.node_id,
            is_absent=self._is_absent,
            on_rotated=self._on_rotated,
            on_gone=self._on_gone,
        )
        self.shards = shards = [
            Shard(
                options,
                keys,
                place,
                instruments,
                continuity=continuity,
                on_restart=self._on_restart,
            )
            for place in places(options, keys)
        ]
        self.writes = writes = by_partition(shards, [shard.writes for shard in shards])
        self.reads = reads = by_partition(shards, [shard.reads for shard in shards])
        liveness = by_partition(shards, [shard.liveness for shard in shards])
        node_id = self.node_id
        self.membership = Membership(
            options,
            keys,
            shards,
            instruments,
            traces=traces,
            continuity=continuity,
            registered=self,
        )
        runner = Runner(options, node_id=node_id, rejoin=self.membership.rejoin)
        self.interest = Interest(options, keys, runner, writes, node_id=node_id)
        self.history = History(keys, runner, reads=reads, writes=writes, node_id=node_id)
        self.publisher = Publisher(
            options, keys, runner, writes, traces=traces, instruments=instruments, node_id=node_id
        )
        self.tails = Tails(
            is_leased=lambda channel: liveness[keys.partition_of(channel)].is_leased(),
            clock=shards[0].liveness.now,
        )
        self.joining = Joining(self.interest, self.tails, timeout_s=options.command_timeout_s)
        self.nodes = Nodes(
            options, keys, runner, liveness, reads=reads, writes=writes, node_id=node_id
        )
        self.janitor = Janitor(options, keys, runner, writes, instruments, node_id=node_id)
        self._runner = runner
        self._census = census = Census(options.reconnects_per_s, shards[0].liveness.now)
        self.reconnects = RedisReconnects(
            options, keys, runner, writes, census, node_id=node_id, is_member=self._is_member
        )
        self._connects: list[RedisConnects] = []
        self.departed = Departed(keys, runner, writes, announce=self.publisher.announce)
        self.heartbeats = [
            Heartbeat(
                options,
                keys,
                runner,
                shard.writes,
                janitor=self.janitor,
                departed=self.departed,
                liveness=shard.liveness,
                continuity=continuity,
                census=census,
                partitions=shard.partitions,
                node_id=node_id,
            )
            for shard in shards
        ]
        self._inspector = Inspector(keys, runner, reads, node_id=node_id)
        self.sweep = Sweep(
            options, keys, self.interest, self._inspector, instruments, node_id=node_id
        )
        self.presence = RedisPresence(
            keys, runner, liveness, reads=reads, writes=writes, node_id=node_id
        )
        self.sessions = RedisSessions(
            options, keys, runner, liveness, reads=reads, writes=writes, node_id=node_id
        )
        self.verdicts = RedisVerdicts(keys, runner, reads=reads, writes=writes)
        self.inboxes: tuple[InboxReader, ...] = ()
        """By shard; none before `receive_with`."""

    def node_id(self) -> str:
        """The node's present identity."""
        return self.membership.node_id

    def connects(self, rate_per_s: float) -> RedisConnects:
        """Meter arrivals of the whole cluster at a rate."""
        connects = RedisConnects(
            self._options,
            self.keys,
            self._runner,
            self.writes,
            self._census,
            rate_per_s=rate_per_s,
            node_id=self.node_id,
            is_member=self._is_member,
        )
        self._connects.append(connects)
        return connects

    # --- life -----------------------------------------------------------------------------------

    def receive_with(self, receiver: Receiver) -> None:
        """Make the readers that hand over to `receiver`; they begin when the node has joined."""
        self._receiver = receiver = TailedReceiver(receiver, self.tails)
        self.inboxes = tuple(self._reader(shard, receiver) for shard in self.shards)

    def start(self, describe: Callable[[], NodeInfo]) -> None:
        """Begin what goes on by itself in a node that has joined."""
        self._is_running = True
        self.interest.start()
        self.janitor.start()
        for heartbeat in self.heartbeats:
            heartbeat.start(describe)
        self.sweep.start(self._receiver, by_partition(self.shards, self.inboxes))

    async def stop(self) -> None:
        """End what goes on by itself; the connections stay."""
        self._is_running = False
        await self.reconnects.close()
        for connects in self._connects:
            await connects.close()
        await self.sweep.close()
        await self.joining.close()
        for heartbeat in self.heartbeats:
            await heartbeat.close()
        await self.janitor.close()
        await self.departed.close()
        await self.interest.close()
        await self.membership.close()
        for inbox in self.inboxes:
            await inbox.close()

    def _reader(self, shard: Shard, receiver: Receiver) -> InboxReader:
        repair = Repair(
            self._options,
            self._inspector,
            receiver,
            self._instruments,
            wanted=self.interest.wanted,
            on_overtaken=self._on_overtaken,
        )
        return InboxReader(
            self._options,
            shard.open_link,
            receiver,
            self._instruments,
            continuity=self._continuity,
            repair=repair,
            traces=self._traces,
            name=f"inbox{shard.suffix}",
            on_vanished=self.membership.suspect,
        )

    # --- who is told what -----------------------------------------------------------------------

    def _is_member(self) -> bool:
        return self._is_running and not self.membership.is_rejoining

    async def enter(self, shard: Shard, *, lost: bool) -> None:
        """See `membership.Registered`."""
        self.tails.drop(None)
        own = {
            partition: self.keys.node(partition, self.node_id()).inbox
            for partition in shard.partitions
        }
        await self.inboxes[self.shards.index(shard)].switch(own, lost=lost)

    async def leave(self, shard: Shard) -> None:
        """See `membership.Registered`."""
        await self.inboxes[self.shards.index(shard)].close()

    async def reestablish(self, partitions: Collection[int]) -> None:
        """See `membership.Registered`."""
        await self.interest.reestablish(partitions)
        await self.presence.reestablish(partitions)
        await self.sessions.reestablish(partitions)

    def _on_restart(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            self._traces[partition].incarnation += 1
        self.membership.restore(partitions)

    def _on_rotated(self, partition: int) -> None:
        self.tails.drop(None)
        # Who is told while its interest is not registered would miss what comes next.
        if self.inboxes and not self.membership.is_rejoining:
            by_partition(self.shards, self.inboxes)[partition].doubt(partition)

    def _is_absent(self, partition: int) -> bool:
        return self.membership.is_absent(partition)

    def _on_gone(self) -> None:
        self.membership.suspect()

    async def _on_overtaken(self, partition: int, reason: str) -> None:
        await self._continuity.rotate(self.writes[partition], partition, reason)
