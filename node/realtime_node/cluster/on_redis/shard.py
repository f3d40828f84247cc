"""A shard: partitions that live and fail together, and this node's connections to them.

One server, however it is found, is one shard with all partitions. In a Redis Cluster every
partition is a shard: its slot may move, lose its primary or be emptied while the others go on, so
it has connections, a heartbeat and a lease of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from .commands import Commands
from .continuity import Continuity
from .discovery import Place
from .instruments import Instruments
from .introduction import Introduction
from .keys import Keys
from .link import open_link
from .liveness import Liveness
from .options import RedisOptions

_T = TypeVar("_T")


class Shard:
    """The connections for writes and reads; `open_link` makes more, `suffix` tells them apart."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        options: RedisOptions,
        keys: Keys,
        place: Place,
        instruments: Instruments,
        *,
        continuity: Continuity,
        on_restart: Callable[[Sequence[int]], None],
    ) -> None:
        self.partitions = place.partitions
        self.suffix = f"-{place.partitions[0]}" if options.cluster_nodes else ""
        self.open_link = partial(open_link, options, place.discover)
        self.liveness = Liveness(options.lease_s, options.heartbeat_interval_s)
        introduction = Introduction(
            options, keys, continuity, place.partitions, on_restart=on_restart
        )
        self.writes = Commands(
            "writes",
            options,
            self.open_link,
            instruments,
            on_connected=introduction.to_writes,
            repeats=0,
            suffix=self.suffix,
        )
        self.reads = Commands(
            "reads",
            options,
            self.open_link,
            instruments,
            on_connected=introduction.to_reads,
            repeats=1,
            suffix=self.suffix,
        )

    async def connect(self) -> None:
        """Connect, unless that was done; raises what hinders it, one of ours or of redis-py."""
        await self.writes.connect()
        await self.reads.connect()

    def serve(self) -> None:
        """Execute commands from now on, and connect what is not connected."""
        self.writes.serve()
        self.reads.serve()

    def bar(self, why: str) -> None:
        """Refuse commands: this node is not registered in these partitions."""
        self.writes.bar(why)
        self.reads.bar(why)

    def admit(self) -> None:
        """Execute commands again."""
        self.writes.admit()
        self.reads.admit()

    @property
    def name(self) -> str:
        """How an operator is told of it."""
        if not self.suffix:
            return "Redis"
        return f"partition {self.partitions[0]} of the Redis Cluster"

    async def close(self) -> None:
        """Fail what waits and close the connections."""
        await self.reads.close()
        await self.writes.close()


def by_partition(shards: Iterable[Shard], values: Iterable[_T]) -> tuple[_T, ...]:
    """Spread one value per shard over its partitions, in their order."""
    spread = {
        partition: value
        for shard, value in zip(shards, values, strict=True)
        for partition in shard.partitions
    }
    return tuple(spread[partition] for partition in sorted(spread))
