"""The file of settings that a cluster's nodes read, and the secrets that are laid over it.

The file is mounted from a ConfigMap per revision: what nodes reload is changed in place, and what
they do not comes with a new revision and so with a new ConfigMap. A node of an old revision that
restarts finds the settings it was made for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from realtime_operator.build.names import Owner, admin_secret_name, metadata, settings_name
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec, SecretKeyRef

PUBLIC_PORT: Final = 8000
INTERNAL_PORT: Final = 9000
FILE: Final = "settings.json"
ADMIN_KEY: Final = "key"
"""Key within the Secret that the operator makes."""

NEEDS_RESTART: Final = (
    "engine",
    "client.proxy.refresh.enabled",
    "client.ping_interval",
    "client.session",
    "client.api_subscriptions.kept",
    "websocket.handler_prefix",
    "admission.cluster_connects_per_second",
    "admission.handshake_timeout",
)
"""Settings, or sections with all of theirs, that a running node does not take over; the node says
which they are, and a test holds this equal. A change of any other reaches the nodes in place."""

ADMIN_KEY_VARIABLE: Final = "REALTIME_NODE_ADMIN__KEY"

SPARE_S: Final = 15
"""Of the grace period, what ending takes after the last client was sent away."""


def grace_period_s(spec: RealtimeClusterSpec) -> int:
    """What a node may take to end when Kubernetes asks it to: the same drain as the operator's."""
    return spec.drain.propagation_seconds + spec.drain.window_seconds + SPARE_S


def settings_document(spec: RealtimeClusterSpec, grace_s: int | None = None) -> dict[str, Any]:
    """The settings as the node reads them.

    They are the user's, above what the rest of the spec suggests, and below what Pods, Services and
    drains build on. `grace_s` is the least grace period of the Pods that read them, the spec's if
    None: one that runs keeps its own, and would be killed in the middle of a longer drain.
    """
    ends_within_s = grace_period_s(spec) if grace_s is None else min(grace_s, grace_period_s(spec))
    suggested = {
        "engine": {"type": "redis"},
        "admission": {"max_connections": spec.capacity.max_connections},
    }
    per_node = spec.reconnect_budget.connections_per_second_per_node
    owned = {
        "http_server": {"port": PUBLIC_PORT, "internal_port": INTERNAL_PORT},
        "shutdown": {"timeout": f"{max(1, ends_within_s - SPARE_S // 3)}s"},
        "drain": {"propagation": f"{spec.drain.propagation_seconds}s"},
        "reconnect_budget": {"connections_per_second_per_node": per_node},
    }
    return _merged(_merged(suggested, spec.node), owned)


def config_map(
    owner: Owner, spec: RealtimeClusterSpec, revision: str, grace_s: int | None = None
) -> dict[str, Any]:
    """The ConfigMap with the settings of a revision, whose Pods have `grace_s` to end at least."""
    document = json.dumps(settings_document(spec, grace_s), indent=1, sort_keys=True)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(owner, settings_name(owner.name, revision), "node"),
        "data": {FILE: document + "\n"},
    }


def admin_key_ref(cluster: str, spec: RealtimeClusterSpec) -> SecretKeyRef:
    """Where the key is by which nodes let themselves be drained."""
    own = SecretKeyRef(name=admin_secret_name(cluster), key=ADMIN_KEY)
    return spec.secrets.admin_key_secret_ref or own


def secret_variables(cluster: str, spec: RealtimeClusterSpec) -> dict[str, SecretKeyRef]:
    """Variables of the node's environment that come from Secrets."""
    redis, keys = spec.engine.redis, spec.secrets
    given = {
        "REALTIME_NODE_ENGINE__REDIS__ADDRESS": redis.address_secret_ref,
        "REALTIME_NODE_ENGINE__REDIS__PASSWORD": redis.password_secret_ref,
        "REALTIME_NODE_ENGINE__REDIS__SENTINEL_PASSWORD": redis.sentinel_password_secret_ref,
        "REALTIME_NODE_HTTP_API__KEY": keys.api_key_secret_ref,
        "REALTIME_NODE_CLIENT__TOKEN__HMAC_SECRET_KEY": keys.token_hmac_secret_ref,
        "REALTIME_NODE_CLIENT__SUBSCRIPTION_TOKEN__HMAC_SECRET_KEY": (
            keys.subscription_token_hmac_secret_ref
        ),
        "REALTIME_NODE_CLIENT__TOKEN__HMAC_PREVIOUS_SECRET_KEY": (
            keys.token_hmac_previous_secret_ref
        ),
        "REALTIME_NODE_CLIENT__SUBSCRIPTION_TOKEN__HMAC_PREVIOUS_SECRET_KEY": (
            keys.subscription_token_hmac_previous_secret_ref
        ),
        ADMIN_KEY_VARIABLE: admin_key_ref(cluster, spec),
    }
    return {name: reference for name, reference in given.items() if reference}


def restart_settings(node: Mapping[str, Any]) -> dict[str, Any]:
    """What of `spec.node` needs other nodes when it changes, by dotted key."""
    found = {key: _at(node, key.split(".")) for key in NEEDS_RESTART}
    return {key: value for key, value in found.items() if value is not None}


def _at(section: Mapping[str, Any], path: Sequence[str]) -> Any:  # noqa: ANN401 - whatever it is
    value: Any = section
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        inner = result.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        result[key] = _merged(inner, value) if both and isinstance(inner, Mapping) else value
    return result
