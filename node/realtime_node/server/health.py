"""What Kubernetes, the operator and Prometheus ask a node.

`/livez`: the loop runs. `/readyz`: the node serves, the backplane has answered once, and no loop
fails again and again by the node's own fault. It is not taken back when Redis goes away, since all
nodes at once would then leave the Service, and clients that are connected need nothing from a new
node. `/status`: the numbers the operator decides on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from aiohttp import web

from realtime_node.cluster.allowance import Budget
from realtime_node.drain.status import DrainStatus, Shed
from realtime_node.failures import FailingLoop, find_unfit
from realtime_node.telemetry.metrics import Metrics


class BudgetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster's reconnect budget as this node knows it."""

    connections_per_second_per_node: float
    version: int
    """How often it was changed at run time; 0: it is what the settings say."""
    accepting_nodes: int
    arrivals_per_s: float
    """Clients that came to all nodes, as measured last; those whom no drain sent are subtracted."""
    total_per_s: float
    """What all nodes together may send elsewhere while nobody else arrives."""
    is_local: bool
    """The store did not answer: this node uses its share of what it knew last."""

    @classmethod
    def of(cls, budget: Budget) -> BudgetStatus:
        """Say a budget as it is shown."""
        return cls(
            connections_per_second_per_node=budget.per_node,
            version=budget.version,
            accepting_nodes=budget.accepting,
            arrivals_per_s=budget.arrivals_per_s,
            total_per_s=budget.total_per_s,
            is_local=budget.is_local,
        )


class RestartNeeded(msgspec.Struct, frozen=True):
    """A key of the settings whose new value counts after a restart only."""

    key: str
    reason: str


class SettingsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Which settings the node goes by."""

    revision: str
    """Names what they say, but for what is secret, as they were taken last."""
    loaded_at: float
    """When that was, in Unix seconds."""
    reload_error: str | None = None
    """Why newer ones were refused, and these still count; null: none were."""
    needs_restart: tuple[RestartNeeded, ...] = ()


class Readiness(NamedTuple):
    """Whether new clients are welcome."""

    is_ready: bool
    reason: str = ""
    """Why they are not."""


def readiness(
    *, is_serving: bool, is_ending: bool, obstacles: Sequence[str], failing: Sequence[FailingLoop]
) -> Readiness:
    """Decide whether a node is ready; `is_serving` from the end of its start to its stop.

    `obstacles` keep it from being started; to one that serves they make no difference.
    """
    if is_ending:
        return Readiness(is_ready=False, reason="ending")
    if not is_serving:
        return Readiness(is_ready=False, reason="; ".join(("starting or ending", *obstacles)))
    if unfit := find_unfit(failing):
        return Readiness(
            is_ready=False,
            reason=f"{unfit.loop} has failed {unfit.own_faults} times in a row: {unfit.error}",
        )
    return Readiness(is_ready=True)


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One node at one moment; counters grow from its start, which `boot_id` names."""

    node_id: str
    boot_id: str
    name: str
    version: str
    ready: bool
    not_ready_reason: str
    """Why it is not; empty while it is."""
    accepting: bool
    """Whether it is ready and new clients are let in; they are not while it is cordoned."""
    backplane_available: bool
    """Whether the store answered within the last few seconds; a part of it is enough."""
    backplane_obstacles: list[str]
    """What of the store cannot be used at the moment, and why."""
    uptime_s: float
    num_clients: int
    num_connections: int
    """WebSockets that are open; those of clients that have not said connect yet, too."""
    max_connections: int
    """How many there may be; 0: any number."""
    num_waiting: int
    """Handshakes that wait for their turn."""
    num_users: int
    num_subs: int
    num_channels: int
    accepted_total: int
    """Upgrades granted."""
    accept_rate_per_s: float
    """Upgrades granted per second at the moment."""
    refused_total: int
    """Upgrades refused, for whatever reason admission had."""
    connects_total: int
    deliveries_total: int
    entries_total: int
    delivery_backlog: int
    loop_lag_s: float
    """How late the event loop does what is due, on average."""
    loop_busy: float
    """The part of its time that the event loop works, 0 to 1, on average over half a second."""
    loop_busy_s_total: float
    """Seconds that it has worked."""
    pending_departures: int
    drain: DrainStatus
    shed: Shed | None
    """Clients that are being sent elsewhere while the node serves; null if none are."""
    budget: BudgetStatus
    failing: list[FailingLoop]
    """Loops of the node that raise again and again; they are run again until they are well."""
    settings: SettingsStatus


class HealthEndpoints:
    """Handlers of the routes above."""

    def __init__(
        self,
        describe: Callable[[], Status],
        readiness: Callable[[], Readiness],
        metrics: Metrics,
    ) -> None:
        """Ask `describe` and `readiness` for the node's state."""
        self._describe = describe
        self._readiness = readiness
        self._metrics = metrics

    def routes(self) -> list[web.RouteDef]:
        """Return the routes for an application."""
        return [
            web.get("/livez", self.livez),
            web.get("/readyz", self.readyz),
            web.get("/status", self.status),
            web.get("/metrics", self.metrics),
        ]

    async def livez(self, _request: web.Request) -> web.Response:
        """Answer: the loop runs."""
        return web.Response(text="ok\n")

    async def readyz(self, _request: web.Request) -> web.Response:
        """Tell whether new clients are welcome."""
        readiness = self._readiness()
        if readiness.is_ready:
            return web.Response(text="ok\n")
        return web.Response(status=503, text=f"not ready: {readiness.reason}\n")

    async def status(self, _request: web.Request) -> web.Response:
        """Tell everything, as JSON."""
        body = msgspec.json.encode(self._describe())
        return web.Response(body=body, content_type="application/json")

    async def metrics(self, _request: web.Request) -> web.Response:
        """Expose the instruments to Prometheus."""
        return web.Response(
            body=self._metrics.expose(), headers={"Content-Type": self._metrics.content_type}
        )
