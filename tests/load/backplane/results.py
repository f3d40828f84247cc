"""What the scenarios of the backplane return; see `tests.load.results` for what a figure is."""

from __future__ import annotations

from dataclasses import dataclass

from tests.load.results import figure


@dataclass(frozen=True)
class Publishing:
    """Publishes of one node, while those that are interested read their inboxes."""

    publishes_per_s: float = figure("publishes per second")
    redis_us_per_publish: float = figure("Redis' CPU per publish, inboxes read", "µs", 1)
    script_us_per_publish: float = figure("time in the script, by Redis' clock", "µs", 1)
    carried_per_s: float = figure("publishes per second that fill a core of Redis")
    publisher_us_per_publish: float = figure("publishing node's CPU per publish", "µs", 1)
    reader_us_per_entry: float = figure("interested node's CPU per entry", "µs", 1)
    p50_ms: float = figure("publish p50", "ms", 1)
    p99_ms: float = figure("publish p99", "ms", 1)
    redis_busy_percent: float = figure("Redis busy with it", "%")
    redis_waiting_percent: float = figure("Redis kept from its core by others", "%")


@dataclass(frozen=True)
class Idle:
    """What Redis is asked, and what it sends, while nothing is published."""

    commands_per_s: float = figure("commands per second", digits=1)
    heartbeats_per_s: float = figure("of these heartbeats", digits=1)
    inspections_per_s: float = figure("channels looked at by the sweep", digits=1)
    reads_per_s: float = figure("reads of an inbox", digits=1)
    others_per_s: float = figure("anything else", digits=1)
    commands_without_sweep_per_s: float = figure("commands without the sweep", digits=1)
    received_per_s: float = figure("bytes per second to Redis")
    sent_per_s: float = figure("bytes per second from Redis")


@dataclass(frozen=True)
class Footprint:
    """Memory of channels with one subscriber each."""

    redis_bytes_per_channel: float = figure("Redis, per channel with empty history", "bytes")
    redis_bytes_per_published: float = figure("the same with one publication", "bytes")
    node_bytes_per_channel: float = figure("resident in the node, per channel", "bytes")
    subscribes_per_s: float = figure("subscribes per second, all nodes")
