"""Where the cluster keeps what its nodes share: settings of the engine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, unquote

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from realtime_node.config.section import Contradiction, Form, Section

ADDRESS_FORM: Final = (
    "HOST:PORT, redis://HOST:PORT/DATABASE, rediss://… for TLS, or unix:///PATH/TO/SOCKET"
)

_TCP_ADDRESS: Final = re.compile(
    r"(?P<scheme>redis|rediss)://(?P<host>[^\s:/?#@\[\]]+|\[[0-9a-fA-F:.]+\])"
    r"(:(?P<port>[0-9]{1,5}))?(/(?P<database>[0-9]{0,5}))?",
    re.ASCII,
)
_SOCKET_ADDRESS: Final = re.compile(r"unix:///[^?#]+")


def parse_address(address: object) -> str:
    """Bring an address into the form of a URL with its port.

    Centrifugo takes a list of addresses, which it shards over; a list of one is taken too.
    Raises `ValueError` if the address has another form.
    """
    match address:
        case [str(only)] | str(only):
            text = only if "://" in only else f"redis://{only}"
        case [] | [_, *_]:
            raise ValueError("exactly one address is needed; there is no sharding over several")
        case _:
            raise ValueError("an address is text")
    if _SOCKET_ADDRESS.fullmatch(text):
        return text
    parts = _TCP_ADDRESS.fullmatch(text)
    if not parts or int(parts["port"] or 6379) not in range(1, 65536):
        raise ValueError("the address cannot be understood")
    database = f"/{parts['database']}" if parts["database"] else ""
    return f"{parts['scheme']}://{parts['host']}:{int(parts['port'] or 6379)}{database}"


RedisAddress = Annotated[str, BeforeValidator(parse_address), Form(ADDRESS_FORM)]

_SENTINEL_ADDRESS: Final = re.compile(
    r"(?P<host>[^\s:/?#@\[\],]+|\[[0-9a-fA-F:.]+\])(:(?P<port>[0-9]{1,5}))?", re.ASCII
)


def parse_sentinels(given: object) -> tuple[str, ...]:
    """Bring addresses of Sentinels into the form HOST:PORT.

    As in Centrifugo they may stand in one text, separated by commas. Raises `ValueError`.
    """
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise ValueError("addresses are text")
    addresses: list[str] = []
    for text in ",".join(texts).split(",") if texts else ():
        parts = _SENTINEL_ADDRESS.fullmatch(text.strip())
        if not parts or int(parts["port"] or 26379) not in range(1, 65536):
            raise ValueError("the address cannot be understood")
        addresses.append(f"{parts['host']}:{int(parts['port'] or 26379)}")
    return tuple(addresses)


SentinelAddresses = Annotated[
    tuple[str, ...],
    BeforeValidator(parse_sentinels),
    Form("list of HOST:PORT"),
]

KeyPrefix = Annotated[
    str,
    Field(pattern=r"^[^\s{}]{1,64}$"),
    Form("text of 1 to 64 characters without spaces and braces"),
]


class RedisTls(Section):
    """Encryption of the connections to Redis."""

    enabled: bool = False
    """Speak TLS, as `rediss://` in the address does. Certificates are checked against those that
    the system trusts; `SSL_CERT_FILE` in the environment names others."""


class RedisSettings(Section):
    """Redis (7 or newer) or Valkey."""

    address: RedisAddress = "redis://127.0.0.1:6379"
    """Where Redis listens. User and password may stand in the address, as
    `redis://user:password@host:port`; their own keys, if set, win."""

    user: str = ""
    """User of Redis' access control lists. Empty: the user `default`."""

    password: SecretStr = SecretStr("")
    """Password of the user. Empty: Redis asks for none."""

    sentinel_address: SentinelAddresses = ()
    """Sentinels that know where the primary is, all of one deployment; port 26379 unless said
    otherwise. `address` then only tells database and TLS."""

    sentinel_master_name: str = ""
    """Name under which they know the primary; needed with `sentinel_address`."""

    sentinel_user: str = ""
    """User of the Sentinels' own access control lists. Empty: the user `default`."""

    sentinel_password: SecretStr = SecretStr("")
    """Password that the Sentinels ask for. Empty: none."""

    prefix: KeyPrefix = "realtime"
    """First part of every key, so that several clusters can share one Redis. No braces, which tell
    Redis Cluster where to keep a key."""

    partitions: Annotated[int, Field(ge=1, le=1024)] = 1
    """Parts that the channels are divided into. 1 unless Redis Cluster is to spread them over its
    shards. All nodes need the same, and what is in Redis does not survive a change."""

    tls: RedisTls = RedisTls()

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
        """A socket of the file system has no TLS and no Sentinel, and Sentinel asks for a name."""
        if self.tls.enabled and self.address.startswith("unix:"):
            yield Contradiction("tls.enabled", "a unix socket has no TLS: leave it out")
        if self.sentinel_address and not self.sentinel_master_name:
            yield Contradiction("sentinel_master_name", "Sentinel needs it: set it")
        if self.sentinel_address and self.address.startswith("unix:"):
            yield Contradiction("address", "Sentinel names the address: leave it out")

    @property
    def sentinels(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each Sentinel."""
        parts = (address.rpartition(":") for address in self.sentinel_address)
        return tuple((host.strip("[]"), int(port)) for host, _, port in parts)

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
