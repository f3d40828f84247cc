"""What is measured of the backplane: real ones, in processes of their own, without servers.

Redis has the first core to itself; the publishing node, and those that are interested, share the
others. CPU times are therefore each side's own, while publishes per second are what all of them
reach together: on two cores many interested nodes take their share of the publisher's. Hence the
figure that says how many publishes one core of Redis would carry.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from redis.asyncio import Redis

from realtime_node.cluster.on_redis.options import RedisOptions
from tests.load import machine, rounds
from tests.load.backplane.members import Member, joined
from tests.load.backplane.requests import Channels
from tests.load.backplane.results import Footprint, Idle, Publishing
from tests.load.backplane.stores import OpenStore, Store, one_redis
from tests.support.redis_monitor import Monitor, monitored

CHANNELS: Final = 100  # published into
OUTSTANDING: Final = 256  # publishes at once: as many as go into one pipeline
NODES: Final = 4
MANY_CHANNELS: Final = 20_000

_PUBLISH_S: Final = 1.2
_HEARTBEATS: Final = 3  # of each node; one for a quick run
_HEARTBEATS_WITHIN_S: Final = 60.0
_SETTLE_S: Final = 1.5  # until inboxes are trimmed and memory is given back


@dataclass(frozen=True)
class Shape:
    """A cluster to publish in: one node publishes, the others may be interested."""

    members: int
    partitions: int = 1
    open_store: OpenStore = one_redis


@dataclass(frozen=True)
class Cluster:
    """Joined members, and the store between them."""

    store: Store
    members: Sequence[Member]
    taken: dict[Member, int] = field(default_factory=dict)  # entries that each was sent so far


@dataclass(frozen=True)
class Lab(rounds.Lab):
    """Keeps clusters from one measurement to the next: joining takes longer than measuring."""

    stack: contextlib.AsyncExitStack  # ends them
    clusters: dict[Shape, Cluster] = field(default_factory=dict)

    async def cluster(self, shape: Shape) -> Cluster:
        """Return the cluster of this shape, made if it is not there yet."""
        if shape not in self.clusters:
            directory = self.directory / str(len(self.clusters))
            directory.mkdir()
            store = await self.stack.enter_async_context(shape.open_store(directory))
            options = msgspec.structs.replace(store.options, partitions=shape.partitions)
            self.clusters[shape] = Cluster(
                store, await self.stack.enter_async_context(joined(options, shape.members))
            )
        return self.clusters[shape]


@contextlib.asynccontextmanager
async def opened(directory: Path, quick: bool) -> AsyncIterator[Lab]:
    """Make a lab whose clusters end with it."""
    async with contextlib.AsyncExitStack() as stack:
        yield Lab(directory, quick, stack)


async def publishing(lab: Lab, shape: Shape, *, interested: int, history: bool) -> Publishing:
    """Publish into channels that so many nodes are interested in, as fast as they are answered."""
    cluster = await lab.cluster(shape)
    publisher, *others = cluster.members
    readers = others[:interested]
    # Each number of interested nodes has channels of its own.
    channels = Channels((2 * interested + history) * CHANNELS, CHANNELS, history)
    await asyncio.gather(*(reader.subscribe(channels) for reader in readers))
    learning = await publisher.publish_to_each(channels)
    await _all_taken(cluster, readers, learning.count)

    redis, own = await cluster.store.clocks(), publisher.clock()
    in_scripts, reading = await cluster.store.spent_in_scripts(), _clock(readers)
    published = await publisher.publish(
        channels, seconds=lab.seconds(_PUBLISH_S), outstanding=OUTSTANDING
    )
    await _all_taken(cluster, readers, published.count)
    each = [now - then for now, then in zip(await cluster.store.clocks(), redis, strict=True)]
    own = publisher.clock() - own
    in_scripts = await cluster.store.spent_in_scripts() - in_scripts
    reading = _clock(readers) - reading

    us = 1e6 / published.count
    busiest = max(server.cpu for server in each)
    # Servers of a Redis Cluster share the core, and wait for each other.
    waited = each[0].waiting if len(each) == 1 else 0.0
    return Publishing(
        publishes_per_s=published.count / published.seconds,
        redis_us_per_publish=sum(server.cpu for server in each) * us,
        script_us_per_publish=in_scripts * us,
        carried_per_s=published.count / busiest,
        publisher_us_per_publish=own.cpu * us,
        reader_us_per_entry=reading.cpu * us / interested,
        p50_ms=published.p50_ms,
        p99_ms=published.p99_ms,
        redis_busy_percent=100 * busiest / published.seconds,
        redis_waiting_percent=100 * waited / published.seconds,
    )


async def idle(lab: Lab, *, channels: int) -> Idle:
    """Count what four nodes ask of Redis whose channels have one subscriber each."""
    async with one_redis(lab.directory) as store, joined(store.options, NODES) as members:
        await _subscribe_evenly(members, channels)
        async with Redis.from_url(store.urls[0]) as redis, monitored(store.urls[0]) as monitor:
            return await _overheard(redis, monitor, 1 if lab.quick else _HEARTBEATS)


async def _overheard(redis: Redis, monitor: Monitor, heartbeats: int) -> Idle:
    def beaten(times: int) -> Awaitable[None]:
        return monitor.saw(lambda seen: seen["heartbeat"] >= times, within_s=_HEARTBEATS_WITHIN_S)

    # What follows subscribing is over when every node has sent a heartbeat.
    await beaten(NODES)
    first, second = await redis.info("stats"), await redis.info("stats")
    monitor.clear()
    begun = time.monotonic()
    await beaten(NODES * heartbeats)
    seconds = time.monotonic() - begun
    commands, told = monitor.commands.copy(), monitor.received_bytes
    last = await redis.info("stats")

    def grown(name: str) -> int:
        # Less what asking costs.
        return int((last[name] - second[name]) - (second[name] - first[name]))

    del commands["INFO"]
    known = ("heartbeat", "inspect", "XREAD")
    total = commands.total()
    return Idle(
        commands_per_s=total / seconds,
        heartbeats_per_s=commands["heartbeat"] / seconds,
        inspections_per_s=commands["inspect"] / seconds,
        reads_per_s=commands["XREAD"] / seconds,
        others_per_s=(total - sum(commands[name] for name in known)) / seconds,
        commands_without_sweep_per_s=(total - commands["inspect"]) / seconds,
        received_per_s=grown("total_net_input_bytes") / seconds,
        sent_per_s=(grown("total_net_output_bytes") - told) / seconds,
    )


async def footprint(lab: Lab, *, channels: int) -> Footprint:
    """Measure what channels with one subscriber each hold in Redis and in the nodes."""
    async with one_redis(lab.directory) as store:
        options = _quickly_trimmed(store.options)
        async with joined(options, NODES + 1) as (publisher, *members):
            resident, used = _resident(members), [await store.used_memory()]
            begun = time.monotonic()
            await _subscribe_evenly(members, channels)
            subscribing_s = time.monotonic() - begun
            await asyncio.sleep(_SETTLE_S)
            resident = _resident(members) - resident
            used.append(await store.used_memory())
            await publisher.publish_to_each(Channels(0, channels, history=True))
            await asyncio.sleep(_SETTLE_S)
            used.append(await store.used_memory())
    empty, subscribed, published = used
    return Footprint(
        redis_bytes_per_channel=(subscribed - empty) / channels,
        redis_bytes_per_published=(published - empty) / channels,
        node_bytes_per_channel=resident / channels,
        subscribes_per_s=channels / subscribing_s,
    )


def _quickly_trimmed(options: RedisOptions) -> RedisOptions:
    # What was read shall not count as memory of the channels.
    return msgspec.structs.replace(options, inbox_block_s=0.2, inbox_trim_interval_s=0.1)


async def _subscribe_evenly(members: Sequence[Member], channels: int) -> None:
    each = channels // len(members)
    await asyncio.gather(
        *(
            member.subscribe(Channels(index * each, each, history=True))
            for index, member in enumerate(members)
        )
    )


async def _all_taken(cluster: Cluster, readers: Sequence[Member], count: int) -> None:
    for reader in readers:
        cluster.taken[reader] = cluster.taken.get(reader, 0) + count
    await asyncio.gather(*(reader.has_taken(cluster.taken[reader]) for reader in readers))


def _clock(members: Sequence[Member]) -> machine.Clock:
    return sum((member.clock() for member in members), start=machine.Clock(0, 0))


def _resident(members: Sequence[Member]) -> int:
    return 1024 * sum(member.memory().resident for member in members)
