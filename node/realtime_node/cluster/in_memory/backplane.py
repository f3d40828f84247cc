"""A node of an `InMemoryCluster`."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from functools import partial

from realtime_node.cluster.allowance import RECONNECTS_PER_S
from realtime_node.cluster.backplane import (
    Control,
    Entry,
    EntryKind,
    HistoryPage,
    NodeInfo,
    Published,
    Receiver,
    StreamOptions,
    Subscribed,
)
from realtime_node.errors import BackplaneUnavailableError, UnrecoverablePositionError
from realtime_node.protocol.messages import ClientInfo, Publication, StreamPosition
from realtime_node.supervision import supervise

from .allowances import InMemoryConnects, InMemoryReconnects
from .cluster import InMemoryCluster, Member
from .presence import InMemoryPresence
from .sessions import InMemorySessions


class InMemoryBackplane:
    """Implements `Backplane`; the other stores that belong to it are attributes."""

    def __init__(
        self, cluster: InMemoryCluster, *, reconnects_per_s: float = RECONNECTS_PER_S
    ) -> None:
        """`reconnects_per_s` is the reconnect budget of a node, until another was set."""
        self._cluster = cluster
        self._node_id = secrets.token_hex(8)
        self._member: Member | None = None
        self._task: asyncio.Task[None] | None = None
        self.presence = InMemoryPresence(cluster, self._joined)
        self.sessions = InMemorySessions(cluster, self._joined, wall_clock=time.time)
        self.verdicts = cluster.verdicts
        self.reconnects = InMemoryReconnects(
            cluster.permits, self._node_id, self.is_available, per_node=reconnects_per_s
        )

    def connects(self, rate_per_s: float) -> InMemoryConnects:
        """Meter arrivals of the whole cluster at a rate."""
        return InMemoryConnects(
            self._cluster.permits, self._node_id, self.is_available, rate_per_s=rate_per_s
        )

    @property
    def node_id(self) -> str:
        """See `Backplane.node_id`."""
        return self._node_id

    async def start(self, receiver: Receiver, describe: Callable[[], NodeInfo]) -> None:
        """See `Backplane.start`."""
        self._member = member = Member(self._node_id, describe)
        self._cluster.join(member)
        self.reconnects.join()
        self._task = supervise(partial(_hand_over, member, receiver), name="in-memory-inbox")

    async def close(self) -> None:
        """See `Backplane.close`."""
        if self._member is not None:
            self._cluster.leave(self._member)
        self.reconnects.leave()
        await self._stop()

    async def abandon(self) -> None:
        """End all loops and tell nobody, as if the process had been killed."""
        if self._member is not None:
            self._cluster.abandon(self._member)
        await self._stop()

    async def _stop(self) -> None:
        self._member = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def obstacles(self) -> list[str]:
        """See `Backplane.obstacles`."""
        return [] if self._member is not None else ["this node is not part of the cluster"]

    def is_available(self) -> bool:
        """See `Backplane.is_available`."""
        return self._member is not None

    def _joined(self) -> Member:
        if self._member is None:
            raise BackplaneUnavailableError("this node is not part of the cluster")
        return self._member

    async def publish(
        self,
        channel: str,
        publication: Publication,
        options: StreamOptions,
        *,
        idempotency_key: str = "",
    ) -> Published:
        """See `Backplane.publish`."""
        member = self._joined()
        if idempotency_key:
            first = self._cluster.first_result(channel, idempotency_key)
            if first is not None:
                return first
        epoch = ""
        if options.has_history:
            publication = self._cluster.streams.append(channel, publication, options)
            epoch = self._cluster.streams.position(channel, options).epoch
        entry = Entry(
            partition=0,
            sequence=0,
            kind=EntryKind.PUBLICATION,
            channel=channel,
            epoch=epoch,
            publication=publication,
        )
        own = self._cluster.deliver(channel, entry, member)
        offset = publication.offset if options.has_history else 0
        if idempotency_key:
            self._cluster.keep_result(
                channel, idempotency_key, Published(offset=offset, epoch=epoch)
            )
        return Published(offset=offset, epoch=epoch, sequence=None if own is None else (0, own))

    async def announce(self, channel: str, kind: EntryKind, info: ClientInfo) -> None:
        """See `Backplane.announce`."""
        entry = Entry(partition=0, sequence=0, kind=kind, channel=channel, info=info)
        self._cluster.deliver(channel, entry, self._joined())

    async def subscribe(
        self,
        channel: str,
        options: StreamOptions,
        *,
        since: StreamPosition | None = None,
        limit: int = 0,
    ) -> Subscribed:
        """See `Backplane.subscribe`."""
        self._cluster.gain_interest(self._joined(), channel)
        if not options.has_history:
            return Subscribed(top=StreamPosition(), publications=[])
        streams = self._cluster.streams
        missed = (
            []
            if since is None
            else streams.page(channel, options, limit=limit, since=since, reverse=False)
        )
        return Subscribed(top=streams.position(channel, options), publications=missed)

    def release(self, channel: str) -> None:
        """See `Backplane.release`."""
        if self._member is not None:
            self._cluster.lose_interest(self._member, channel)

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
        self._joined()
        if not options.has_history:
            return HistoryPage(publications=[], top=StreamPosition())
        streams = self._cluster.streams
        top = streams.position(channel, options)
        if since is not None and since.epoch and since.epoch != top.epoch:
            raise UnrecoverablePositionError(
                f"the position is of epoch {since.epoch!r}, the stream of {top.epoch!r}"
            )
        page = streams.page(channel, options, limit=limit, since=since, reverse=reverse)
        return HistoryPage(publications=page, top=top)

    async def remove_history(self, channel: str) -> None:
        """See `Backplane.remove_history`."""
        self._joined()
        self._cluster.streams.clear(channel)

    async def control(self, message: Control) -> None:
        """See `Backplane.control`."""
        self._joined()
        entry = Entry(partition=0, sequence=0, kind=EntryKind.CONTROL, control=message)
        for member in self._cluster.live_members():
            self._cluster.put(member, entry)

    async def nodes(self) -> list[NodeInfo]:
        """See `Backplane.nodes`."""
        self._joined()
        infos = [member.describe() for member in self._cluster.live_members()]
        return sorted(infos, key=lambda info: info.uid)

    async def claim_restart(self, period_s: float) -> bool:
        """See `Backplane.claim_restart`."""
        return self._cluster.claim_restart(self._joined().node_id, period_s)


async def _hand_over(member: Member, receiver: Receiver) -> None:
    while True:
        await member.arrived.wait()
        member.arrived.clear()
        entries = list(member.waiting)
        member.waiting.clear()
        try:
            if member.has_lost:
                receiver.lost(0, None)
                member.has_lost = False
            await receiver.receive(entries)
        except BaseException:
            # How much of it was taken is not known, and it is nowhere else.
            member.has_lost = True
            member.arrived.set()
            raise
