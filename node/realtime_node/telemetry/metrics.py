"""Prometheus instruments, grouped by the room that moves them.

`Metrics` makes them all in one registry of its own, so that two nodes in one process (tests) do
not share numbers. Hot paths count per batch with `inc(n)`, never per client, and look up no label
that can be looked up before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

NAMESPACE: Final = "realtime"
LATENCY_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
PROXY_NOT_ASKED: Final = ("queue_full", "circuit_open")
PROXY_OUTCOMES: Final = (
    *("ok", "timeout", "unreachable", "status", "too_large", "malformed", "abandoned"),
    *PROXY_NOT_ASKED,
)
PROXY_CIRCUIT_STATES: Final = ("closed", "half open", "open")
WAIT_BUCKETS_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 20, 30)
REFUSED: Final = ("cordoned", "max_connections", "loop_lag", "per_ip", "room_full", "rate")
CONNECTIONS: Final = ("writes", "reads", "inbox")


class _Maker:
    """Makes instruments in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, namespace=NAMESPACE, registry=self._registry)

    def gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, namespace=NAMESPACE, registry=self._registry)

    def histogram(
        self,
        name: str,
        meaning: str,
        *labels: str,
        buckets: Sequence[float] = LATENCY_BUCKETS_S,
    ) -> Histogram:
        return Histogram(
            name, meaning, labels, namespace=NAMESPACE, registry=self._registry, buckets=buckets
        )


class DeliveryMetrics:
    """Instruments of `delivery`."""

    def __init__(self, make: _Maker) -> None:
        self.entries_received = make.counter(
            "inbox_entries", "Entries taken from this node's inbox."
        )
        self.frames_built = make.counter(
            "frames_built", "Frames encoded for the members of a channel."
        )
        self.deliveries = make.counter(
            "deliveries", "Messages written to subscribers, counted once per subscriber."
        )
        self.positions_lost = make.counter(
            "positions_lost", "Subscriptions told to recover because this node missed messages."
        )
        self.conflated = make.counter(
            "conflated",
            "Messages left out of a frame because a newer one of their key was in it.",
        )
        self.backlog = make.gauge("delivery_backlog", "Messages waiting for their frame.")
        self.channels = make.gauge("channels", "Channels with a subscriber on this node.")


class CompressionMetrics:
    """Instruments of `delivery.frames`."""

    def __init__(self, make: _Maker) -> None:
        self.frames = make.counter(
            "frames_compressed", "Frames compressed, once for all clients of a window size."
        )
        self.bytes_in = make.counter("compression_in_bytes", "Bytes of payloads compressed.")
        self.bytes_out = make.counter("compression_out_bytes", "Bytes that became of them.")
        self.clients = make.gauge(
            "compressed_clients", "Connections that agreed on permessage-deflate."
        )

    def compressed(self, bytes_in: int, bytes_out: int) -> None:
        """Count a payload that was compressed, worthwhile or not."""
        self.frames.inc()
        self.bytes_in.inc(bytes_in)
        self.bytes_out.inc(bytes_out)


class SlowClientMetrics:
    """Instruments of the clients that do not take what is sent to them."""

    def __init__(self, make: _Maker) -> None:
        self.clients = make.gauge("slow_clients", "Clients whose buffers are full at the moment.")
        self.waiting = make.gauge(
            "slow_client_waiting_bytes",
            "Memory of what waits for them in this node, a shared frame counted once.",
        )
        self.unsent = make.gauge(
            "slow_client_unsent_bytes",
            "What the node's and the kernel's buffers hold for them, each client's counted.",
        )
        self._messages = make.counter(
            "slow_client_messages",
            "Messages that met a full buffer, once per client, by what became of them.",
            "policy",
            "outcome",
        )
        self._replaced = make.counter(
            "slow_client_replaced", "Waiting values that gave way to newer ones."
        )
        self._closed = make.counter(
            "slow_client_closes",
            "Connections ended because the client was too slow; without a policy it was for what"
            " waits over all its channels.",
            "policy",
            "reason",
        )

    def kept(self, policy: str, messages: int) -> None:
        """Count messages that wait."""
        if messages:
            self._messages.labels(policy, "kept").inc(messages)

    def skipped(self, policy: str, messages: int) -> None:
        """Count messages that were left out."""
        if messages:
            self._messages.labels(policy, "skipped").inc(messages)

    def replaced(self, values: int) -> None:
        """Count values that gave way to newer ones."""
        if values:
            self._replaced.inc(values)

    def closed(self, policy: str | None, reason: str) -> None:
        """Count a client that had to go."""
        self._closed.labels(policy or "", reason).inc()


