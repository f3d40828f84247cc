"""The backplane on Redis: how it starts, ends and is used. Its parts are wired in `parts`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from redis.exceptions import AskError, ClusterDownError

from realtime_node.backoff import Backoff
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
from realtime_node.errors import (
    BackplaneError,
    BackplaneUnavailableError,
    ConfigError,
    SchemaMismatchError,
)
from realtime_node.protocol.messages import ClientInfo, Publication, StreamPosition

from .allowances import RedisConnects
from .commands import Commands
from .instruments import Instruments, NoInstruments
from .link import CONNECTION_FAILURES, describe_failure, is_forbidden, is_refused_login
from .options import RedisOptions
from .outage import Outage
from .parts import Parts
from .permissions import lacks, missing_command

_log = logging.getLogger(__name__)


class RedisBackplane:
    """Implements `Backplane`; the other stores that belong to it are attributes."""

    def __init__(self, options: RedisOptions, instruments: Instruments | None = None) -> None:
        self._options = options
        self._parts = parts = Parts(options, instruments or NoInstruments())
        self.presence = parts.presence
        self.sessions = parts.sessions
        self.verdicts = parts.verdicts
        self.reconnects = parts.reconnects
        self._is_started = False
        self._waits = Outage(_log, "this node waits for Redis")

    @property
    def node_id(self) -> str:
        """See `Backplane.node_id`."""
        return self._parts.node_id()

    def connects(self, rate_per_s: float) -> RedisConnects:
        """Meter arrivals of the whole cluster at a rate."""
        return self._parts.connects(rate_per_s)

    # --- life -----------------------------------------------------------------------------------

    async def start(self, receiver: Receiver, describe: Callable[[], NodeInfo]) -> None:
        """See `Backplane.start`."""
        self._is_started = True
        self._parts.receive_with(receiver)
        try:
            await self._join(describe)
        except BaseException:
            await self.abandon()
            raise
        self._parts.start(describe)

    async def _join(self, describe: Callable[[], NodeInfo]) -> None:
        """Join as soon as Redis is there; raise what waiting does not mend."""
        within_s = self._options.start_timeout_s
        backoff = Backoff(self._options.reconnect_max_delay_s)
        waits = self._waits
        try:
            async with asyncio.timeout(within_s or None):
                while True:
                    try:
                        await self._connect()
                        await self._parts.membership.join(describe)
                        break
                    except SchemaMismatchError:
                        raise
                    except BackplaneError as error:
                        waits.note(error)
                    await asyncio.sleep(backoff.next())
        except TimeoutError:
            raise BackplaneUnavailableError(f"not within {within_s} s: {waits.cause}") from None
        waits.end()

    async def close(self) -> None:
        """See `Backplane.close`."""
        if not self._is_started:
            return
        self._is_started = False
        await self._parts.stop()
        try:
            async with asyncio.timeout(self._options.lease_s):
                await self._parts.janitor.leave()
        except (BackplaneError, TimeoutError) as error:
            _log.warning("left without taking leave, the others will clean up: %s", error)
        await self._disconnect()

    async def abandon(self) -> None:
        """End all loops and connections and tell nobody, as if the process had been killed."""
        self._is_started = False
        await self._parts.stop()
        await self._disconnect()

    def is_available(self) -> bool:
        """See `Backplane.is_available`; in a Redis Cluster a part of it is enough."""
        return any(self._answers(shard.writes) for shard in self._parts.shards)

    def _answers(self, writes: Commands) -> bool:
        if not writes.is_connected:
            return False
        # Heartbeats ask often enough for an answer that is younger.
        limit_s = self._options.heartbeat_interval_s + self._options.command_timeout_s
        return asyncio.get_running_loop().time() - writes.answered_at <= limit_s

    def obstacles(self) -> list[str]:
        """See `Backplane.obstacles`."""
        if self._waits.cause:
            return [self._waits.cause]
        return [
            f"{shard.name}: {shard.writes.outage or 'this node joins there'}"
            for shard in self._parts.shards
            if shard.writes.outage or shard in self._parts.membership.absent
        ]

    async def _connect(self) -> None:
        """Connect with all shards; a part of a Redis Cluster is enough."""
        shards = self._parts.shards
        attempts = [shard.connect() for shard in shards]
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        refusals = [self._refusal(each) for each in outcomes if each is not None]
        for refusal in refusals:
            if not isinstance(refusal, BackplaneUnavailableError):
                raise refusal
        if len(refusals) == len(shards):
            raise refusals[0]
        for shard in shards:
            shard.serve()

    def _refusal(self, error: BaseException) -> BaseException:
        """What a failure to connect means to whoever starts a node."""
        server, failure = self._options.server_name, describe_failure(error)
        if not isinstance(error, CONNECTION_FAILURES):
            return error
        if is_refused_login(error):
            return ConfigError(
                f"Redis at {server} refuses engine.redis.user and password: {failure}"
            )
        if command := missing_command(error):
            return lacks([command], self._options)
        if is_forbidden(error):
            return ConfigError(
                f"Redis at {server} forbids its user {self._options.user_in_use} what a node needs:"
                f" {failure}. docs/redis.md has the whole rule"
            )
        if isinstance(error, AskError | ClusterDownError) and not self._options.cluster_nodes:
            return ConfigError(
                f"Redis at {server} is a node of a Redis Cluster:"
                " name it in engine.redis.cluster_address"
            )
        return BackplaneUnavailableError(f"Redis at {server} cannot be used: {failure}")

    async def _disconnect(self) -> None:
        for shard in self._parts.shards:
            await shard.close()

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
        return await self._parts.publisher.publish(
            channel, publication, options, idempotency_key=idempotency_key
        )

    async def announce(self, channel: str, kind: EntryKind, info: ClientInfo) -> None:
        """See `Backplane.announce`."""
        await self._parts.publisher.announce(channel, kind, info)

    async def subscribe(
        self,
        channel: str,
        options: StreamOptions,
        *,
        since: StreamPosition | None = None,
        limit: int = 0,
    ) -> Subscribed:
        """See `Backplane.subscribe`."""
        return await self._parts.joining.subscribe(channel, options, since=since, limit=limit)

    def release(self, channel: str) -> None:
        """See `Backplane.release`."""
        self._parts.interest.release(channel)

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
        return await self._parts.history.page(
            channel, options, limit=limit, since=since, reverse=reverse
        )

    async def remove_history(self, channel: str) -> None:
        """See `Backplane.remove_history`."""
        self._parts.tails.drop((channel,))
        await self._parts.history.remove(channel)

    async def control(self, message: Control) -> None:
        """See `Backplane.control`."""
        await self._parts.nodes.control(message)

    async def claim_restart(self, period_s: float) -> bool:
        """See `Backplane.claim_restart`."""
        return await self._parts.nodes.claim_restart(period_s)

    async def nodes(self) -> list[NodeInfo]:
        """See `Backplane.nodes`."""
        return await self._parts.nodes.list()
