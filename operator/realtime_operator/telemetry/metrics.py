"""The operator's instruments, in a registry of their own."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_CLUSTER: Final = ("namespace", "cluster")


class Metrics:
    """All instruments of one operator."""

    def __init__(self) -> None:
        """Make them."""
        self._registry = CollectorRegistry()
        self.leads = Gauge(
            "realtime_operator_leads",
            "1 while this replica holds the lease.",
            registry=self._registry,
        )
        self.loop_restarts = Counter(
            "realtime_operator_loop_restarts",
            "Loops that raised an unexpected exception and were run again.",
            ("loop",),
            registry=self._registry,
        )
        self.callback_errors = Counter(
            "realtime_operator_callback_errors",
            "Callbacks and single steps that raised an unexpected exception.",
            ("where",),
            registry=self._registry,
        )
        self.rounds = Counter(
            "realtime_operator_rounds",
            "Rounds of clusters, by how they ended.",
            (*_CLUSTER, "result"),
            registry=self._registry,
        )
        self.round_seconds = Histogram(
            "realtime_operator_round_seconds",
            "Time that a round took.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self._registry,
        )
        self.actions = Counter(
            "realtime_operator_actions",
            "Actions carried out, by kind and result.",
            ("kind", "result"),
            registry=self._registry,
        )
        self.nodes = Gauge(
            "realtime_operator_nodes",
            "Nodes of a cluster, by state.",
            (*_CLUSTER, "state"),
            registry=self._registry,
        )
        self.desired = Gauge(
            "realtime_operator_desired_nodes",
            "Nodes that should take clients.",
            _CLUSTER,
            registry=self._registry,
        )
        self.accepting = Gauge(
            "realtime_operator_accepting_nodes",
            "Nodes that take new clients.",
            _CLUSTER,
            registry=self._registry,
        )
        self.connections = Gauge(
            "realtime_operator_connections",
            "Clients connected to a cluster's nodes.",
            _CLUSTER,
            registry=self._registry,
        )
        self.silent = Gauge(
            "realtime_operator_silent_nodes",
            "Nodes that may have clients and did not answer in the last round.",
            _CLUSTER,
            registry=self._registry,
        )
        self.recommended = Gauge(
            "realtime_operator_recommended_nodes",
            "Nodes that the load, or spec.replicas, asks for before any limit.",
            _CLUSTER,
            registry=self._registry,
        )
        self.limited = Gauge(
            "realtime_operator_scaling_limited",
            "1 while this limit keeps the number of nodes from being what is asked for.",
            (*_CLUSTER, "limit"),
            registry=self._registry,
        )
        self.demand = Gauge(
            "realtime_operator_demand_connections",
            "Connections to reckon with: those there are, and those that growth is to bring.",
            _CLUSTER,
            registry=self._registry,
        )
        self.deliveries = Gauge(
            "realtime_operator_deliveries_per_second",
            "Publications that all nodes write to their clients per second.",
            _CLUSTER,
            registry=self._registry,
        )
        self.busy = Gauge(
            "realtime_operator_busy_loops",
            "Work of all event loops together; 1 is one that never rests.",
            _CLUSTER,
            registry=self._registry,
        )
        self.shedding = Gauge(
            "realtime_operator_shedding_nodes",
            "Nodes that send clients elsewhere to even out the cluster.",
            _CLUSTER,
            registry=self._registry,
        )

    def forget(self, namespace: str, cluster: str) -> None:
        """Tell nothing of a cluster any more that is gone."""
        labels = {"namespace": namespace, "cluster": cluster}
        counted = (self.desired, self.accepting, self.connections, self.silent)
        load = (self.recommended, self.limited, self.demand, self.deliveries, self.busy)
        for instrument in (self.rounds, self.nodes, *counted, *load, self.shedding):
            instrument.remove_by_labels(labels)

    def expose(self) -> bytes:
        """All of them as Prometheus reads them."""
        return generate_latest(self._registry)