class SessionMetrics:
    """Instruments of `session`."""

    def __init__(self, make: _Maker) -> None:
        self.clients = make.gauge("clients", "Connected clients.")
        self.subscriptions = make.gauge("subscriptions", "Subscriptions of connected clients.")
        self.pending_departures = make.gauge(
            "pending_departures", "Presence entries and leaves still to be told to the store."
        )
        self.held_departures = make.gauge(
            "held_departures", "Clients, once per channel, that are away and still present."
        )
        self.pending_session_writes = make.gauge(
            "pending_session_writes", "Records of sessions still to be written to the store."
        )
        self.session_claims = make.counter(
            "session_claims", "Connects that asked for a session, by what became of it.", "verdict"
        )
        self.sessions_superseded = make.counter(
            "sessions_superseded", "Connections closed because another took their session over."
        )
        self.session_grants_left_out = make.counter(
            "session_grants_left_out", "Grants that had no room in the record of their session."
        )
        self.connects = make.counter("connects", "Clients that connected.")
        self.commands = make.counter("commands", "Commands executed.", "method")
        self.errors = make.counter("reply_errors", "Commands answered with an error.", "code")
        self.disconnects = make.counter("disconnects", "Connections closed by the node.", "code")
        self.recoveries = make.counter(
            "recoveries", "Attempts to continue from a position.", "recovered"
        )
        self.newest_only = make.counter(
            "newest_only_recoveries",
            "Recoveries cut to the newest, because the client was too slow again and again.",
        )


class BackplaneMetrics:
    """Instruments of the Redis backplane; the methods are `cluster.on_redis.Instruments`."""

    def __init__(self, make: _Maker) -> None:
        reconnects = make.counter(
            "redis_reconnects", "Connections to Redis that were lost and made anew.", "connection"
        )
        seconds = make.histogram(
            "redis_pipeline_seconds",
            "From a pipeline's first byte to its last answer.",
            "connection",
        )
        commands = make.counter("redis_commands", "Commands sent to Redis.", "connection")
        queue = make.gauge("redis_queue", "Commands behind the pipeline being sent.", "connection")
        refused = make.counter(
            "redis_refused", "Commands refused because the queue was full.", "connection"
        )
        self._reconnects = {name: reconnects.labels(name) for name in CONNECTIONS}
        self._seconds = {name: seconds.labels(name) for name in CONNECTIONS}
        self._commands = {name: commands.labels(name) for name in CONNECTIONS}
        self._queue = {name: queue.labels(name) for name in CONNECTIONS}
        self._refused = {name: refused.labels(name) for name in CONNECTIONS}
        self._stale_interest = make.counter(
            "stale_interest", "Publishes that had to learn anew which nodes are interested."
        )
        resolved = make.counter(
            "ambiguous_publishes",
            "Publishes whose answer was lost, by what was found out about them.",
            "outcome",
        )
        self._resolved = {
            outcome: resolved.labels(outcome) for outcome in ("done", "not_done", "unknown")
        }
        self._fenced = make.counter("fenced", "Times this node took a new identity.")
        self._entries = make.counter("redis_entries", "Entries read from the inbox stream.")
        self._gaps = make.counter("inbox_gaps", "Holes found in the inbox.")
        self._rotations = make.counter(
            "generation_rotations", "Losses of acknowledged writes in Redis that this node noticed."
        )
        doubts = make.counter(
            "compared_channels", "Channels compared with Redis after a doubt.", "outcome"
        )
        self._doubts = [doubts.labels(outcome) for outcome in ("whole", "told", "no_position")]
        self._swept = make.counter("swept_channels", "Channels that the sweep compared with Redis.")
        mended = make.counter("sweep_mended", "What the sweep found wrong and mended.", "what")
        self._mended = {what: mended.labels(what) for what in ("interest", "position")}
        self._unreadable = make.counter(
            "inbox_unreadable", "Entries written by a release this one does not understand."
        )
        self._buried = make.counter("nodes_buried", "Dead nodes this one cleaned up after.")

    def reconnected(self, connection: str) -> None:
        """Count a connection that was lost and made anew."""
        self._reconnects[connection].inc()

    def pipeline(self, connection: str, commands: int, seconds: float) -> None:
        """Observe a pipeline from its first byte sent to its last reply."""
        self._commands[connection].inc(commands)
        self._seconds[connection].observe(seconds)

    def queue_changed(self, connection: str, by: int) -> None:
        """Note how many more commands wait behind the pipeline that is sent now than before."""
        self._queue[connection].inc(by)

    def refused(self, connection: str) -> None:
        """Count a command that found the queue full."""
        self._refused[connection].inc()

    def stale_interest(self) -> None:
        """Count a publish that had to learn anew which nodes are interested."""
        self._stale_interest.inc()

    def resolved(self, outcome: str) -> None:
        """Count a publish whose answer was lost."""
        self._resolved[outcome].inc()

    def fenced(self) -> None:
        """Count the times that this node took a new identity."""
        self._fenced.inc()

    def entries(self, count: int) -> None:
        """Count entries taken out of the inbox stream."""
        self._entries.inc(count)

    def gap(self, partition: int) -> None:
        """Count holes in the inbox."""
        del partition
        self._gaps.inc()

    def rotated(self, partition: int) -> None:
        """Count losses of acknowledged writes that this node noticed."""
        del partition
        self._rotations.inc()

    def repaired(self, whole: int, told: int, unknown: int) -> None:
        """Count channels compared after a doubt."""
        for counter, channels in zip(self._doubts, (whole, told, unknown), strict=True):
            counter.inc(channels)

    def swept(self, channels: int) -> None:
        """Count channels that the sweep looked at."""
        self._swept.inc(channels)

    def mended(self, what: str) -> None:
        """Count what the sweep found wrong."""
        self._mended[what].inc()

    def unreadable(self, count: int) -> None:
        """Count entries that this release cannot read."""
        self._unreadable.inc(count)

    def buried(self, nodes: int) -> None:
        """Count dead nodes that this one cleaned up after."""
        self._buried.inc(nodes)


