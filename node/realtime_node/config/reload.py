"""What may change while a node runs: which keys of new settings count at once, and which do not.

Every key stands in exactly one of two tables here (a test holds that). A key in `LIVE` counts from
the moment of a reload; one in `NEEDS_RESTART` keeps its old value until the node starts anew, for
the reason that stands beside it. Lists of sections are compared as wholes.

Pure: `compare` says what a reload would do; `composition.applying` does it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from realtime_node.config.problems import config_error, explain
from realtime_node.config.section import Section
from realtime_node.config.settings import Settings
from realtime_node.config.tree import Path, dotted

_PROXY: Final = (
    "endpoint timeout http_headers emulated_headers binary_encoding max_concurrency queue_limit"
    " max_response_size"
)
_PROXY_HTTP: Final = "static_headers status_to_code_transforms"
_PROXY_TLS: Final = "enabled cert_pem key_pem server_ca_pem server_name insecure_skip_verify"
_STATUS: Final = "status_code"
_ERROR: Final = "code message temporary"
_CLOSE: Final = "code reason"
_CHANNEL: Final = (
    "history_size history_ttl history_meta_ttl force_positioning allow_positioning force_recovery"
    " allow_recovery presence presence_grace join_leave force_push_join_leave"
    " allow_subscribe_for_client allow_subscribe_for_anonymous allow_publish_for_client"
    " allow_publish_for_subscriber allow_publish_for_anonymous allow_presence_for_client"
    " allow_presence_for_subscriber allow_presence_for_anonymous allow_history_for_client"
    " allow_history_for_subscriber allow_history_for_anonymous allow_user_limited_channels"
    " subscribe_proxy_enabled subscribe_proxy_name publish_proxy_enabled publish_proxy_name"
    " sub_refresh_proxy_enabled sub_refresh_proxy_name stagger"
)
_SLOW_CLIENT: Final = "policy max_messages max_bytes max_age key may_lose"
_BATCH: Final = "interval max_messages max_bytes"


def _proxy(place: str, more: str = "") -> dict[str, str]:
    """The keys of a proxy and of all its sections."""
    transforms = f"{place}.http.status_to_code_transforms[]"
    return {
        place: f"{_PROXY} {more}".rstrip(),
        f"{place}.http": _PROXY_HTTP,
        f"{place}.http.tls": _PROXY_TLS,
        transforms: _STATUS,
        f"{transforms}.to_error": _ERROR,
        f"{transforms}.to_disconnect": _CLOSE,
    }


LIVE: Final[Mapping[str, str]] = {
    "": "proxies",
    "http_api": "key insecure body_size_limit history_max_publication_limit",
    "client": (
        "insecure allowed_origins allow_anonymous_connect_without_token"
        " disallow_anonymous_connection_tokens connect_include_server_time pong_timeout"
        " stale_close_delay channel_limit user_connection_limit queue_max_size queues_max_size"
        " write_timeout command_rate command_burst history_max_publication_limit"
        " recovery_max_publication_limit presence_max_clients"
    ),
    "client.token": "hmac_secret_key hmac_previous_secret_key audience issuer",
    "client.subscription_token": (
        "enabled hmac_secret_key hmac_previous_secret_key audience issuer"
    ),
    **_proxy("client.proxy.connect", "enabled cache_ttl"),
    **_proxy("client.proxy.refresh"),
    "client.api_subscriptions": "limit",
    "websocket": (
        "message_size_limit compression compression_min_size compression_level high_water_mark"
        " send_buffer_size unsent_low_water_mark"
    ),
    "admission": (
        "max_connections connects_per_second burst wait max_waiting per_ip_connects_per_second"
        " per_ip_burst trusted_proxies proxy_header shed_loop_lag retry_after_min retry_after_max"
    ),
    "channel": (
        "max_length private_prefix namespace_boundary user_boundary user_separator"
        " history_meta_ttl namespaces"
    ),
    **_proxy("channel.proxy.subscribe", "cache_ttl"),
    **_proxy("channel.proxy.publish"),
    **_proxy("channel.proxy.sub_refresh"),
    "channel.without_namespace": _CHANNEL,
    "channel.without_namespace.slow_client": _SLOW_CLIENT,
    "channel.without_namespace.batch": _BATCH,
    "channel.namespaces[]": f"name {_CHANNEL}",
    "channel.namespaces[].slow_client": _SLOW_CLIENT,
    "channel.namespaces[].batch": _BATCH,
    "rpc": "namespace_boundary namespaces",
    **_proxy("rpc.proxy"),
    "rpc.without_namespace": "proxy_enabled proxy_name",
    "rpc.namespaces[]": "name proxy_enabled proxy_name",
    **_proxy("proxies[]", "name cache_ttl"),
    "log": "level",
    "shutdown": "timeout failing_after",
    "drain": "propagation",
    "reconnect_budget": "connections_per_second_per_node",
    "admin": "key",
}
"""Keys that count at once, by their section."""

NEEDS_RESTART: Final[Mapping[str, str]] = {
    "http_server": "the ports are open",
    "engine": "the node is a member of a cluster and keeps its place in it",
    "client.proxy.refresh.enabled": "clients were told at their connect who renews it",
    "client.ping_interval": "clients were told at their connect how often to expect a ping",
    "client.session": "sessions that wait for their clients do so by one rule",
    "client.api_subscriptions.kept": "what is kept for users was kept by one rule",
    "websocket.handler_prefix": "the port serves this path",
    "admission.cluster_connects_per_second": "the node leases its part of this rate",
    "admission.handshake_timeout": "the port was opened with it",
    "node.name": "the other nodes know it",
}
"""Keys, or sections with all their keys, that do not, and why."""


class Kept(NamedTuple):
    """A key whose new value does not count yet."""

    key: str
    reason: str


class Reload(NamedTuple):
    """What new settings come to in a running node."""

    settings: Settings
    """What it goes by from now on."""
    changed: tuple[str, ...]
    """Keys that count at once."""
    needs_restart: tuple[Kept, ...]
    """Keys that do not: their old values are in `settings`."""


def compare(running: Settings, wanted: Settings) -> Reload:
    """Return what a node that goes by `running` makes of the settings that are `wanted` now.

    Raises `ConfigError` if what counts at once contradicts what needs a restart.
    """
    different = list(_different(running, wanted, ()))
    kept = {path: reason for path in different if (reason := why_restart(path))}
    changed = tuple(dotted(path) for path in different if path not in kept)
    needs_restart = tuple(Kept(dotted(path), reason) for path, reason in kept.items())
    if not kept:
        return Reload(wanted, changed, ())
    merged = _merge(running, wanted, (), frozenset(kept))
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        source: dict[Path, str] = {
            (): f"together with the old {', '.join(map(dotted, kept))}, until a restart"
        }
        raise config_error(explain(error, merged, source)) from None
    return Reload(settings, changed, needs_restart)


def why_restart(path: Path) -> str:
    """Return why a key needs a restart; empty if it does not."""
    for length in range(len(path), 0, -1):
        reason = NEEDS_RESTART.get(dotted(path[:length]))
        if reason is not None:
            return reason
    return ""


def live_keys() -> frozenset[str]:
    """Every key in `LIVE`, in full."""
    return frozenset(
        f"{section}.{name}".lstrip(".") for section, names in LIVE.items() for name in names.split()
    )


def revision(settings: Settings) -> str:
    """Name settings by what they say, but for what is secret and what names the node."""
    said = settings.model_dump_json(exclude={"node": {"name"}})
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def _different(running: Section, wanted: Section, place: Path) -> Iterator[Path]:
    """Every key that is not the same; a list of sections is one key."""
    for name in type(running).model_fields:
        old, new = getattr(running, name), getattr(wanted, name)
        if isinstance(old, Section):
            yield from _different(old, new, (*place, name))
        elif old != new:
            yield (*place, name)


def _merge(running: Section, wanted: Section, place: Path, kept: frozenset[Path]) -> dict[str, Any]:
    """The wanted values, but for those that are kept; sections are whole where none is kept."""
    merged: dict[str, Any] = {}
    for name in type(wanted).model_fields:
        path = (*place, name)
        old, new = getattr(running, name), getattr(wanted, name)
        if path in kept:
            merged[name] = old
        elif isinstance(new, Section) and any(each[: len(path)] == path for each in kept):
            merged[name] = _merge(old, new, path, kept)
        else:
            merged[name] = new
    return merged
