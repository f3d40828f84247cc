"""Proxies: what a client asks for and the team's backend decides, as Centrifugo 6 names it.

A proxy is an endpoint of the backend and how it is called; `enabled` and `…_proxy_enabled` say what
goes there. The keys that Centrifugo does not have bound what a backend is asked at once, and keep
its answers for clients that come back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from realtime_node.config.section import (
    Bytes,
    Contradiction,
    Duration,
    Form,
    LivingDuration,
    Section,
)
from realtime_node.config.tls import ClientTls

DEFAULT_PROXY: Final = "default"
"""The name of the proxy that an event has of its own, beside those of `proxies`."""
LONGEST_CACHE: Final = timedelta(minutes=10)
LONGEST_REASON: Final = 123
"""Bytes that a close frame holds beside its code."""

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ONE_HOP: Final = frozenset(
    {
        *("connection", "content-encoding", "content-length", "content-type", "expect", "host"),
        *("keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        *("sec-websocket-extensions", "sec-websocket-key", "sec-websocket-version"),
    }
)
"""Headers about one connection or one body: of no use, or harmful, in another request."""

_UNSENDABLE: Final = re.compile(r"[\x00-\x20\x7f]")


def _endpoint(text: str) -> str:
    """Check a URL; empty: there is none."""
    if not text:
        return text
    if _UNSENDABLE.search(text):
        raise ValueError("a URL has no blanks and no control characters")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the backend is called over HTTP")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("a URL with credentials or a fragment cannot be called")
    return text


def _header_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Bring names of headers into lower case; raises `ValueError` for what cannot be passed on."""
    for name in names:
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!a} is no name of a header")
        if name.lower() in _ONE_HOP:
            raise ValueError(f"{name} belongs to the client's connection and cannot be passed on")
    return tuple(dict.fromkeys(name.lower() for name in names))


def _static_headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    _header_names(tuple(headers))
    if any(set(value.get_secret_value()) & set("\r\n\0") for value in headers.values()):
        raise ValueError("a header's value is one line")
    return headers


Endpoint = Annotated[
    str, AfterValidator(_endpoint), Form('a URL such as "https://backend/realtime/connect"')
]
HeaderNames = Annotated[
    tuple[str, ...], Field(strict=False), AfterValidator(_header_names), Form("a list of names")
]
ProxyName = Annotated[
    str,
    Field(pattern=r"^[-a-zA-Z0-9_.]{2,}$"),
    Form("two or more letters, digits, hyphens, underscores or dots"),
]


class StatusError(Section):
    """The error that a client's command is answered with."""

    code: Annotated[int, Field(ge=0, le=4_294_967_295)] = 0
    """Code of the error. 0: it is no error."""

    message: Annotated[str, Field(max_length=LONGEST_REASON)] = ""
    """What the client is told."""

    temporary: bool = False
    """Let the client try again."""


class StatusDisconnect(Section):
    """The close of a client's connection."""

    code: Annotated[int, Field(ge=0, le=4999)] = 0
    """Code of the close, from 3000. 0: it is no close."""

    reason: Annotated[str, Field(max_length=LONGEST_REASON)] = ""
    """What the client is told, in ASCII."""

    def contradictions(self) -> Iterable[Contradiction]:
        """WebSockets leave codes from 3000 to applications."""
        if 0 < self.code < 3000:  # noqa: PLR2004 - RFC 6455, 7.4.2
            yield Contradiction("code", "the codes of applications begin with 3000")
        if not self.reason.isascii():
            yield Contradiction("reason", "only ASCII is allowed")


class StatusTransform(Section):
    """What a status other than 200 means to the client."""

    status_code: Annotated[int, Field(ge=100, le=599)]
    """The backend's HTTP status."""

    to_error: StatusError = StatusError()

    to_disconnect: StatusDisconnect = StatusDisconnect()

    def contradictions(self) -> Iterable[Contradiction]:
        """It means one thing."""
        if bool(self.to_error.code) is bool(self.to_disconnect.code):
            problem = "give exactly one of to_error.code and to_disconnect.code"
            yield Contradiction("status_code", problem)


class ProxyHttp(Section):
    """How the backend is spoken to."""

    tls: ClientTls = ClientTls()

    static_headers: Annotated[
        dict[str, SecretStr],
        AfterValidator(_static_headers),
        Form('an object such as {"X-Api-Key": "…"}'),
    ] = {}  # noqa: RUF012 - nothing changes settings
    """Headers of every request. A header of the client that is passed on goes before one of the
    same name."""

    status_to_code_transforms: Annotated[tuple[StatusTransform, ...], Field(strict=False)] = ()
    """What other statuses than 200 mean. Without it they are an internal error (100), which is
    temporary."""


