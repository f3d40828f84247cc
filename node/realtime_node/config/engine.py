"""Where the cluster keeps what its nodes share: settings of the engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, unquote

from pydantic import Field, SecretStr, model_validator

from realtime_node.config.addresses import (
    RedisAddress,
    RedisServers,
    Sentinels,
    hosts_and_ports,
)
from realtime_node.config.section import Contradiction, Duration, Form, Section
from realtime_node.config.tls import ClientTls

PREFIX_PATTERN: Final = r"^[A-Za-z0-9_.:-]{1,64}$"
MAX_PARTITIONS: Final = 256
"""In a Redis Cluster every node has three connections for each."""

KeyPrefix = Annotated[
    str,
    Field(pattern=PREFIX_PATTERN),
    Form("text of 1 to 64 letters, digits and _ . : -"),
]


class RedisSettings(Section):
    """Redis (7 or newer) or Valkey."""

    address: RedisAddress = "redis://127.0.0.1:6379"
    """Where Redis listens. User and password may stand in the address, as
    `redis://user:password@host:port`; their own keys, if set, win."""

    user: str = ""
    """User of Redis' access control lists. Empty: the user `default`."""

    password: SecretStr = SecretStr("")
    """Password of the user. Empty: Redis asks for none."""

    sentinel_address: Sentinels = ()
    """Sentinels that know where the primary is, all of one deployment; port 26379 unless said
    otherwise. `address` then only tells the database, and TLS by `rediss://`."""

    sentinel_master_name: str = ""
    """Name under which they know the primary; needed with `sentinel_address`."""

    sentinel_user: str = ""
    """User of the Sentinels' own access control lists. Empty: the user `default`."""

    sentinel_password: SecretStr = SecretStr("")
    """Password that the Sentinels ask for. Empty: none."""

    sentinel_tls: ClientTls = ClientTls()
    """Encryption of the connections to the Sentinels; that to Redis is set by `tls`."""

    cluster_address: RedisServers = ()
    """Some nodes of one Redis Cluster, which know the others; port 6379 unless said otherwise.
    `address` then only tells TLS, by `rediss://`. Centrifugo takes each item of the list for a
    cluster of its own."""

    start_timeout: Duration = timedelta()
    """How long a node that starts waits for Redis. It is not ready meanwhile, and says why; then it
    exits, for whatever has started it to decide. 0: it waits until Redis is there."""

    prefix: KeyPrefix = "realtime"
    """First part of every key, so that several clusters can share one Redis."""

    partitions: Annotated[int, Field(ge=1, le=MAX_PARTITIONS)] = 1
    """Parts that the channels are divided into. 1 unless Redis Cluster is to spread them over its
    primaries: then four for each, at three connections per node and part. All nodes need the same,
    and what is in Redis does not survive a change."""

    tls: ClientTls = ClientTls()
    """Encryption of the connections to Redis, as `rediss://` in the address asks for too."""

    @model_validator(mode="before")
    @classmethod
    def _credentials_from_address(cls, given: Any) -> Any:  # noqa: ANN401 - may be anything
        """Take credentials out of the address, so that it can be logged."""
        address = given.get("address") if isinstance(given, dict) else None
        if isinstance(address, list) and len(address) == 1:
            address = address[0]
        if not isinstance(address, str) or "@" not in address:
            return given
        scheme, separator, rest = address.rpartition("://")
        credentials, _, place = rest.rpartition("@")
        user, _, password = credentials.partition(":")
        found = {"user": unquote(user), "password": unquote(password)}
        return {**given, **found, "address": scheme + separator + place} | {
            key: given[key] for key in found if given.get(key)
        }

    def contradictions(self) -> Iterable[Contradiction]:
        """Redis is found in one way, and what that way has no use for is not set."""
        yield from self._contradictions_of_tls()
        if self.sentinel_address and not self.sentinel_master_name:
            yield Contradiction("sentinel_master_name", "Sentinel needs it: set it")
        if self.sentinel_address and self._is_socket:
            yield Contradiction("address", "Sentinel names the address: leave it out")
        if not self.cluster_address:
            return
        if self.sentinel_address:
            problem = "a Redis Cluster has no Sentinel: leave this or sentinel_address out"
            yield Contradiction("cluster_address", problem)
        if self._is_socket:
            yield Contradiction("address", "cluster_address says where Redis is: leave it out")
        elif self.address.count("/") > 2 and not self.address.endswith("/0"):  # noqa: PLR2004 - of ://
            problem = "a Redis Cluster has no other database than 0: leave it out"
            yield Contradiction("address", problem)

    def _contradictions_of_tls(self) -> Iterable[Contradiction]:
        """What is set for TLS would silently have no effect where none is spoken."""
        if self.tls.enabled and self._is_socket:
            yield Contradiction("tls.enabled", "a unix socket has no TLS: leave it out")
        elif self.tls.is_described and not self.speaks_tls:
            problem = "the other settings of engine.redis.tls need it: set it to true"
            yield Contradiction("tls.enabled", problem)
        if self.sentinel_tls.is_described and not self.sentinel_tls.enabled:
            problem = "the other settings of engine.redis.sentinel_tls need it: set it to true"
            yield Contradiction("sentinel_tls.enabled", problem)

    @property
    def _is_socket(self) -> bool:
        return self.address.startswith("unix:")

    @property
    def speaks_tls(self) -> bool:
        """Whether the connections to Redis are encrypted."""
        return self.tls.enabled or self.address.startswith("rediss:")

    @property
    def sentinels(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each Sentinel."""
        return hosts_and_ports(self.sentinel_address)

    @property
    def cluster_nodes(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each node of the Redis Cluster that is named."""
        return hosts_and_ports(self.cluster_address)

    @property
    def url(self) -> str:
        """The address with scheme and credentials as redis-py wants them: never log it."""
        scheme, _, place = self.address.partition("://")
        if self.tls.enabled:
            scheme = "rediss"
        credentials = quote(self.user, safe="")
        if password := self.password.get_secret_value():
            credentials += ":" + quote(password, safe="")
        return f"{scheme}://{credentials}@{place}" if credentials else f"{scheme}://{place}"


class EngineSettings(Section):
    """The backplane: how a publication reaches the subscribers of every node."""

    type: Literal["memory", "redis"] = "memory"
    """`redis` joins all nodes with the same Redis into one cluster. `memory` is one node by itself,
    which forgets everything when it ends: for trying things out and for tests."""

    redis: RedisSettings = RedisSettings()

    def warnings(self) -> Iterator[str]:
        """What is allowed and yet likely a mistake, or a risk to be aware of; one line each."""
        redis = self.redis
        if self.type == "memory":
            return
        for name, tls in (("tls", redis.tls), ("sentinel_tls", redis.sentinel_tls)):
            if tls.insecure_skip_verify:
                yield f"engine.redis.{name}.insecure_skip_verify: any certificate is believed"
        if redis.cluster_nodes and redis.partitions == 1:
            yield (
                "engine.redis.partitions is 1: one primary of the Redis Cluster does all the work;"
                " four for each primary spread it evenly"
            )
