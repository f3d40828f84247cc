"""What a node tells about itself: to Kubernetes, the operator, Prometheus, and the other nodes."""

from __future__ import annotations

import socket
import time
from uuid import uuid4

from realtime_node import __version__
from realtime_node.cluster.allowance import Traffic
from realtime_node.cluster.backplane import NodeInfo
from realtime_node.composition.parts import Parts
from realtime_node.composition.reloading import Reloader
from realtime_node.config import Settings
from realtime_node.server.health import BudgetStatus, Readiness, Status, readiness
from realtime_node.telemetry.metrics import total


class Reporter:
    """Describes one node at the moment that it is asked."""

    def __init__(self, settings: Settings, parts: Parts, reloader: Reloader) -> None:
        """Describe `parts`; a node without a name has that of its host and port."""
        self._parts = parts
        self._reloader = reloader
        self._name = settings.node.name or f"{socket.gethostname()}_{settings.http_server.port}"
        self._boot_id = uuid4().hex
        self._started_at = time.monotonic()
        self.is_serving = False
        """Whether the node has started and not stopped; its owner says so."""

    def readiness(self) -> Readiness:
        """Tell whether new clients are welcome, and why not."""
        parts = self._parts
        return readiness(
            is_serving=self.is_serving,
            is_ending=parts.drainer.is_ending,
            obstacles=parts.engine.backplane.obstacles(),
            failing=parts.failures.failing(),
        )

    @property
    def is_accepting(self) -> bool:
        """Whether balancers send new clients here, and they are let in."""
        return self.readiness().is_ready and not self._parts.door.is_cordoned

    def traffic(self) -> Traffic:
        """Tell what the reconnect budget is shared by."""
        return Traffic(self.is_accepting, self._parts.door.accepted_total)

    def info(self) -> NodeInfo:
        """Tell the other nodes."""
        registry = self._parts.delivery.registry
        return NodeInfo(
            uid=self._parts.engine.backplane.node_id,
            name=self._name,
            version=__version__,
            num_clients=registry.num_clients,
            num_users=registry.num_users,
            num_subs=registry.num_subscriptions,
            num_channels=self._parts.delivery.hub.num_channels,
            uptime=int(time.monotonic() - self._started_at),
            ready=self.readiness().is_ready,
        )

    def status(self) -> Status:
        """Tell everything."""
        parts = self._parts
        registry, hub, door = parts.delivery.registry, parts.delivery.hub, parts.door
        drainer, probe, backplane = parts.drainer, parts.probe, parts.engine.backplane
        delivery = parts.metrics.delivery
        ready = self.readiness()
        return Status(
            node_id=backplane.node_id,
            boot_id=self._boot_id,
            name=self._name,
            version=__version__,
            ready=ready.is_ready,
            not_ready_reason=ready.reason,
            accepting=self.is_accepting,
            backplane_available=backplane.is_available(),
            backplane_obstacles=backplane.obstacles(),
            uptime_s=round(time.monotonic() - self._started_at, 3),
            num_clients=registry.num_clients,
            num_connections=parts.websockets.num_connections,
            max_connections=self._reloader.settings.admission.max_connections,
            num_waiting=door.num_waiting,
            num_users=registry.num_users,
            num_subs=registry.num_subscriptions,
            num_channels=hub.num_channels,
            accepted_total=door.accepted_total,
            accept_rate_per_s=round(door.accept_rate_per_s, 3),
            refused_total=door.refused_total,
            connects_total=total(parts.metrics.session.connects),
            deliveries_total=total(delivery.deliveries),
            entries_total=total(delivery.entries_received),
            delivery_backlog=hub.backlog,
            pending_departures=len(parts.services.departures),
            drain=drainer.status(),
            shed=drainer.shedding,
            budget=BudgetStatus.of(parts.engine.reconnects.known()),
            loop_lag_s=round(probe.lag_s, 6),
            loop_busy=round(probe.busy, 4),
            loop_busy_s_total=round(probe.busy_s_total, 3),
            failing=parts.failures.failing(),
            settings=self._reloader.status,
        )
