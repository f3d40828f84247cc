"""What every session of a node shares, built once by `composition` and handed to each session.

What follows from the settings may be replaced while sessions live, by `composition` alone and in
one step of the loop; a session asks for it when it needs it, and keeps nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime_node.admission.token_bucket import Rate
from realtime_node.cluster.backplane import Backplane
from realtime_node.cluster.presence import PresenceStore
from realtime_node.config import ClientSettings
from realtime_node.delivery.frames import Framer
from realtime_node.delivery.hub import Hub
from realtime_node.delivery.slow_clients import SlowClients
from realtime_node.protocol.codec import Codec
from realtime_node.proxy.proxies import Proxies
from realtime_node.session.channels import ChannelRules
from realtime_node.session.claims import TokenVerifier
from realtime_node.session.departures import Departures
from realtime_node.session.keeper import Keeper
from realtime_node.session.lifecycle import Limits
from realtime_node.session.offenders import Offenders
from realtime_node.telemetry.metrics import SessionMetrics

if TYPE_CHECKING:
    from realtime_node.session.registry import SessionRegistry


@dataclass(slots=True, kw_only=True)
class Services:
    """The node as a session sees it."""

    version: str
    settings: ClientSettings
    rules: ChannelRules
    limits: Limits
    codec: Codec
    framer: Framer
    ping_frame: bytes
    """The ping of `codec`, framed: the same bytes for every client."""
    hub: Hub
    slow_clients: SlowClients
    offenders: Offenders
    rate: Rate
    """How much each connection may ask for; see `change_rate`."""
    is_shedding: Callable[[], bool]
    """Whether this node is overloaded, and lets nobody in."""
    backplane: Backplane
    presence: PresenceStore
    departures: Departures
    tokens: TokenVerifier
    proxies: Proxies
    registry: SessionRegistry
    metrics: SessionMetrics
    keeper: Keeper
    monotonic: Callable[[], float]
    """Seconds, for deadlines."""
    wall_clock: Callable[[], float]
    """Unix seconds, for what tokens say."""
    random: Callable[[], float]
    """A number in [0, 1)."""
    rate_changed_at: float = 0
    """When `rate` began to count, in seconds of `monotonic`."""

    def change_rate(self, rate: Rate) -> None:
        """Have connections ask for as much from now on; each carries over what it has spent."""
        if rate != self.rate:
            self.rate = rate
            self.rate_changed_at = self.monotonic()
