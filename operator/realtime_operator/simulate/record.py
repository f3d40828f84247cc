"""What is kept of a run: a line for each step, and sums that a line does not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Final, NamedTuple

from realtime_operator.simulate.assumptions import Assumptions
from realtime_operator.simulate.nodes import Node
from realtime_operator.simulate.traffic import Flow
from realtime_operator.simulate.world import Census, Losses

LATENCY_EVERY_S: Final = 5.0
HIGHEST_BUSY: Final = 0.99
"""A loop that is busier falls behind without end; the proxy stops here."""


class Line(NamedTuple):
    """One step. Counts are at its end, rates its average."""

    at_s: float
    demand: int
    connected: int
    nodes: int
    """Pods that are paid for."""
    accepting: int
    leaving: int
    reconnects_per_s: float
    """Connections that ended, and not because a client went: each is followed by a reconnect."""
    refused_per_s: float
    admitted_per_s: float
    budget_per_s: float | None
    capacity: int
    """Clients that the accepting nodes hold."""
    latency_p99_ms: float


@dataclass(frozen=True)
class Summary:
    """A run in figures."""

    duration_s: float
    nodes_min: int
    nodes_max: int
    node_hours: float
    reconnects: int
    reconnects_per_client_max: int | None
    """None where clients are not counted one by one."""
    reconnects_per_client: float
    """Of the highest number of clients."""
    reconnects_peak_per_s: float
    budget_per_s: float | None
    """As it was at that peak; None where there is none."""
    above_capacity_s: float
    """For how long more clients wanted in than the accepting nodes hold."""
    offline_client_hours: float
    """Time that clients spent without a connection, all together."""
    refused: int
    latency_p99_ms: float
    """By the proxy, over all clients and the whole run."""
    latency_p99_worst_ms: float
    """Of the worst moment."""
    settled_at_s: float | None
    """When everything was as wanted, for good; None if it was not at the end."""
    histogram: Mapping[int, int] | None
    """How many clients had so many reconnects."""


@dataclass
class Recorder:
    """Keeps what happens in a run."""

    assumptions: Assumptions
    max_connections: int
    lines: list[Line] = field(default_factory=list)
    _busy: list[float] = field(default_factory=lambda: [0.0] * 101)
    _reconnects: int = 0
    _refused: int = 0
    _node_s: float = 0.0
    _above_s: float = 0.0
    _offline_s: float = 0.0
    _settled_at: float | None = None
    _latency_at: float = float("-inf")
    _latency_ms: float = 0.0

    def add(  # noqa: PLR0913, PLR0917 - a step has many sides
        self, at_s: float, passed_s: float, demand: int, census: Census, losses: Losses, flow: Flow
    ) -> None:
        """Keep a step."""
        if at_s >= self._latency_at + LATENCY_EVERY_S:
            self._latency_at = at_s
            self._latency_ms = self._measure(at_s, census.nodes)
        connected = sum([node.clients for node in census.nodes if node.is_up])
        capacity = self.max_connections * sum([node.lets_in for node in census.accepting])
        reconnects = losses.closed + losses.lost
        self.lines.append(
            Line(
                at_s,
                demand,
                connected,
                census.pods,
                len(census.accepting),
                census.leaving,
                reconnects / passed_s,
                flow.refused / passed_s,
                flow.admitted / passed_s,
                census.budget_per_s,
                capacity,
                self._latency_ms,
            )
        )
        self._reconnects += reconnects
        self._refused += flow.refused
        self._node_s += census.pods * passed_s
        self._above_s += passed_s if demand > capacity else 0.0
        self._offline_s += max(0, demand - connected) * passed_s
        if not census.is_settled:
            self._settled_at = None
        elif self._settled_at is None:
            self._settled_at = at_s

    @property
    def has_been_settled_s(self) -> float:
        """For how long everything has been as wanted."""
        return 0.0 if self._settled_at is None else self.lines[-1].at_s - self._settled_at

    def summary(self, histogram: Mapping[int, int] | None) -> Summary:
        """The run in figures."""
        peak = max(self.lines, key=lambda line: line.reconnects_per_s)
        most = max(line.demand for line in self.lines)
        return Summary(
            duration_s=self.lines[-1].at_s,
            nodes_min=min(line.nodes for line in self.lines),
            nodes_max=max(line.nodes for line in self.lines),
            node_hours=self._node_s / 3600,
            reconnects=self._reconnects,
            reconnects_per_client_max=max(histogram, default=0) if histogram else None,
            reconnects_per_client=self._reconnects / max(1, most),
            reconnects_peak_per_s=peak.reconnects_per_s,
            budget_per_s=peak.budget_per_s,
            above_capacity_s=self._above_s,
            offline_client_hours=self._offline_s / 3600,
            refused=self._refused,
            latency_p99_ms=self._latency(_quantile(self._busy, 0.99)),
            latency_p99_worst_ms=max(line.latency_p99_ms for line in self.lines),
            settled_at_s=self._settled_at,
            histogram=histogram,
        )

    def _measure(self, at_s: float, nodes: Sequence[Node]) -> float:
        """The p99 of this moment, over clients; what nodes do counts for the whole run too."""
        now = [0.0] * 101
        idle, full = self.assumptions.busy(0.0, 0.0), self.assumptions.busy(1.0, 0.0)
        per_client = (full - idle) / self.max_connections
        cost_s = self.assumptions.connect_cost_s
        for node in nodes:
            node.measure(at_s, LATENCY_EVERY_S)
            if clients := node.clients:
                percent = int(100 * (idle + clients * per_client + node.connects_per_s * cost_s))
                now[min(100, percent)] += clients
        self._busy = [before + here for before, here in zip(self._busy, now, strict=True)]
        return self._latency(_quantile(now, 0.99))

    def _latency(self, busy: float) -> float:
        """The p99 of an M/M/1 queue, ln(100) x service time ÷ (1 - busy), in ms."""
        return 1000 * log(100) * self.assumptions.pass_s / (1 - min(busy, HIGHEST_BUSY))


def _quantile(counts: Sequence[float], share: float) -> float:
    """How busy the loop is of which `share` of clients is served at most; the bin's upper end."""
    rest = share * sum(counts)
    for percent, count in enumerate(counts):
        rest -= count
        if rest <= 0:
            return (percent + 1) / 100
    return 0.0
