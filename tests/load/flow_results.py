"""What the scenarios of bench_flow.py return; see `results`.

A field that is no `figure` stands in no table: it is kept as numbers, and drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tests.load.latencies import Latencies
from tests.load.results import figure


@dataclass(frozen=True)
class Stalled:
    """A channel of which some clients read nothing."""

    p50_ms: float = figure("latency p50 of the others", "ms", 1)
    p99_ms: float = figure("latency p99 of the others", "ms", 1)
    cpu_s: float = figure("CPU of the node", "s", 2)
    whole_percent: float = figure("others that received everything once", "%", 1)
    lost_others: int = figure("others lost")
    kib_per_stalled: float = figure("memory per stalled client", "KiB", 1)
    user_kib_per_stalled: float = figure("of it in the node", "KiB", 1)
    kernel_kib_per_stalled: float = figure("of it in the kernel", "KiB", 1)
    ended: int = figure("stalled clients that the node ended")
    waiting_percent: float = figure("server kept from its core by others", "%")
    user_kib: float = 0  # by which memory grew at most, in the node and in the kernel
    kernel_kib: float = 0


class Held(NamedTuple):
    """What a node held for clients that take nothing, so many seconds after the beginning."""

    seconds: float
    growth_mib: float  # of the resident set, since before the first frame
    waiting_mib: float  # by the node's own count, on which it acts


@dataclass(frozen=True)
class Choking:
    """Large frames on a channel of which most clients read nothing, within a budget."""

    growth_mib: float = figure("growth of the resident set, most", "MiB", 1)
    growth_percent: float = figure("the same, of the budget", "%", 0)
    waiting_mib: float = figure("waiting by the node's count, most", "MiB", 1)
    ended: int = figure("stalled clients that the node ended")
    lost_others: int = figure("others lost")
    whole_percent: float = figure("others that received everything once", "%", 1)
    p99_ms: float = figure("latency p99 of the others", "ms", 1)
    waiting_percent: float = figure("server kept from its core by others", "%")
    held: tuple[Held, ...] = field(kw_only=True)


@dataclass(frozen=True)
class Quantiles:
    """Latencies in short."""

    p10_ms: float = figure("latency p10", "ms", 1)
    p20_ms: float = figure("latency p20", "ms", 1)
    p30_ms: float = figure("latency p30", "ms", 1)
    p40_ms: float = figure("latency p40", "ms", 1)
    p50_ms: float = figure("latency p50", "ms", 1)
    p60_ms: float = figure("latency p60", "ms", 1)
    p70_ms: float = figure("latency p70", "ms", 1)
    p80_ms: float = figure("latency p80", "ms", 1)
    p90_ms: float = figure("latency p90", "ms", 1)
    p99_ms: float = figure("latency p99", "ms", 1)
    max_ms: float = figure("latency max", "ms", 1)

    def beyond(self, other: Quantiles) -> Quantiles:
        """Return how much later than in `other` the same share had arrived."""
        names = Quantiles.__dataclass_fields__
        return Quantiles(**{name: getattr(self, name) - getattr(other, name) for name in names})


def quantiles(latencies: Latencies, max_ms: float) -> dict[str, float]:
    """Return the fields of `Quantiles`; the maximum is known better than the bins tell."""
    shares = (10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
    of = {f"p{share}_ms": latencies.quantile_ms(share / 100) for share in shares}
    return {**of, "max_ms": max_ms}


@dataclass(frozen=True)
class Arrivals(Quantiles):
    """When the publications of a channel arrived at its clients, and what that cost."""

    us_per_delivery: float = figure("CPU per delivery", "µs", 2)
    us_per_frame: float = figure("CPU per delivered frame", "µs", 2)
    deliveries_per_s: float = figure("deliveries per second")
    publications_per_frame: float = figure("publications per frame", digits=2)
    most_per_frame: int = figure("publications in the fullest frame")
    whole_percent: float = figure("clients that received everything once", "%", 1)
    lost_clients: int = figure("clients lost")
    rejected: int = figure("publications rejected")
    server_busy_percent: float = figure("server's core busy with it", "%")
    waiting_percent: float = figure("server kept from its core by others", "%")
    latencies: Latencies = field(kw_only=True)


@dataclass(frozen=True)
class InOrder(Arrivals):
    """Arrivals of what one connection published, whose order is therefore known."""

    disordered: int = figure("publications out of order at a client")
