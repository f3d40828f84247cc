"""Instruments of `cluster.on_redis`."""

from __future__ import annotations

from typing import Final

from realtime_node.telemetry.metrics.maker import Maker

CONNECTIONS: Final = ("writes", "reads", "inbox")


class BackplaneMetrics:
    """Instruments of the Redis backplane; the methods are `cluster.on_redis.Instruments`."""

    def __init__(self, make: Maker) -> None:
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
        garbled = make.counter(
            "redis_garbled_replies",
            "Answers of Redis that could not be read; each ended its connection.",
            "connection",
        )
        self._garbled = {name: garbled.labels(name) for name in CONNECTIONS}
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
        self._set_aside = make.counter(
            "inbox_set_aside", "Entries given up because they failed each time; channels were told."
        )
        self._buried = make.counter("nodes_buried", "Dead nodes this one cleaned up after.")

    def reconnected(self, connection: str) -> None:
        """Count a connection that was lost and made anew."""
        self._reconnects[connection].inc()

    def garbled(self, connection: str) -> None:
        """Count an answer that could not be read."""
        self._garbled[connection].inc()

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

    def set_aside(self, count: int) -> None:
        """Count entries that failed each time."""
        self._set_aside.inc(count)

    def buried(self, nodes: int) -> None:
        """Count dead nodes that this one cleaned up after."""
        self._buried.inc(nodes)
