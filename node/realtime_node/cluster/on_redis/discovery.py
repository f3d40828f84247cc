"""Where the primary is: the configured address, or what Sentinel or a Redis Cluster says just now.

Asked before every connection, so that a reconnect finds the successor. The answer may be old: a
Sentinel may still name a primary that has been demoted, a node of a cluster may not know yet who
serves a slot. Such a connection refuses what is asked on it, is given up, and the next one is asked
for again.
"""

from __future__ import annotations

import asyncio
import itertools
from functools import partial
from typing import NamedTuple

import msgspec
from redis.exceptions import ConnectionError as RedisConnectionError

from .keys import Keys
from .link import CONNECTION_FAILURES, Discover, connect, describe_failure, explained
from .options import Address, RedisOptions
from .replies import Reply, array, number, text
from .shared_call import SharedCall


class Place(NamedTuple):
    """Partitions that live together, and how their primary is found."""

    partitions: tuple[int, ...]
    discover: Discover


def places(options: RedisOptions, keys: Keys) -> list[Place]:
    """Where the partitions are: in a Redis Cluster each has a slot of its own, else all are one."""
    partitions = tuple(range(keys.partitions))
    if options.cluster_nodes:
        cluster = ClusterMap(options)
        return [
            Place((each,), partial(cluster.primary_of, keys.slot_of(each))) for each in partitions
        ]
    if options.sentinels:
        return [Place(partitions, Sentinels(options).primary)]
    return [Place(partitions, partial(_configured, options))]


async def _configured(options: RedisOptions) -> Address:
    return options.endpoint


class Sentinels:
    """Asks Sentinels which server is the primary.

    They are asked in turn, as the nodes of a cluster are. Bounds: each once, for a third of
    `connect_timeout_s`.
    """

    def __init__(self, options: RedisOptions) -> None:
        self._options = options
        self._turns = itertools.cycle(options.sentinels)
        # To a Sentinel we speak as to a Redis, with what is set for Sentinels.
        self._asking = msgspec.structs.replace(
            options,
            address="redis://",
            user=options.sentinel_user,
            password=options.sentinel_password,
            tls=options.sentinel_tls,
            db=0,
        )

    async def primary(self) -> Address:
        """Return where it is; raises redis' `ConnectionError` that says why nobody knows."""
        name = self._options.sentinel_master
        failures: list[str] = []
        for _ in self._options.sentinels:
            host, port = next(self._turns)
            try:
                place = await self._ask(host, port)
            except CONNECTION_FAILURES as error:
                failures.append(f"Sentinel {host}:{port}: {describe_failure(error)}")
                continue
            if place is not None:
                host, port = place
                return self._options.endpoint._replace(host=host, port=port, path="")
            failures.append(f"Sentinel {host}:{port} knows no primary {name!r}")
        raise RedisConnectionError("; ".join(failures))

    async def _ask(self, host: str, port: int) -> tuple[str, int] | None:
        async with asyncio.timeout(self._options.connect_timeout_s / 3):
            address = self._asking.endpoint._replace(host=host, port=port)
            link = await connect(self._asking, address)
            try:
                with explained(self._asking):
                    return await link.call(
                        b"SENTINEL",
                        b"GET-MASTER-ADDR-BY-NAME",
                        self._options.sentinel_master,
                        read=_read_place,
                    )
            finally:
                await link.abort()


def _read_place(reply: Reply) -> tuple[str, int] | None:
    if reply is None:
        return None
    host, port = reply
    return text(host), number(port)


class _Range(NamedTuple):
    """Slots and who serves them."""

    first: int
    last: int
    primary: tuple[str, int]


class _Map(NamedTuple):
    """What a node of a Redis Cluster knows of all."""

    ranges: list[_Range]
    nodes: list[tuple[str, int]]


class ClusterMap:
    """Asks the nodes of a Redis Cluster which of them serves a slot.

    They are asked in turn, so that one that is dead, or knows less than the others, is not asked
    again at once. Whoever wants to know while a question is out shares its answer. Bounds: one
    question at a time, each node once, for a third of `connect_timeout_s` each.
    """

    def __init__(self, options: RedisOptions) -> None:
        self._options = options
        self._nodes = list(options.cluster_nodes)
        self._turns = itertools.count()
        self._ranges = SharedCall(self._ask, name="redis-cluster")

    async def primary_of(self, slot: int) -> Address:
        """Return who serves a slot; raises one of `CONNECTION_FAILURES` if nobody says."""
        for served in await self._ranges():
            if served.first <= slot <= served.last:
                return self._address(*served.primary)
        raise RedisConnectionError(f"no node of the Redis Cluster serves slot {slot}")

    def _address(self, host: str, port: int) -> Address:
        return self._options.endpoint._replace(host=host, port=port, path="")

    async def _ask(self) -> list[_Range]:
        failure: BaseException = RedisConnectionError("the Redis Cluster has no nodes")
        for _ in self._nodes:
            host, port = self._nodes[next(self._turns) % len(self._nodes)]
            try:
                async with asyncio.timeout(self._options.connect_timeout_s / 3):
                    link = await connect(self._options, self._address(host, port), "cluster")
                    try:
                        found = await link.call(
                            b"CLUSTER", b"SLOTS", read=partial(parse_slots, asked=host)
                        )
                    finally:
                        await link.abort()
            except CONNECTION_FAILURES as error:
                failure = error
                continue
            self._nodes = list(dict.fromkeys((*found.nodes, *self._options.cluster_nodes)))
            return found.ranges
        raise failure


def parse_slots(reply: Reply, asked: str) -> _Map:
    """Read what CLUSTER SLOTS answers: who serves what, and all nodes.

    A node that does not know its own address means the one that it was `asked` at.
    """
    ranges: list[_Range] = []
    nodes: list[tuple[str, int]] = []
    for first, last, *servers in array(reply):
        places = [(text(server[0] or b"") or asked, number(server[1])) for server in servers]
        nodes += [place for place in places if place[0] != "?"]
        if places and places[0][0] != "?":
            ranges.append(_Range(number(first), number(last), places[0]))
    return _Map(ranges, nodes)