class ProxyMetrics:
    """Instruments of `proxy`; each proxy is given its own, with the labels looked up once."""

    def __init__(self, make: _Maker) -> None:
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


class DrainMetrics:
    """Instruments of `drain`."""

    def __init__(self, make: _Maker) -> None:
        self._phase = make.gauge("drain_phase", "1 for the phase that the node is in.", "phase")
        self._remaining = make.gauge("drain_remaining", "Clients still to be closed by a drain.")
        closes = make.counter("drain_closes", "Clients sent elsewhere, by what for.", "cause")
        self._closes = {cause: closes.labels(cause) for cause in ("drain", "shed", "forced")}
        self._permits = make.counter(
            "reconnect_permits_leased", "Permits to close clients that this node was given."
        )
        self._denials = make.counter(
            "reconnect_lease_denials", "Leases that brought no permit: the budget was used up."
        )
        self._local = make.counter(
            "reconnect_local_leases",
            "Leases out of this node's own share, since the store did not answer.",
        )
        self.deadline_extensions = make.counter(
            "drain_deadline_extensions", "Deadlines moved rather than the budget broken."
        )

    def follow(
        self, phases: Sequence[str], phase: Callable[[], str], remaining: Callable[[], int]
    ) -> None:
        """Ask for phase and remaining clients with every scrape."""
        for name in phases:
            self._phase.labels(name).set_function(partial(_is, phase, name))
        self._remaining.set_function(remaining)

    def leased(self, permits: int, *, is_local: bool) -> None:
        """Count a lease."""
        if permits:
            self._permits.inc(permits)
        else:
            self._denials.inc()
        if is_local:
            self._local.inc()

    def closed(self, cause: str) -> None:
        """Count a client that was closed."""
        self._closes[cause].inc()


def _is(value: Callable[[], str], name: str) -> float:
    return float(value() == name)


class AdmissionMetrics:
    """Instruments of `admission`."""

    def __init__(self, make: _Maker) -> None:
        self.accepted = make.counter("handshakes_accepted", "Handshakes that were let in.")
        refused = make.counter(
            "handshakes_refused", "Handshakes that were not, by what was in the way.", "reason"
        )
        self.refused = {reason: refused.labels(reason) for reason in REFUSED}
        self.waiting = make.gauge("handshakes_waiting", "Handshakes that wait for their turn.")
        self.waited = make.histogram(
            "handshake_wait_seconds",
            "How long those waited that were let in, but not at once.",
            buckets=WAIT_BUCKETS_S,
        )


class LoopMetrics:
    """Instruments of the event loop, which does all the node's work."""

    def __init__(self, make: _Maker) -> None:
        self.lag = make.gauge(
            "loop_lag_seconds", "How late the loop does what is due, on average over a second."
        )
        self.worst_lag = make.gauge(
            "loop_lag_worst_seconds", "The same, the worst of the last five seconds."
        )
        self.busy = make.gauge(
            "loop_busy_ratio", "The part of its time that the loop's thread works, 0 to 1."
        )


class ApiMetrics:
    """Instruments of the HTTP API."""

    def __init__(self, make: _Maker) -> None:
        self.requests = make.counter("api_requests", "Calls of the HTTP API.", "method", "error")
        self.seconds = make.histogram("api_request_seconds", "Duration of a call of the HTTP API.")


class Metrics:
    """All instruments of one node and their exposition."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        """Make every instrument at zero."""
        self._registry = CollectorRegistry()
        make = _Maker(self._registry)
        self.delivery = DeliveryMetrics(make)
        self.compression = CompressionMetrics(make)
        self.slow = SlowClientMetrics(make)
        self.session = SessionMetrics(make)
        self.backplane = BackplaneMetrics(make)
        self.proxy = ProxyMetrics(make)
        self.drain = DrainMetrics(make)
        self.api = ApiMetrics(make)
        self.admission = AdmissionMetrics(make)
        self.loop = LoopMetrics(make)

    def expose(self) -> bytes:
        """Return all instruments in Prometheus' text format."""
        return generate_latest(self._registry)


def total(counter: Counter) -> int:
    """Return how far a counter without labels has come."""
    samples = (sample for metric in counter.collect() for sample in metric.samples)
    return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))
