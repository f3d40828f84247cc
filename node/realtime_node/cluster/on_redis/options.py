"""What the Redis backplane can be told, as plain values; `engine` maps the settings onto it."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec
from redis.asyncio.connection import parse_url

from realtime_node.certificates import TlsOptions
from realtime_node.cluster.allowance import RECONNECTS_PER_S
from realtime_node.config.addresses import REDIS_PORT
from realtime_node.config.engine import MAX_PARTITIONS, PREFIX_PATTERN
from realtime_node.errors import ConfigError

_PREFIX: Final = re.compile(PREFIX_PATTERN)


class Address(NamedTuple):
    """Where Redis listens: a Unix socket's `path`, or `host` and `port`."""

    host: str
    port: int
    path: str
    db: int | None
    user: str
    password: str
    tls: bool


class RedisOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the Redis backplane is told; the defaults are what production wants."""

    address: str = "redis://127.0.0.1:6379"
    """`redis://`, `rediss://` (TLS) or `unix://` URL, or `host:port`."""
    user: str = ""
    """ACL user; empty: the one of the address, else Redis' default user."""
    password: str = ""
    db: int = 0
    """Number of the logical database, unless the address names one."""
    tls: TlsOptions | None = None
    """Speaks TLS whatever the address says; None: only for `rediss://`."""
    sentinel_tls: TlsOptions | None = None
    """Speaks TLS with the Sentinels."""

    sentinels: tuple[tuple[str, int], ...] = ()
    """Host and port of Sentinels that know where the primary is; the address then only tells
    credentials, database and TLS."""
    sentinel_master: str = ""
    """The name under which they know it."""
    sentinel_user: str = ""
    sentinel_password: str = ""

    cluster_nodes: tuple[tuple[str, int], ...] = ()
    """Host and port of some nodes of a Redis Cluster, which know the others; the address then only
    tells credentials and TLS."""

    prefix: str = "realtime"
    """First part of every key: one Redis may serve several clusters."""
    partitions: int = 1
    """Slots that channels are spread over; more than 1 only helps on Redis Cluster."""

    connect_timeout_s: float = 3.0
    """Reaching Redis and introducing ourselves."""
    command_timeout_s: float = 3.0
    """From the moment a command is asked for to its answer; then it is reported unavailable."""
    command_queue_limit: int = 16_384
    """Commands waiting for one connection; the next one is refused at once."""
    command_queue_bytes: int = 64 * 1024 * 1024
    """Bytes of such commands together; the next one is refused at once."""
    start_timeout_s: float = 0.0
    """How long a node waits for Redis when it starts; 0: until it is there."""
    reconnect_max_delay_s: float = 2.0
    """Upper end of the jittered pause before the next try to connect."""

    heartbeat_interval_s: float = 3.0
    lease_s: float = 10.0
    """Silence after which the others declare a node dead. The same on all nodes."""
    suspicion_s: float = 3.0
    """What such a node is given to beat again, once another suspects it."""
    release_linger_s: float = 5.0
    """How long interest outlives the last local subscriber, so that a reload of a page is free."""

    reconnects_per_s: float = RECONNECTS_PER_S
    """The reconnect budget for each node that accepts clients, until another was set at run
    time."""

    inbox_limit: int = 100_000
    """Entries of a node's inbox; older ones are lost to a node that lags so far behind."""
    inbox_bytes: int = 64 * 1024 * 1024
    """Memory of a node's inbox in Redis; beyond it the oldest entries are lost to the node. It is
    looked at now and then, so an inbox may be larger by some hundred entries."""
    inbox_read_count: int = 512
    """Entries taken with one read."""
    inbox_block_s: float = 5.0
    """How long one read waits; also how soon a dead connection is noticed, plus a timeout."""
    inbox_trim_interval_s: float = 1.0
    inbox_trim_entries: int = 1000
    """What was read is trimmed after so many entries or so much time, whatever is first."""

    sweep_interval_s: float = 1.0
    sweep_channels: int = 10
    """Channels compared with Redis per interval; more, if a round would take over ten minutes."""

    route_cache_size: int = 20_000
    """Channels whose interested nodes a publisher remembers; the least used is forgotten."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for values that no cluster can work with."""
        parse_address(self.address)
        if not _PREFIX.fullmatch(self.prefix):
            raise ConfigError(
                f"redis prefix is {self.prefix!r}: up to 64 letters, digits and _ . : - are allowed"
            )
        if not 1 <= self.partitions <= MAX_PARTITIONS:
            raise ConfigError(
                f"redis partitions is {self.partitions}: from 1 to {MAX_PARTITIONS} are allowed"
            )
        if self.sentinels and not self.sentinel_master:
            raise ConfigError(
                "redis sentinels are named without the name of the primary they watch"
            )
        if self.cluster_nodes:
            self._check_cluster()
        if self.lease_s < 3 * self.heartbeat_interval_s:
            raise ConfigError(
                f"redis lease is {self.lease_s} s: at least three heartbeats of"
                f" {self.heartbeat_interval_s} s must fit into it"
            )

    def _check_cluster(self) -> None:
        address = self.endpoint
        if self.sentinels:
            raise ConfigError("redis cluster nodes and sentinels are named: only one can be asked")
        if address.path:
            raise ConfigError("redis cluster nodes are named: its address cannot be a unix socket")
        if self.db if address.db is None else address.db:
            raise ConfigError("redis cluster nodes are named: a Redis Cluster has only database 0")

    @property
    def user_in_use(self) -> str:
        """Whom Redis knows us as."""
        return self.user or self.endpoint.user or "default"

    @property
    def tls_in_use(self) -> TlsOptions | None:
        """How TLS is spoken with Redis; None: not at all."""
        return self.tls or (TlsOptions() if self.endpoint.tls else None)

    def __repr__(self) -> str:
        """Name the server and the keys, never the password."""
        return f"RedisOptions({self.server_name}, prefix={self.prefix!r})"

    @property
    def server_name(self) -> str:
        """The server as it may be written into a log: without user and password."""
        if self.sentinels:
            return f"primary {self.sentinel_master} of Sentinel"
        if self.cluster_nodes:
            nodes = ", ".join(f"{host}:{port}" for host, port in self.cluster_nodes)
            return f"the Redis Cluster of {nodes}"
        address = self.endpoint
        return address.path or f"{address.host}:{address.port}"

    @property
    def endpoint(self) -> Address:
        """The parts of `address`; raises `ConfigError` when it is none."""
        return parse_address(self.address)


def parse_address(address: str) -> Address:
    """Take a Redis URL or `host:port` apart; raises `ConfigError` for anything else."""
    url = address if "://" in address else f"redis://{address}"
    scheme = url.partition("://")[0]
    try:
        parts: dict[str, Any] = {**parse_url(url)}
    except ValueError as error:
        raise ConfigError(
            "redis address cannot be read: redis://[user:password@]host:port[/db], rediss://…,"
            " unix:///path/to/socket and host:port are allowed"
        ) from error
    unix = scheme == "unix"
    if unix and not parts.get("path"):
        raise ConfigError("redis address names no socket: unix:///path/to/socket is allowed")
    return Address(
        host=parts.get("host", "127.0.0.1"),
        port=parts.get("port", REDIS_PORT),
        path=parts.get("path", "") if unix else "",
        db=parts.get("db"),
        user=parts.get("username", ""),
        password=parts.get("password", ""),
        tls=scheme == "rediss",
    )
