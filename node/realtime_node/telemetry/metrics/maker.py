"""Makes instruments, all under one prefix and in one registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

NAMESPACE: Final = "realtime"
LATENCY_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Maker:
    """Makes instruments in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, meaning: str, *labels: str) -> Counter:
        """Make what only grows."""
        return Counter(name, meaning, labels, namespace=NAMESPACE, registry=self._registry)

    def gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        """Make what goes up and down."""
        return Gauge(name, meaning, labels, namespace=NAMESPACE, registry=self._registry)

    def histogram(
        self,
        name: str,
        meaning: str,
        *labels: str,
        buckets: Sequence[float] = LATENCY_BUCKETS_S,
    ) -> Histogram:
        """Make what counts durations, in seconds, by their size."""
        return Histogram(
            name, meaning, labels, namespace=NAMESPACE, registry=self._registry, buckets=buckets
        )


def total(counter: Counter) -> int:
    """Return how far a counter without labels has come."""
    samples = (sample for metric in counter.collect() for sample in metric.samples)
    return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))
