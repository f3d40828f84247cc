"""The report of `make capacity`: a table of limits, then what to set, as YAML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Final

from tests.load import machine, report, rounds
from tests.load.capacity import advice
from tests.load.capacity.advice import Advice, Measured
from tests.load.capacity.knee import Bounds
from tests.load.capacity.results import Connections, Limit

_REFERENCE_MIB: Final = 1024
"""The memory limit that is extrapolated to where none was given."""


@dataclass(frozen=True)
class Limits:
    """All that was measured."""

    connections: Connections
    single: Limit
    batched: Limit
    connects: Limit
    lag_source: str

    def measured(self, bounds: Bounds) -> Measured:
        """Return what advice is made from."""
        return Measured(
            connections=int(self.connections.held),
            connections_stopped_by=self.connections.stopped_by,
            memory=self.connections.memory,
            ping_busy_percent=self.connections.busy_percent,
            deliveries_per_s=self.single.held,
            busy_percent=self.single.busy_percent,
            connects_per_s=self.connects.held,
            lag_bound_ms=bounds.lag_p99_ms,
        )

    def rows(self) -> tuple[tuple[str, str, Limit], ...]:
        """Return a key, a name and the limit, of each."""
        return (
            ("connections", "connections, idle, pinged", self.connections),
            ("deliveries-1", "deliveries/s, 1 publication per frame", self.single),
            ("deliveries-16", "deliveries/s, up to 16 per frame", self.batched),
            ("connects", "connects/s while 1,000 are delivered to", self.connects),
        )

    def as_results(self, advised: Advice) -> report.Results:
        """Return what is kept as JSON."""
        results: report.Results = {key: {"node": [limit]} for key, _, limit in self.rows()}
        return {**results, "advice": {"node": [advised]}}


@dataclass(frozen=True)
class Run:
    """How it was measured."""

    quick: bool
    safety: float
    memory_limit_mib: float | None
    bounds: Bounds

    def head(self, limits: Limits, took_s: float) -> list[str]:
        """Return what is told before any figure."""
        head = [
            f"{datetime.now(UTC):%Y-%m-%d}, {machine.describe()}",
            f"realtime-node {metadata.version('realtime-node')}; took {took_s:.0f} s",
            self.bounds.rule,
            f"loop lag: {limits.lag_source}; generators share the first core, the node has another",
        ]
        if self.quick:
            head.append("**quick run: the figures are too coarse to be set**")
        waited = max(limit.waiting_percent for _, _, limit in limits.rows())
        return head + [
            f"**{warning}**" for warning in rounds.warnings_of_waiting("the node", waited)
        ]

    def text(self, head: Sequence[str], limits: Limits, advised: Advice) -> str:
        """Return the whole report, as Markdown."""
        share = f"{100 * self.safety:.0f} %"
        lines = [
            *(f"- {line}" for line in head),
            "",
            *_table(limits),
            "",
            *self._memory(limits),
            "",
            f"Settings of a node (the limit as measured, the rate {share} of it):",
            "",
            *_yaml(advice.node_settings(advised)),
            "",
            f"RealtimeCluster (capacity as measured, targets {share} of it):",
            "",
            *_yaml(advice.cluster_spec(advised)),
            "",
        ]
        return "\n".join(lines)

    def _memory(self, limits: Limits) -> Iterator[str]:
        measured, memory = limits.measured(self.bounds), limits.connections.memory
        limit_mib = self.memory_limit_mib or _REFERENCE_MIB
        yield (
            f"A client takes {memory.kib_per_client:.2f} KiB of resident memory over"
            f" {memory.idle_mib:.0f} MiB; {limit_mib:,.0f} MiB would hold"
            f" {memory.clients_within(limit_mib):,} of them, with {advice.SLOW_CLIENTS_MIB} MiB for"
            " slow ones and a tenth to spare."
        )
        if limits.connections.broke_at is None:
            beyond = advice.extrapolated(measured, limit_mib, most_busy_percent=100 * self.safety)
            yield (
                f"Extrapolated, not measured: {beyond:,} idle, pinged clients within"
                f" {limit_mib:,.0f} MiB and {100 * self.safety:.0f} % of the core."
            )


def _table(limits: Limits) -> Iterator[str]:
    yield "| limit | held | at loop lag p99 | node's core | stopped by |"
    yield "|---|--:|--:|--:|---|"
    for _, name, limit in limits.rows():
        where = f", at {limit.broke_at:,.0f}" if limit.broke_at else ""
        yield (
            f"| {name} | {limit.held:,.0f} | {limit.lag_p99_ms:.1f} ms |"
            f" {limit.busy_percent:.0f} % | {limit.stopped_by}{where} |"
        )


def _yaml(text: str) -> tuple[str, ...]:
    return ("```yaml", *text.splitlines(), "```")
