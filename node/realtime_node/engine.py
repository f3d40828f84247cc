"""Which engine a node runs on: the settings choose an implementation of the backplane here.

The only code that knows the implementations: it maps the settings of `engine` onto what each can be
told, and reads certificates, so that a wrong one is found before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from realtime_node.certificates import client_context, tls_options
from realtime_node.cluster.allowance import RECONNECTS_PER_S, Allowance, ReconnectBudget
from realtime_node.cluster.backplane import Backplane
from realtime_node.cluster.in_memory.backplane import InMemoryBackplane
from realtime_node.cluster.in_memory.cluster import InMemoryCluster
from realtime_node.cluster.on_redis.backplane import RedisBackplane
from realtime_node.cluster.on_redis.options import RedisOptions
from realtime_node.cluster.presence import PresenceStore
from realtime_node.cluster.session_store import SessionStore
from realtime_node.cluster.verdicts import VerdictStore
from realtime_node.config import EngineSettings, RedisSettings
from realtime_node.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What the nodes of a cluster share, as one node uses it; `backplane` starts and closes all."""

    backplane: Backplane
    presence: PresenceStore
    sessions: SessionStore
    verdicts: VerdictStore
    reconnects: ReconnectBudget
    connects: Callable[[float], Allowance]
    """Makes the allowance of arrivals at a rate that is the whole cluster's."""


def choose_engine(settings: EngineSettings, metrics: Metrics, *, reconnects_per_s: float) -> Engine:
    """Build what the settings ask for, not started; raises as `check_engine`.

    `reconnects_per_s` is the reconnect budget of a node until another was set at run time.
    """
    node: InMemoryBackplane | RedisBackplane
    if settings.type == "memory":
        node = InMemoryBackplane(InMemoryCluster(), reconnects_per_s=reconnects_per_s)
    else:
        check_engine(settings)
        options = redis_options(settings.redis, reconnects_per_s=reconnects_per_s)
        node = RedisBackplane(options, metrics.backplane)
    return Engine(
        backplane=node,
        presence=node.presence,
        sessions=node.sessions,
        verdicts=node.verdicts,
        reconnects=node.reconnects,
        connects=node.connects,
    )


def check_engine(settings: EngineSettings) -> None:
    """Raise `ConfigError` for certificates and keys that cannot be used; reads their files."""
    if settings.type == "memory":
        return
    options = redis_options(settings.redis)
    for tls in (options.tls_in_use, options.sentinel_tls):
        if tls is not None:
            client_context(tls)


def redis_options(
    redis: RedisSettings, *, reconnects_per_s: float = RECONNECTS_PER_S
) -> RedisOptions:
    """Say the settings as the backplane wants to hear them."""
    return RedisOptions(
        address=redis.url,
        tls=tls_options(redis.tls, "engine.redis.tls") if redis.speaks_tls else None,
        sentinels=redis.sentinels,
        sentinel_master=redis.sentinel_master_name,
        sentinel_user=redis.sentinel_user,
        sentinel_password=redis.sentinel_password.get_secret_value(),
        sentinel_tls=(
            tls_options(redis.sentinel_tls, "engine.redis.sentinel_tls")
            if redis.sentinel_tls.enabled
            else None
        ),
        cluster_nodes=redis.cluster_nodes,
        start_timeout_s=redis.start_timeout.total_seconds(),
        prefix=redis.prefix,
        partitions=redis.partitions,
        reconnects_per_s=reconnects_per_s,
    )
