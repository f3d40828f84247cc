"""From the settings to proxies: each used endpoint is built once, with its guard and its cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from realtime_node.certificates import Trust, tls_options
from realtime_node.cluster.verdicts import VerdictStore
from realtime_node.config import ProxySettings, Settings
from realtime_node.config.proxies import DEFAULT_PROXY, SubscribeProxy
from realtime_node.proxy.answers import ConnectVerdict, Meaning, SubscribeVerdict
from realtime_node.proxy.backend import Backend
from realtime_node.proxy.cached import Cached, CacheInstruments
from realtime_node.proxy.circuit_breaker import CircuitBreaker
from realtime_node.proxy.guard import GuardedBackend, GuardInstruments, GuardLimits
from realtime_node.proxy.headers import HeaderRule
from realtime_node.proxy.holding import CachedProxy
from realtime_node.proxy.http_backend import Endpoint, HttpBackend
from realtime_node.proxy.keeper import Keeper
from realtime_node.proxy.messages import DisconnectAnswer, ErrorAnswer
from realtime_node.proxy.proxies import Proxies
from realtime_node.proxy.proxy import Proxy
from realtime_node.proxy.rpc_routes import RpcRoutes

_HARMLESS_TWICE = frozenset({"connect", "refresh", "subscribe", "sub_refresh"})
"""Events that are questions; the others do something."""


_PLACES = {
    "connect": "client.proxy.connect",
    "refresh": "client.proxy.refresh",
    "subscribe": "channel.proxy.subscribe",
    "publish": "channel.proxy.publish",
    "sub_refresh": "channel.proxy.sub_refresh",
    "rpc": "rpc.proxy",
}
"""Where the default proxy of each event stands."""


Trusts = Mapping[tuple[str, str], Trust]
"""How backends are verified, by event and name of the proxy; none: as the system does."""


class Instruments(Protocol):
    """Makes the instruments of each proxy; `telemetry.metrics` implements it."""

    def of(self, event: str, name: str) -> GuardInstruments:
        """Those of an endpoint."""

    def cache_of(self, event: str, name: str) -> CacheInstruments:
        """Those of its kept answers."""


class Surroundings(NamedTuple):
    """What proxies are built with, beside the settings."""

    verdicts: VerdictStore
    instruments: Instruments
    trusts: Trusts = MappingProxyType({})
    monotonic: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    open_backend: Callable[[Endpoint], Backend] = HttpBackend


def build_proxies(settings: Settings, around: Surroundings) -> Proxies:
    """Build every proxy that is used; reads no file: `around` has what `read_trusts` read."""
    client = settings.client.proxy
    return Proxies(
        connect=_connect(settings, around) if client.connect.enabled else None,
        refresh=(
            _proxy("refresh", DEFAULT_PROXY, client.refresh, around)
            if client.refresh.enabled
            else None
        ),
        subscribe={
            name: _subscribe(name, proxy, around)
            for name, proxy in _used(settings, "subscribe").items()
        },
        publish=_plain(settings, "publish", around),
        sub_refresh=_plain(settings, "sub_refresh", around),
        rpc=_rpc(settings, around),
    )


def same_proxies(one: Settings, other: Settings) -> bool:
    """Whether the same proxies would be built of both."""
    return _described(one) == _described(other)


def _described(settings: Settings) -> object:
    events = ("subscribe", "publish", "sub_refresh")
    used = [_used(settings, event) for event in events]
    return settings.client.proxy, settings.rpc, settings.proxies, used


def read_trusts(settings: Settings) -> Trusts:
    """Read the certificates and keys of all proxies, used or not.

    It blocks while files are read. Raises `ConfigError` for what cannot be used.
    """
    client, channel = settings.client.proxy, settings.channel.proxy
    defaults = {
        "connect": client.connect,
        "refresh": client.refresh,
        "subscribe": channel.subscribe,
        "publish": channel.publish,
        "sub_refresh": channel.sub_refresh,
        "rpc": settings.rpc.proxy,
    }
    described: dict[tuple[str, str], tuple[str, ProxySettings]] = {
        (event, DEFAULT_PROXY): (_PLACES[event], proxy) for event, proxy in defaults.items()
    }
    for named in settings.proxies:
        place = f"proxies[{named.name}]"
        described.update({(event, named.name): (place, named) for event in _PLACES})
    return {
        key: Trust.read(tls_options(proxy.http.tls, f"{place}.http.tls"))
        for key, (place, proxy) in described.items()
        if proxy.http.tls.enabled
    }


def _used(settings: Settings, event: str) -> dict[str, ProxySettings]:
    """Return the proxies that namespaces use for an event, by name."""
    named: dict[str, ProxySettings] = {proxy.name: proxy for proxy in settings.proxies}
    named[DEFAULT_PROXY] = getattr(settings.channel.proxy, event)
    names = {options.proxy_of(event) for _, options in settings.channel.places} - {""}
    return {name: named[name] for name in sorted(names)}


def _plain(settings: Settings, event: str, around: Surroundings) -> dict[str, Proxy]:
    used = _used(settings, event)
    return {name: _proxy(event, name, proxy, around) for name, proxy in used.items()}


def _connect(settings: Settings, around: Surroundings) -> CachedProxy:
    connect = settings.client.proxy.connect
    proxy = _proxy("connect", DEFAULT_PROXY, connect, around)
    ttl_s = connect.cache_ttl.total_seconds()
    return _cached(proxy, ConnectVerdict, ttl_s, around, ("connect", DEFAULT_PROXY))


def _subscribe(name: str, settings: ProxySettings, around: Surroundings) -> CachedProxy:
    assert isinstance(settings, SubscribeProxy)
    proxy = _proxy("subscribe", name, settings, around)
    ttl_s = settings.cache_ttl.total_seconds()
    return _cached(proxy, SubscribeVerdict, ttl_s, around, ("subscribe", name))


def _cached(
    proxy: Proxy,
    kind: type[ConnectVerdict | SubscribeVerdict],
    ttl_s: float,
    around: Surroundings,
    labels: tuple[str, str],
) -> CachedProxy:
    if not ttl_s:
        return CachedProxy(proxy)
    # Prolonged every half of it, a verdict lives for at least `ttl_s` after its connection.
    life_s = ttl_s * 1.5
    cached: Cached[ConnectVerdict | SubscribeVerdict] = Cached(
        kind,
        around.verdicts,
        around.instruments.cache_of(*labels),
        life_s=life_s,
        wall_clock=around.wall_clock,
    )
    keeper = Keeper(
        around.verdicts,
        life_s=life_s,
        interval_s=ttl_s / 2,
        monotonic=around.monotonic,
        wall_clock=around.wall_clock,
    )
    return CachedProxy(proxy, cached, keeper)


def _rpc(settings: Settings, around: Surroundings) -> RpcRoutes:
    rpc = settings.rpc
    named: dict[str, ProxySettings] = {proxy.name: proxy for proxy in settings.proxies}
    named[DEFAULT_PROXY] = rpc.proxy
    names = {each.proxy_name for _, each in rpc.places if each.proxy_enabled}
    built = {name: _proxy("rpc", name, named[name], around) for name in sorted(names)}
    options = {"": rpc.without_namespace, **{each.name: each for each in rpc.namespaces}}
    return RpcRoutes(
        {
            namespace: built[each.proxy_name] if each.proxy_enabled else None
            for namespace, each in options.items()
        },
        rpc.namespace_boundary,
    )


def _proxy(event: str, name: str, settings: ProxySettings, around: Surroundings) -> Proxy:
    timeout_s = settings.timeout.total_seconds()
    backend = around.open_backend(
        Endpoint(
            url=settings.endpoint,
            timeout_s=timeout_s,
            max_answer_bytes=settings.max_response_size,
            connections=settings.max_concurrency,
            trust=around.trusts[event, name] if settings.http.tls.enabled else None,
            may_repeat=event in _HARMLESS_TWICE,
        )
    )
    guarded = GuardedBackend(
        f"{event} proxy {name}",
        backend,
        GuardLimits(
            concurrency=settings.max_concurrency,
            queue_limit=settings.queue_limit,
            queue_timeout_s=timeout_s,
        ),
        CircuitBreaker(),
        around.instruments.of(event, name),
        now=around.monotonic,
    )
    static = settings.http.static_headers
    return Proxy(
        f"{event}:{name}:{settings.endpoint}",
        guarded,
        headers=HeaderRule(
            http=frozenset(settings.http_headers),
            emulated=frozenset(settings.emulated_headers),
            static={key: value.get_secret_value() for key, value in static.items()},
        ),
        is_binary=settings.binary_encoding,
        meanings=_meanings(settings),
    )


def _meanings(settings: ProxySettings) -> dict[int, Meaning]:
    meanings: dict[int, Meaning] = {}
    for each in settings.http.status_to_code_transforms:
        error, close = each.to_error, each.to_disconnect
        if error.code:
            said = ErrorAnswer(code=error.code, message=error.message, temporary=error.temporary)
            meanings.setdefault(each.status_code, Meaning(error=said))
        else:
            said_close = DisconnectAnswer(code=close.code, reason=close.reason)
            meanings.setdefault(each.status_code, Meaning(disconnect=said_close))
    return meanings
