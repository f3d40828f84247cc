"""What is asked of Redis before it is used, and after every reconnect.

At start: Redis 7 or Valkey, a user that may do what we need, `maxmemory-policy noeviction` (an
evicted interest is silence), and keys that were written in our format. With every connection: the
format again, since Redis may have been emptied or exchanged, the scripts, whether it is still the
process we knew, and whether it holds what it acknowledged (`continuity`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from redis.exceptions import NoPermissionError, ResponseError

from realtime_node.errors import ConfigError, SchemaMismatchError

from .continuity import Continuity
from .keys import Keys
from .link import Link
from .options import RedisOptions
from .permissions import check_permissions, missing_command
from .replies import Reply, array, as_is, data, flag, reading
from .script import ALL_SCRIPTS

_log = logging.getLogger(__name__)

FORMAT: Final = 1
"""Version of the keys and their meaning; entries have their own, see `entries`."""

_OLDEST_MAJOR: Final = 7


class Schema(msgspec.Struct, frozen=True):
    """What all nodes of a cluster have to agree on."""

    format: int
    partitions: int


class Introduction:
    """Introduces this node to each new connection of one shard's `writes` or `reads`."""

    def __init__(
        self,
        options: RedisOptions,
        keys: Keys,
        continuity: Continuity,
        partitions: Sequence[int],
        *,
        on_restart: Callable[[Sequence[int]], None],
    ) -> None:
        """`partitions` are those that the connections are for.

        `on_restart` is told of them when their Redis is another process than before.
        """
        self._partitions = partitions
        self._continuity = continuity
        self._options = options
        self._keys = keys
        self._on_restart = on_restart
        self._run_id = b""
        self._is_first = True

    async def to_writes(self, link: Link) -> None:
        """Raise what forbids to use this Redis: `ConfigError`, `SchemaMismatchError`."""
        server = await self._info(link, b"server")
        if self._is_first:
            self._check_version(server)
            await check_permissions(link, self._options)
            self._check_eviction(await self._info(link, b"memory"))
        for partition in self._partitions:
            await self._check_schema(link, self._keys.partition(partition).schema)
        await load_scripts(link)
        run_id = server.get(b"run_id", b"")
        if not self._is_first and run_id != self._run_id:
            _log.warning("Redis at %s is another process now", self._options.server_name)
            self._on_restart(self._partitions)
        self._run_id = run_id
        self._is_first = False
        await self._continuity.check(link, self._partitions)

    async def to_reads(self, link: Link) -> None:
        """Make sure that no recovery is read from a Redis that has lost writes."""
        await load_scripts(link)
        await self._continuity.check(link, self._partitions)

    async def _info(self, link: Link, section: bytes) -> dict[bytes, bytes]:
        try:
            info = await link.call(b"INFO", section, read=data)
        except ResponseError as error:
            if not isinstance(error, NoPermissionError) and not missing_command(error):
                raise
            _log.warning(
                "there is no INFO for our Redis user: neither version nor maxmemory-policy are"
                " checked, nor are restarts seen"
            )
            return {}
        pairs = (line.partition(b":") for line in info.splitlines())
        return {name: value for name, _, value in pairs}

    def _check_version(self, server: dict[bytes, bytes]) -> None:
        version = server.get(b"redis_version", b"").decode(errors="replace")
        major = version.partition(".")[0]
        if major.isdigit() and int(major) < _OLDEST_MAJOR:
            raise ConfigError(
                f"Redis at {self._options.server_name} is {version}:"
                f" Redis {_OLDEST_MAJOR} or newer, or Valkey, is needed"
            )

    def _check_eviction(self, memory: dict[bytes, bytes]) -> None:
        policy = memory.get(b"maxmemory_policy", b"noeviction").decode(errors="replace")
        if policy != "noeviction":
            raise ConfigError(
                f"Redis at {self._options.server_name} has maxmemory-policy {policy}: it could"
                " evict who is interested in a channel, and publications would vanish silently."
                " Set it: CONFIG SET maxmemory-policy noeviction"
            )

    async def _check_schema(self, link: Link, key: bytes) -> None:
        ours = Schema(format=FORMAT, partitions=self._keys.partitions)
        found = await link.call(b"GET", key, read=_data_or_none)
        if found is None:
            # Only then: a Redis at its maxmemory refuses every SET.
            await link.call(b"SET", key, msgspec.json.encode(ours), b"NX", read=as_is)
            found = await link.call(b"GET", key, read=_data_or_none) or b""
        try:
            theirs = msgspec.json.decode(found, type=Schema)
        except msgspec.DecodeError as error:
            raise SchemaMismatchError(
                f"key {key.decode()} holds {found[:80]!r}, which no release of ours wrote:"
                " set another engine.redis.prefix"
            ) from error
        if theirs != ours:
            raise SchemaMismatchError(
                f"the keys below prefix {self._options.prefix!r} have format {theirs.format} and"
                f" {theirs.partitions} partitions, this node wants format {ours.format} and"
                f" {ours.partitions} partitions: use the same engine.redis.partitions and release"
                " on all nodes, or another engine.redis.prefix"
            )


async def load_scripts(link: Link) -> None:
    """Make all scripts known, so that a call by hash rarely fails.

    Most connections find them all: only what is missing is sent, 64 kB of source at most.
    """
    asked = (b"SCRIPT", b"EXISTS", *(script.sha for script in ALL_SCRIPTS))
    known = await link.call(*asked, read=_flags)
    missing = [script for script, is_known in zip(ALL_SCRIPTS, known, strict=True) if not is_known]
    if not missing:
        return
    await link.write([script.pack_load() for script in missing])
    for script in missing:
        reply = await link.read()
        with reading("SCRIPT LOAD"):
            if reply != script.sha:
                raise ValueError(f"{reply!r} is not the hash of {script.name}")


def _flags(reply: Reply) -> list[bool]:
    flags = [flag(each) for each in array(reply)]
    if len(flags) != len(ALL_SCRIPTS):
        raise ValueError(f"{len(flags)} answers to {len(ALL_SCRIPTS)} questions")
    return flags


def _data_or_none(reply: Reply) -> bytes | None:
    return None if reply is None else data(reply)