class ProxySettings(Section):
    """An endpoint of the team's backend."""

    endpoint: Endpoint = ""
    """Where requests are posted to."""

    timeout: LivingDuration = timedelta(seconds=1)
    """How long the backend may take, and how long a request may wait before until others are
    done."""

    http_headers: HeaderNames = ()
    """Headers of the client's handshake that are passed on, e.g. `Cookie`. Only what is named here
    is kept, for as long as the connection lives if other proxies than connect need it."""

    emulated_headers: HeaderNames = ()
    """Headers that an SDK may give in its connect command, as browsers cannot set any. Clients are
    free to write what they like in them."""

    binary_encoding: bool = False
    """Send the client's data in base64, as `b64data`."""

    http: ProxyHttp = ProxyHttp()

    max_concurrency: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Requests that this node has under way at once."""

    queue_limit: Annotated[int, Field(ge=0, le=1_000_000)] = 1024
    """Requests that wait behind them; the next is answered with a temporary error (100)."""

    max_response_size: Bytes = 262_144
    """Largest answer that is read; a larger one is an internal error (100)."""

    def contradictions(self) -> Iterable[Contradiction]:
        """Certificates need TLS to be spoken at all."""
        if self.http.tls.enabled and self.endpoint.startswith("http://"):
            yield Contradiction("endpoint", "http.tls is enabled: it has to begin with https://")


def missing_endpoint(proxy: ProxySettings, place: str, needed_by: str) -> Iterable[Contradiction]:
    """Complain of a proxy that is used and leads nowhere."""
    if not proxy.endpoint:
        yield Contradiction(f"{place}endpoint", f"{needed_by}: set the backend's URL")


class RefreshProxy(ProxySettings):
    """Asked whether a connection that is about to expire may go on."""

    enabled: bool = False
    """Ask the backend. Clients then have no part in it: they send no tokens to refresh."""

    def contradictions(self) -> Iterable[Contradiction]:
        """What is enabled leads somewhere."""
        yield from super().contradictions()
        if self.enabled:
            yield from missing_endpoint(self, "", "it is enabled")


CacheTtl = Annotated[Duration, Field(le=LONGEST_CACHE)]


class ConnectProxy(RefreshProxy):
    """Asked who a client is that connects without a token."""

    enabled: bool = False
    """Ask the backend."""

    cache_ttl: CacheTtl = timedelta()
    """How long after its connection ended, at most "10m", a client that comes back with the same
    credentials is let in by the backend's last answer. 0: the backend is asked every time. See
    docs/proxies.md before you set it."""


class SubscribeProxy(ProxySettings):
    """Asked whether a client may subscribe, in namespaces with `subscribe_proxy_enabled`."""

    cache_ttl: CacheTtl = timedelta()
    """How long a permission holds for the same user, channel and credentials, at most "10m". 0: the
    backend is asked every time. See docs/proxies.md before you set it."""


class NamedProxy(SubscribeProxy):
    """A proxy that namespaces name in `…_proxy_name`."""

    name: ProxyName
    """What namespaces call it; `default` is taken."""


class ClientProxies(Section):
    """What a connection asks the team's backend; see docs/proxies.md."""

    connect: ConnectProxy = ConnectProxy()

    refresh: RefreshProxy = RefreshProxy()


class ChannelProxies(Section):
    """What namespaces ask that name no proxy of `proxies`."""

    subscribe: SubscribeProxy = SubscribeProxy()

    publish: ProxySettings = ProxySettings()
    """Asked whether a client may publish, in namespaces with `publish_proxy_enabled`."""

    sub_refresh: ProxySettings = ProxySettings()
    """Asked whether a subscription that is about to expire may go on, in namespaces with
    `sub_refresh_proxy_enabled`."""


class RpcOptions(Section):
    """Where calls go."""

    proxy_enabled: bool = False
    """Hand them to the backend. Otherwise they are refused (108)."""

    proxy_name: ProxyName = DEFAULT_PROXY
    """Which of `proxies`; `default` is `rpc.proxy`."""


class RpcNamespace(RpcOptions):
    """Methods whose names begin with this namespace's name and a colon."""

    name: ProxyName
    """What the names of its methods begin with."""


class RpcSettings(Section):
    """Calls of clients that the team's backend answers."""

    proxy: ProxySettings = ProxySettings()

    namespace_boundary: str = ":"
    """Ends the namespace within a method's name. Empty: there are no namespaces."""

    without_namespace: RpcOptions = RpcOptions()

    namespaces: Annotated[tuple[RpcNamespace, ...], Field(strict=False)] = ()
    """The namespaces of methods, in any order. A method of any other is unknown (error 104)."""

    def contradictions(self) -> Iterable[Contradiction]:
        """Namespaces can be told apart, and what is enabled leads somewhere."""
        names = Counter(namespace.name for namespace in self.namespaces)
        for index, namespace in enumerate(self.namespaces):
            if names[namespace.name] > 1:
                problem = "another namespace has this name"
                yield Contradiction(f"namespaces[{index}].name", problem)
        if any(each.proxy_enabled and each.proxy_name == DEFAULT_PROXY for _, each in self.places):
            yield from missing_endpoint(self.proxy, "proxy.", "proxy_enabled is on")

    @property
    def places(self) -> Iterable[tuple[str, RpcOptions]]:
        """All options with their place."""
        yield "without_namespace", self.without_namespace
        for index, namespace in enumerate(self.namespaces):
            yield f"namespaces[{index}]", namespace
