"""The backplane on Redis: wires the parts of this package and is what the node sees of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from realtime_node.cluster.backplane import (
    Control,
    EntryKind,
    HistoryPage,
    NodeInfo,
    Published,
    Receiver,
    StreamOptions,
    Subscribed,
)
from realtime_node.errors import BackplaneError, BackplaneUnavailableError, ConfigError
from realtime_node.protocol.messages import ClientInfo, Publication, StreamPosition

from .commands import Commands
from .continuity import Continuity
from .heartbeat import Heartbeat
from .history import History
from .inbox import InboxReader
from .inspection import Inspector
from .instruments import Instruments, NoInstruments
from .interest import Interest
from .introduction import Introduction
from .janitor import Janitor
from .joining import Joining
from .keys import Keys
from .link import CONNECTION_FAILURES, describe_failure, is_refused_login, open_link
from .liveness import Liveness
from .membership import Membership
from .nodes import Nodes
from .options import RedisOptions
from .presence import RedisPresence
from .publishing import Publisher
from .repair import Repair
from .runner import Runner
from .sweep import Sweep
from .tails import TailedReceiver, Tails
from .traces import Traces

_log = logging.getLogger(__name__)


class RedisBackplane:
    """Implements `Backplane`; `presence` is the store that belongs to it."""

    def __init__(self, options: RedisOptions, instruments: Instruments | None = None) -> None:
        instruments = instruments or NoInstruments()
        self._options = options
        self._instruments = instruments
        self._keys = keys = Keys(options.prefix, options.partitions)
        self._open_link = partial(open_link, options)

        def node_id() -> str:
            return self._membership.node_id

        self._traces = traces = Traces(options.partitions)
        self._continuity = continuity = Continuity(
            keys,
            traces,
            instruments,
            node_id=node_id,
            on_rotated=self._on_rotated,
            on_gone=self._on_gone,
        )
        introduction = Introduction(options, keys, continuity, on_restart=self._on_restart)
        self._writes = writes = Commands(
            "writes",
            options,
            self._open_link,
            instruments,
            on_connected=introduction.to_writes,
            repeats=0,
        )
        self._reads = reads = Commands(
            "reads",
            options,
            self._open_link,
            instruments,
            on_connected=introduction.to_reads,
            repeats=1,
        )
        self._membership = Membership(
            options,
            keys,
            writes,
            instruments,
            traces=traces,
            continuity=continuity,
            reestablish=self._reestablish,
            enter=self._enter,
        )
        runner = Runner(options, node_id=node_id, rejoin=self._membership.rejoin)
        self._interest = Interest(options, keys, runner, writes, node_id=node_id)
        self._history = History(keys, runner, reads=reads, writes=writes, node_id=node_id)
        self._publisher = Publisher(
            options, keys, runner, writes, traces=traces, instruments=instruments, node_id=node_id
        )
        liveness = Liveness(options.lease_s, options.heartbeat_interval_s)
        self._tails = Tails(is_leased=liveness.is_leased, clock=liveness.now)
        self._joining = Joining(self._interest, self._tails, timeout_s=options.command_timeout_s)
        self._nodes = Nodes(
            options, keys, runner, liveness, reads=reads, writes=writes, node_id=node_id
        )
        self._janitor = Janitor(options, keys, runner, writes, instruments, node_id=node_id)
        self._heartbeat = Heartbeat(
            options,
            keys,
            runner,
            writes,
            janitor=self._janitor,
            liveness=liveness,
            continuity=continuity,
            node_id=node_id,
        )
        self._inspector = inspector = Inspector(keys, runner, reads, node_id=node_id)
        self._sweep = Sweep(options, keys, self._interest, inspector, instruments, node_id=node_id)
        self.presence = RedisPresence(
            keys, runner, liveness, reads=reads, writes=writes, node_id=node_id
        )
        self._inbox: InboxReader | None = None

    @property
    def node_id(self) -> str:
        """See `Backplane.node_id`."""
        return self._membership.node_id

    # --- life -----------------------------------------------------------------------------------

    async def start(self, receiver: Receiver, describe: Callable[[], NodeInfo]) -> None:
        """See `Backplane.start`."""
        receiver = TailedReceiver(receiver, self._tails)
        repair = Repair(
            self._options,
            self._inspector,
            receiver,
            self._instruments,
            wanted=self._interest.wanted,
            on_overtaken=self._on_overtaken,
        )
        self._inbox = InboxReader(
            self._options,
            self._open_link,
            receiver,
            self._instruments,
            continuity=self._continuity,
            repair=repair,
            traces=self._traces,
            on_vanished=self._membership.suspect,
        )
        try:
            await self._connect()
            await self._membership.join(describe)
        except BaseException:
            await self._stop()
            raise
        self._interest.start()
        self._janitor.start()
        self._heartbeat.start(describe)
        self._sweep.start(receiver, self._inbox)

    async def close(self) -> None:
        """See `Backplane.close`."""
        if self._inbox is None:
            return
        await self._stop_loops()
        try:
            async with asyncio.timeout(self._options.lease_s):
                await self._janitor.leave()
        except (BackplaneError, TimeoutError) as error:
            _log.warning("left without taking leave, the others will clean up: %s", error)
        await self._stop()
        self._inbox = None

    async def abandon(self) -> None:
        """End all loops and connections and tell nobody, as if the process had been killed."""
        await self._stop_loops()
        await self._stop()

    def is_available(self) -> bool:
        """See `Backplane.is_available`."""
        if not self._writes.is_connected:
            return False
        # Heartbeats ask often enough for an answer that is younger.
        limit_s = self._options.heartbeat_interval_s + self._options.command_timeout_s
        return asyncio.get_running_loop().time() - self._writes.answered_at <= limit_s

    async def _connect(self) -> None:
        try:
            await self._writes.start()
            await self._reads.start()
        except CONNECTION_FAILURES as error:
            if is_refused_login(error):
                raise ConfigError(
                    f"Redis at {self._options.server_name} refuses engine.redis.user and password:"
                    f" {describe_failure(error)}"
                ) from error
            raise BackplaneUnavailableError(
                f"Redis at {self._options.server_name} cannot be used: {describe_failure(error)}"
            ) from error

    async def _stop_loops(self) -> None:
        await self._sweep.close()
        await self._joining.close()
        await self._heartbeat.close()
        await self._janitor.close()
        await self._interest.close()
        await self._membership.close()
        if self._inbox is not None:
            await self._inbox.close()

    async def _stop(self) -> None:
        await self._stop_loops()
        await self._reads.close()
        await self._writes.close()

    async def _enter(self, lost: bool) -> None:  # noqa: FBT001 - the callback's only argument
        self._tails.drop(None)
        if self._inbox is not None:
            own = [
                self._keys.node(partition, self.node_id).inbox
                for partition in range(self._keys.partitions)
            ]
            await self._inbox.switch(own, lost=lost)

    async def _reestablish(self) -> None:
        await self._interest.reestablish()
        await self.presence.reestablish()

    def _on_restart(self) -> None:
        self._traces.incarnation += 1
        self._membership.restore()

    def _on_rotated(self, partition: int) -> None:
        self._tails.drop(None)
        # Who is told while its interest is not registered would miss what comes next.
        if self._inbox is not None and not self._membership.is_rejoining:
            self._inbox.doubt(partition)

    def _on_gone(self) -> None:
        self._membership.suspect()

    async def _on_overtaken(self, partition: int, reason: str) -> None:
        await self._continuity.rotate(self._writes, partition, reason)

    # --- use ------------------------------------------------------------------------------------

    async def publish(
        self,
        channel: str,
        publication: Publication,
        options: StreamOptions,
        *,
        idempotency_key: str = "",
    ) -> Published:
        """See `Backplane.publish`."""
        return await self._publisher.publish(
            channel, publication, options, idempotency_key=idempotency_key
        )

    async def announce(self, channel: str, kind: EntryKind, info: ClientInfo) -> None:
        """See `Backplane.announce`."""
        await self._publisher.announce(channel, kind, info)

    async def subscribe(
        self,
        channel: str,
        options: StreamOptions,
        *,
        since: StreamPosition | None = None,
        limit: int = 0,
    ) -> Subscribed:
        """See `Backplane.subscribe`."""
        return await self._joining.subscribe(channel, options, since=since, limit=limit)

    def release(self, channel: str) -> None:
        """See `Backplane.release`."""
        self._interest.release(channel)

    async def history(
        self,
        channel: str,
        options: StreamOptions,
        *,
        limit: int,
        since: StreamPosition | None = None,
        reverse: bool = False,
    ) -> HistoryPage:
        """See `Backplane.history`."""
        return await self._history.page(channel, options, limit=limit, since=since, reverse=reverse)

    async def remove_history(self, channel: str) -> None:
        """See `Backplane.remove_history`."""
        self._tails.drop((channel,))
        await self._history.remove(channel)

    async def control(self, message: Control) -> None:
        """See `Backplane.control`."""
        await self._nodes.control(message)

    async def nodes(self) -> list[NodeInfo]:
        """See `Backplane.nodes`."""
        return await self._nodes.list()
