"""All settings of a node, named and nested as Centrifugo 6 does.

Built by `loading.load_settings` and handed in parts to whoever needs them. Only keys that
the node honours exist: any other is an error, never ignored. What has many keys has a room of
its own; docs/configuration.md is written from these classes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, SecretStr

from realtime_node.config.admission import AdmissionSettings
from realtime_node.config.channels import ChannelSettings
from realtime_node.config.client import ClientSettings
from realtime_node.config.drain import AdminSettings, DrainSettings, ReconnectBudgetSettings
from realtime_node.config.engine import EngineSettings
from realtime_node.config.proxies import (
    DEFAULT_PROXY,
    NamedProxy,
    RpcSettings,
    missing_endpoint,
)
from realtime_node.config.section import (
    Bytes,
    Contradiction,
    Duration,
    Form,
    LivingDuration,
    Port,
    Section,
    SomeBytes,
)

UrlPath = Annotated[
    str,
    Field(pattern=r"^(/[-A-Za-z0-9._~]+)+$"),
    Form('a path such as "/connection/websocket", without a slash at its end'),
]


def _port_or_none(value: object) -> object:
    """Centrifugo's internal_port is text, empty if there is none."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{0,5}", value):
        return int(value) if value else None
    return value


class HttpServerSettings(Section):
    """Where the node listens."""

    address: str = ""
    """Host name or address to listen on. Empty: all interfaces."""

    port: Port = 8000
    """TCP port for clients. 0: any free one."""

    internal_address: str = ""
    """Host name or address of the internal server. Empty: as `address`."""

    internal_port: Annotated[Port | None, BeforeValidator(_port_or_none)] = None
    """TCP port for what clients should not reach: the HTTP API, `/metrics`, `/status`, `/readyz`
    and `/livez`. Empty: all is served on `port`, but for `/drain`, `/shed` and `/budget`, which are
    off then."""

    def contradictions(self) -> Iterable[Contradiction]:
        """Two servers need two ports."""
        if self.internal_port and self.internal_port == self.port:
            problem = "it is the same as http_server.port: leave it out, or choose another"
            yield Contradiction("internal_port", problem)


MAX_BODY_SIZE: Final = 16_777_216
"""Bytes that `http_api.body_size_limit` may allow: every call is decoded in one step."""


class HttpApiSettings(Section):
    """The API through which backends publish."""

    key: SecretStr = SecretStr("")
    """What callers send in the header `X-API-Key`. Empty: every call is refused."""

    insecure: bool = False
    """Ask callers for no key. For development, or where only backends reach the port."""

    body_size_limit: Annotated[int, Field(ge=1_024, le=MAX_BODY_SIZE)] = 4_194_304
    """Largest body of a call; a larger one is answered with status 413. A body is read in one
    step, in which the node does nothing else: 16 MiB hold it up for up to a fiftieth of a second.
    A single publication may be as large, and then holds it up at every node."""

    history_max_publication_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Publications that one `history` call returns, whatever it asks for. The caller reads on from
    the last one of them."""


class WebSocketSettings(Section):
    """The WebSocket transport."""

    handler_prefix: UrlPath = "/connection/websocket"
    """Path that clients connect to."""

    message_size_limit: Bytes = 65_536
    """Largest message that a client may send; a larger one closes its connection (1009). What was
    compressed is measured by what it becomes, and never decompressed further than this."""

    compression: bool = False
    """Agree to compress messages (permessage-deflate) with clients that offer it, as browsers do.
    For everybody on a channel a message is compressed once."""

    compression_min_size: SomeBytes = 128
    """Shorter messages are not compressed: it saves little beside the packet around them. What is
    longer than 256 KiB is not either, since everybody would wait for it."""

    compression_level: Annotated[int, Field(ge=1, le=9)] = 1
    """From 1, the fastest, to 9, the smallest, which takes up to twenty times as long."""

    high_water_mark: Bytes = 65_536
    """What may wait in a connection's write buffer before its client counts as slow and the
    policies of its channels decide."""

    send_buffer_size: SomeBytes = 65_536
    """What the kernel buffers for one connection (SO_SNDBUF), half of its true memory. It bounds a
    client's throughput to so much per round trip, and how stale a slow client's data is. 0: the
    kernel decides, and takes megabytes."""

    unsent_low_water_mark: SomeBytes = 16_384
    """Unsent bytes in that buffer below which the kernel asks for more (TCP_NOTSENT_LOWAT). 0: the
    kernel decides."""


class LogSettings(Section):
    """The node's log, written to standard error."""

    level: Literal["debug", "info", "warn", "error", "none"] = "info"
    """What is logged: this level and those after it."""


