"""Instruments of `proxy`."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from realtime_node.telemetry.metrics.maker import Maker

PROXY_NOT_ASKED: Final = ("queue_full", "circuit_open")
PROXY_OUTCOMES: Final = (
    *("ok", "timeout", "unreachable", "status", "too_large", "malformed", "abandoned"),
    *PROXY_NOT_ASKED,
)
PROXY_CIRCUIT_STATES: Final = ("closed", "half open", "open")


class ProxyMetrics:
    """Instruments of `proxy`; each proxy is given its own, with the labels looked up once."""

    def __init__(self, make: Maker) -> None:
        labels = ("event", "proxy")
        self._requests = make.counter(
            "proxy_requests", "Questions to the team's backend.", *labels, "outcome"
        )
        self._seconds = make.histogram(
            "proxy_request_seconds", "From asking the team's backend to its answer.", *labels
        )
        self._under_way = make.gauge("proxy_under_way", "Questions that were asked.", *labels)
        self._waiting = make.gauge("proxy_waiting", "Questions that wait to be asked.", *labels)
        self._circuit = make.gauge(
            "proxy_circuit", "The state of the circuit: 1 for the present one.", *labels, "state"
        )
        self._verdicts = make.counter(
            "proxy_verdicts", "Questions whose answers are kept.", *labels, "outcome"
        )

    def of(self, event: str, name: str) -> ProxyInstruments:
        """The instruments of one proxy."""
        return ProxyInstruments(
            requests={
                outcome: self._requests.labels(event, name, outcome) for outcome in PROXY_OUTCOMES
            },
            seconds=self._seconds.labels(event, name),
            under_way=self._under_way.labels(event, name),
            waiting=self._waiting.labels(event, name),
            circuit={
                state: self._circuit.labels(event, name, state) for state in PROXY_CIRCUIT_STATES
            },
        )

    def cache_of(self, event: str, name: str) -> ProxyCacheInstruments:
        """The instruments of what one proxy keeps."""
        outcomes = ("hit", "miss", "shared", "anonymous", "away")
        return ProxyCacheInstruments(
            {outcome: self._verdicts.labels(event, name, outcome) for outcome in outcomes}
        )


class ProxyInstruments:
    """Those of one proxy; the methods are `proxy.guard.GuardInstruments`."""

    def __init__(
        self,
        *,
        requests: dict[str, Counter],
        seconds: Histogram,
        under_way: Gauge,
        waiting: Gauge,
        circuit: dict[str, Gauge],
    ) -> None:
        self._requests = requests
        self._seconds = seconds
        self._under_way = under_way
        self._waiting = waiting
        self._circuit = circuit
        self.circuit("closed")

    def finished(self, outcome: str, seconds: float) -> None:
        """Count a question by what became of it."""
        self._requests[outcome].inc()
        if outcome not in PROXY_NOT_ASKED:
            self._seconds.observe(seconds)

    def under_way(self, change: int) -> None:
        """Note that more or fewer are under way."""
        self._under_way.inc(change)

    def waiting(self, change: int) -> None:
        """Note that more or fewer wait."""
        self._waiting.inc(change)

    def circuit(self, state: str) -> None:
        """Note the state of the circuit."""
        for name, gauge in self._circuit.items():
            gauge.set(name == state)


class ProxyCacheInstruments:
    """What one proxy keeps; the methods are `proxy.cached.CacheInstruments`."""

    def __init__(self, outcomes: dict[str, Counter]) -> None:
        self._outcomes = outcomes

    def looked_up(self, outcome: str) -> None:
        """Count a question by where its answer came from."""
        self._outcomes[outcome].inc()
