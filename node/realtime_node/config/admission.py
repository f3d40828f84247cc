"""Settings of `admission`: how fast clients are let in, and how many."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from realtime_node.config.section import (
    Contradiction,
    Duration,
    Form,
    LivingDuration,
    Section,
)

LATENESS: Final = timedelta(milliseconds=100)
"""How late a busy loop may hand out tokens without losing any: a bucket holds at least as many."""


def parse_networks(given: object) -> tuple[str, ...]:
    """Check networks in CIDR notation; an address alone is a network of one.

    Raises `ValueError` for anything else, and for a network with bits behind its prefix.
    """
    if not isinstance(given, (list, tuple)) or not all(isinstance(each, str) for each in given):
        raise ValueError("networks are a list of texts")
    try:
        return tuple(str(ip_network(each.strip())) for each in given)
    except ValueError as error:
        raise ValueError(f"{error}") from error


Networks = Annotated[
    tuple[str, ...],
    BeforeValidator(parse_networks),
    Form('list of addresses or networks such as "10.0.0.0/8"'),
]

Count = Annotated[int, Field(ge=0, le=10_000_000)]
SomeCount = Annotated[int, Field(ge=1, le=10_000_000)]
PerSecond = Annotated[int, Field(ge=0, le=1_000_000)]


class AdmissionSettings(Section):
    """How clients are let in: metered, not all at once. See [Admission](admission.md)."""

    max_connections: Count = 0
    """WebSockets that this node may have open; further handshakes get 503. 0: any number, as many
    as the process may have files."""

    connects_per_second: PerSecond = 500
    """Handshakes let in per second, new and returning clients alike; those beyond it wait. With its
    token, its subscriptions and what it recovers, a connect costs a core up to a millisecond: this
    leaves half of it for the clients that are there. 0: any number."""

    burst: SomeCount = 500
    """Handshakes let in at once when few came before. At least a tenth of `connects_per_second`."""

    wait: Duration = timedelta(seconds=3)
    """How long a handshake may wait for its turn; one whose turn would come later gets 503 at once.
    Shorter than the 5 s after which the SDKs for JavaScript and Python give up by themselves."""

    max_waiting: SomeCount = 5_000
    """Handshakes that may wait; further ones get 503."""

    per_ip_connects_per_second: PerSecond = 0
    """Handshakes per second that one address, or one IPv6 /64, may make on average; beyond it they
    get 429. 0: any number, since all people of an office or a mobile carrier may share an address,
    and all clients do behind a proxy that is not among `trusted_proxies`."""

    per_ip_burst: SomeCount = 50
    """Handshakes that one address may make at once."""

    trusted_proxies: Networks = ()
    """Proxies and load balancers whose word is taken for where a client comes from. Nobody else's
    is: a client could claim any address."""

    proxy_header: Literal["X-Forwarded-For", "X-Real-Ip", "Forwarded"] = "X-Forwarded-For"
    """The header into which they write it. Only one is read, because a proxy passes on the others
    as the client sent them."""

    shed_loop_lag: Duration = timedelta(milliseconds=500)
    """How late the event loop may be, on average, before nobody is let in (503, and error 111 for
    clients that were about to connect), until it is half as late: clients that are connected come
    first. 0: however late."""

    cluster_connects_per_second: PerSecond = 0
    """Handshakes that all nodes together let in per second, for what does not grow with the
    cluster, such as a backend that is asked at each. Shared through Redis. 0: what the nodes let
    in."""

    handshake_timeout: LivingDuration = timedelta(seconds=10)
    """How long a TCP connection may be open on `http_server.port` without a whole request: a client
    that says nothing, or a caller of the HTTP API between two calls if that is on the same port."""

    retry_after_min: LivingDuration = timedelta(seconds=1)
    """Shortest `Retry-After` that a refused client is given, in whole seconds."""

    retry_after_max: LivingDuration = timedelta(seconds=30)
    """Longest one. At least twice the shortest, so that clients can be spread."""

    def contradictions(self) -> Iterable[Contradiction]:
        """What would let in fewer than it says, or send clients away together."""
        if self.burst < self.connects_per_second * LATENESS.total_seconds():
            problem = "it has to be a tenth of admission.connects_per_second, or more"
            yield Contradiction("burst", f"{problem}: a busy node lets in several at once")
        if self.cluster_connects_per_second and not self.wait:
            problem = "it cannot be 0 with admission.cluster_connects_per_second"
            yield Contradiction("wait", f"{problem}: asking the cluster takes a moment")
        for key in ("retry_after_min", "retry_after_max"):
            if getattr(self, key) % timedelta(seconds=1):
                yield Contradiction(key, "it is counted in whole seconds")
        if self.retry_after_max < 2 * self.retry_after_min:
            problem = "it has to be twice admission.retry_after_min, or more"
            yield Contradiction("retry_after_max", problem)

    @property
    def trusted_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`trusted_proxies`, to be looked at."""
        return tuple(map(ip_network, self.trusted_proxies))
