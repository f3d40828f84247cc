"""What a scenario returns: dataclasses whose fields carry their own labels.

report.py prints whatever has one, so a figure is declared in one place, here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Label:
    """How a figure is called and printed."""

    text: str
    unit: str = ""
    digits: int = 0


def figure(text: str, unit: str = "", digits: int = 0) -> Any:
    """Declare a field of a result as a figure of the report."""
    return dataclasses.field(metadata={"label": Label(text, unit, digits)})


@dataclass(frozen=True)
class Delivery:
    """Publications delivered to clients."""

    us_per_delivery: float = figure("CPU per delivery", "µs", 2)
    us_per_frame: float = figure("CPU per delivered frame", "µs", 2)
    deliveries_per_s: float = figure("deliveries per second")
    publications_per_frame: float = figure("publications per frame", digits=2)
    most_per_frame: int = figure("publications in the fullest frame")
    p50_ms: float = figure("latency p50", "ms", 1)
    p99_ms: float = figure("latency p99", "ms", 1)
    p99_growth: float = figure("p99, last third ÷ first third", digits=2)
    whole_percent: float = figure("clients that received everything once", "%", 1)
    lost_clients: int = figure("clients lost")
    rejected: int = figure("publications rejected")
    server_busy_percent: float = figure("server's core busy with it", "%")
    server_waiting_percent: float = figure("server kept from its core by others", "%")
    generators_busy_percent: float = figure("generators' core busy with them", "%")


@dataclass(frozen=True)
class Sending:
    """Ready frames sent by a bare loop, the floor beneath `Delivery`."""

    us_per_delivery: float = figure("CPU per delivery", "µs", 2)
    us_per_frame: float = figure("CPU per delivered frame", "µs", 2)


@dataclass(frozen=True)
class Compressing:
    """The same publications delivered with and without compression, in one run."""

    bytes_ratio: float = figure("bytes, compressed ÷ plain", digits=2)
    cpu_ratio: float = figure("CPU, compressed ÷ plain", digits=2)
    plain_bytes: float = figure("bytes per delivery, plain")
    compressed_bytes: float = figure("bytes per delivery, compressed")
    plain_us: float = figure("CPU per delivery, plain", "µs", 2)
    compressed_us: float = figure("CPU per delivery, compressed", "µs", 2)
    whole_percent: float = figure("clients that received everything once", "%", 1)


@dataclass(frozen=True)
class Stalling:
    """A channel of which some clients read nothing, beside the same with all of them reading."""

    p99_ratio: float = figure("latency p99 of the others ÷ calm", digits=2)
    cpu_ratio: float = figure("CPU ÷ calm", digits=2)
    calm_p99_ms: float = figure("latency p99, calm", "ms", 1)
    p99_ms: float = figure("latency p99 of the others", "ms", 1)
    calm_cpu_s: float = figure("CPU, calm", "s", 2)
    cpu_s: float = figure("CPU", "s", 2)
    user_kib_per_stalled: float = figure("memory per stalled client, in the server", "KiB", 1)
    kernel_kib_per_stalled: float = figure("the same, in the kernel", "KiB", 1)
    ended: int = figure("connections that the server ended, of 200 stalled")
    lost_others: int = figure("others lost")
    whole_percent: float = figure("others that received everything once", "%", 1)
    waiting_percent: float = figure("server kept from its core by others", "%")


@dataclass(frozen=True)
class Connections:
    """Clients that connected and subscribed."""

    clients: int = figure("clients")
    us_per_client: float = figure("CPU per connect + subscribe", "µs")
    kib_per_client: float = figure("resident memory per client", "KiB", 1)
    kib_per_client_of_second_half: float = figure("the same, of the second half", "KiB", 1)
    proportional_kib_per_client: float = figure("proportional (PSS) per client", "KiB", 1)
    kib_per_client_after_traffic: float = figure("resident per client, after traffic", "KiB", 1)
    idle_mib: float = figure("resident without clients", "MiB", 1)
    setup_s: float = figure("time until all were subscribed", "s", 1)


@dataclass(frozen=True)
class Narrow:
    """Publications of one node, delivered by another to channels of one client each."""

    us_per_publish: float = figure("CPU per publish, publishing node", "µs", 1)
    us_per_delivery: float = figure("CPU per delivery, delivering node", "µs", 1)
    kib_per_client: float = figure("resident memory per client and channel", "KiB", 2)
    us_per_client: float = figure("CPU per connect + subscribe", "µs")
    clients: int = figure("clients, each in a channel of its own")
    deliveries_per_s: float = figure("deliveries per second")
    p50_ms: float = figure("latency p50", "ms", 1)
    p99_ms: float = figure("latency p99", "ms", 1)
    whole_percent: float = figure("clients that received everything once", "%", 1)
    lost_clients: int = figure("clients lost")
    rejected: int = figure("publications rejected")
    servers_busy_percent: float = figure("core busy with both nodes", "%")


@dataclass(frozen=True)
class HttpPublishing:
    """Requests to the HTTP API."""

    publishes_per_s: float = figure("publishes per second")
    us_per_publish: float = figure("CPU per publish", "µs")
    p50_ms: float = figure("request p50", "ms", 1)
    p99_ms: float = figure("request p99", "ms", 1)
    rejected: int = figure("publications rejected")


@dataclass(frozen=True)
class Cluster:
    """Several nodes that share a Redis."""

    deliveries_per_s: float = figure("deliveries per second, at the ceiling")
    us_per_delivery: float = figure("CPU per delivery, all nodes", "µs", 2)
    publications_per_frame: float = figure("publications per frame", digits=2)
    p99_ceiling_ms: float = figure("latency p99, at the ceiling", "ms", 1)
    p50_paced_ms: float = figure("latency p50, at 50 publications/s", "ms", 1)
    p99_paced_ms: float = figure("latency p99, at 50 publications/s", "ms", 1)
    whole_percent: float = figure("clients that received everything once", "%", 1)