class NodeSettings(Section):
    """The node itself."""

    name: Annotated[str, Field(max_length=255)] = ""
    """What people call the node, in its log and in `info`. Empty: host name and port."""


class ShutdownSettings(Section):
    """The end of the node."""

    timeout: LivingDuration = timedelta(seconds=30)
    """How long the node may take to end in order once it is asked to (SIGTERM): to send its clients
    elsewhere and leave the cluster. Whoever sends the signal has to wait longer before it kills:
    Kubernetes waits for 30 s and `docker stop` for 10 s unless told otherwise."""

    failing_after: Duration = timedelta(seconds=60)
    """How long a loop of the node may fail by the node's own fault until the node ends itself, to
    be started anew: at most one node of the cluster in ten minutes, and only while most of the
    others are ready; docs/health.md tells all of it. 0: the node is not ready, and stays."""


class Settings(Section):
    """Everything that can be set; see `load_settings`."""

    http_server: HttpServerSettings = HttpServerSettings()
    engine: EngineSettings = EngineSettings()
    http_api: HttpApiSettings = HttpApiSettings()
    client: ClientSettings = ClientSettings()
    websocket: WebSocketSettings = WebSocketSettings()
    admission: AdmissionSettings = AdmissionSettings()
    channel: ChannelSettings = ChannelSettings()
    rpc: RpcSettings = RpcSettings()
    proxies: Annotated[tuple[NamedProxy, ...], Field(strict=False)] = ()
    """Proxies that namespaces can name, each for any of their events."""
    log: LogSettings = LogSettings()
    node: NodeSettings = NodeSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    drain: DrainSettings = DrainSettings()
    reconnect_budget: ReconnectBudgetSettings = ReconnectBudgetSettings()
    admin: AdminSettings = AdminSettings()

    def contradictions(self) -> Iterable[Contradiction]:
        """Every proxy that is named is there, once, and leads somewhere."""
        names = Counter(proxy.name for proxy in self.proxies)
        for index, proxy in enumerate(self.proxies):
            place = f"proxies[{index}]"
            yield from missing_endpoint(proxy, f"{place}.", "a proxy needs it")
            if proxy.name == DEFAULT_PROXY:
                yield Contradiction(f"{place}.name", "this name is taken: choose another")
            if names[proxy.name] > 1:
                yield Contradiction(f"{place}.name", "another proxy has this name")
        for key, name in self._proxy_names():
            if name != DEFAULT_PROXY and name not in names:
                yield Contradiction(key, "no entry of proxies has this name")

    def _proxy_names(self) -> Iterator[tuple[str, str]]:
        """Every key that names a proxy, and the name."""
        for place, options in self.channel.places:
            for event in ("subscribe", "publish", "sub_refresh"):
                key = f"{event}_proxy_name"
                yield f"channel.{place}.{key}", getattr(options, key)
        for place, rpc in self.rpc.places:
            yield f"rpc.{place}.proxy_name", rpc.proxy_name

    def warnings(self) -> Iterator[str]:
        """What is allowed and yet likely a mistake, or a risk to be aware of; one line each."""
        api, client = self.http_api, self.client
        if api.insecure:
            yield "http_api.insecure: whoever reaches the HTTP API can use it, without a key"
        elif not api.key:
            yield "http_api.key is not set: the HTTP API refuses every call"
        if client.insecure:
            yield "client.insecure: whoever reaches this node may subscribe to and publish anything"
        elif not (
            client.token.hmac_secret_key
            or client.allow_anonymous_connect_without_token
            or client.proxy.connect.enabled
        ):
            yield "client.token.hmac_secret_key is not set: no client can connect"
        yield from self.engine.warnings()
        if not client.session.enabled and self.channel.has_presence_grace:
            yield "channel: presence_grace has no effect while client.session.enabled is false"
        if client.proxy.connect.cache_ttl and not client.proxy.connect.enabled:
            yield "client.proxy.connect.cache_ttl has no effect: the proxy is not enabled"
        yield from self._drain_warnings()
        if "*" in client.allowed_origins:
            yield "client.allowed_origins: pages of every origin may connect"
        yield from client.secret_warnings()

    def _drain_warnings(self) -> Iterator[str]:
        if self.admin.key and self.http_server.internal_port is None:
            yield (
                "admin.key is set, but not http_server.internal_port: without a port of their own"
                " POST /drain, /shed and /budget are off"
            )
        if 2 * self.drain.propagation > self.shutdown.timeout:
            yield (
                "drain.propagation takes more than half of shutdown.timeout: after a SIGTERM hardly"
                " any time is left to close clients in"
            )
