"""What every node of the cluster is told: the settings somebody gave, made whole for development.

Pure: given settings, ports and secrets go in; the values of each node's file of settings come out.
What was given always wins, but for the engine, the ports and the names, which belong to the
cluster. Nothing that was given is opened further: whoever brings channels of their own finds just
these, and beside them the namespace of the chat page.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Self

from pydantic import SecretStr

from realtime_node.config import Settings
from realtime_node.config.section import Section
from realtime_node.dev.demo import NAMESPACE
from realtime_node.dev.ports import LOOPBACK

PREFIX: Final = "realtime-dev"
"""Of keys in Redis: a cluster that may be there, too, is left alone."""
SHUTDOWN_TIMEOUT: Final = "5s"
"""Who presses Ctrl-C is waiting."""

OPEN_CHANNELS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "history_size": 100,
        "history_ttl": "300s",
        "force_recovery": True,
        "presence": True,
        "join_leave": True,
        "force_push_join_leave": True,
        "allow_subscribe_for_client": True,
        "allow_publish_for_client": True,
        "allow_history_for_subscriber": True,
        "allow_presence_for_subscriber": True,
    }
)
"""Channels in which everything can be tried out, by everybody who has a token."""

LOCAL_ORIGINS: Final = ("http://localhost:*", "http://127.0.0.1:*")
"""Pages that a developer serves on this machine may connect."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that all nodes share."""

    value: str
    is_given: bool
    """It is somebody's own, and so no business of the terminal's."""

    @classmethod
    def given_or_new(cls, given: SecretStr) -> Self:
        """Keep a secret that was given, else make one up."""
        value = given.get_secret_value()
        return cls(value or secrets.token_hex(32), is_given=bool(value))


@dataclass(frozen=True, slots=True)
class Secrets:
    """Everything that is needed to use the cluster."""

    hmac_secret_key: Secret
    api_key: Secret

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Take those that were given, and make up what is missing."""
        return cls(
            Secret.given_or_new(settings.client.token.hmac_secret_key),
            Secret.given_or_new(settings.http_api.key),
        )


@dataclass(frozen=True, slots=True)
class NodePlace:
    """A node's name and where it listens."""

    name: str
    address: str
    port: int
    internal_port: int | None
    """None: all is served on `port`."""

    @property
    def internal_url(self) -> str:
        """Where the HTTP API and `/status` are, seen from this machine."""
        if self.internal_port is not None:
            return f"http://{LOOPBACK}:{self.internal_port}"
        return self.public_url

    @property
    def public_url(self) -> str:
        """Where the chat page is, seen from this machine."""
        host = LOOPBACK if self.address in ("", "0.0.0.0", "::") else self.address  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def node_values(
    given: Settings, place: NodePlace, redis_url: str, shared: Secrets
) -> dict[str, Any]:
    """Return a node's settings as they stand in its file: plain values, with secrets."""
    values = _explicit(given)
    redis = values.get("engine", {}).get("redis", {})
    client = values.setdefault("client", {})
    values["engine"] = {
        "type": "redis",
        "redis": {
            "prefix": redis.get("prefix", PREFIX),
            "partitions": redis.get("partitions", 1),
            "address": redis_url,
        },
    }
    values["http_server"] = {"address": place.address, "port": place.port}
    if place.internal_port is not None:
        values["http_server"] |= {
            "internal_address": LOOPBACK,
            "internal_port": place.internal_port,
        }
    values["node"] = {"name": place.name}
    values.setdefault("http_api", {})["key"] = shared.api_key.value
    client.setdefault("token", {})["hmac_secret_key"] = shared.hmac_secret_key.value
    client.setdefault("allowed_origins", LOCAL_ORIGINS)
    values["channel"] = _channels(values.get("channel"), given)
    values.setdefault("shutdown", {"timeout": SHUTDOWN_TIMEOUT})
    # No balancer stands before these nodes.
    values.setdefault("drain", {"propagation": "0s"})
    return values


def _channels(values: dict[str, Any] | None, given: Settings) -> dict[str, Any]:
    """Return the channels that were given, or open ones; the chat page's among them."""
    if values is None:
        values = {"without_namespace": dict(OPEN_CHANNELS)}
    names = {namespace.name for namespace in given.channel.namespaces}
    if given.channel.namespace_boundary and NAMESPACE not in names:
        chat = {"name": NAMESPACE, **OPEN_CHANNELS}
        values["namespaces"] = [*values.get("namespaces", ()), chat]
    return values


def _explicit(section: Section) -> dict[str, Any]:
    """Return what was given in a section, as plain values; defaults are left out."""
    values = section.model_dump(exclude_unset=True)
    return {name: _reveal(value) for name, value in values.items()}


def _reveal(value: object) -> Any:  # noqa: ANN401 - any setting
    match value:
        case SecretStr():
            return value.get_secret_value()
        case dict():
            return {name: _reveal(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_reveal(inner) for inner in value]
        case _:
            return value
