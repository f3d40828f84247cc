"""What the Redis backplane tells about itself; `telemetry` binds it to metrics."""

from __future__ import annotations

from typing import Protocol


class Instruments(Protocol):
    """Called from the hot path: no method may block, raise or look anything up by name twice.

    `connection` is one of `writes`, `reads` and `inbox`, whatever their number.
    """

    def reconnected(self, connection: str) -> None:
        """Count a connection that was lost and made anew."""

    def garbled(self, connection: str) -> None:
        """Count an answer that could not be read, which ended its connection."""

    def pipeline(self, connection: str, commands: int, seconds: float) -> None:
        """Observe a pipeline from its first byte sent to its last reply."""

    def queue_changed(self, connection: str, by: int) -> None:
        """Note how many more commands wait behind the pipeline that is sent now than before."""

    def refused(self, connection: str) -> None:
        """Count a command that found the queue full."""

    def stale_interest(self) -> None:
        """Count a publish that had to learn anew which nodes are interested."""

    def resolved(self, outcome: str) -> None:
        """Count a publish whose answer was lost: `done`, `not_done`, or `unknown` for good."""

    def fenced(self) -> None:
        """Count the times that this node was declared dead and took a new identity."""

    def entries(self, count: int) -> None:
        """Count entries taken out of the inbox."""

    def gap(self, partition: int) -> None:
        """Count holes in the inbox: entries that are gone for good."""

    def rotated(self, partition: int) -> None:
        """Count losses of acknowledged writes that this node noticed."""

    def repaired(self, whole: int, told: int, unknown: int) -> None:
        """Count channels compared after a doubt: whole or filled, told, without a position."""

    def swept(self, channels: int) -> None:
        """Count channels that the sweep looked at."""

    def mended(self, what: str) -> None:
        """Count what the sweep found wrong: an `interest` or a `position`."""

    def unreadable(self, count: int) -> None:
        """Count entries that another release wrote in a way this one does not know."""

    def set_aside(self, count: int) -> None:
        """Count entries that were given up because they raised when they were handed over."""

    def buried(self, nodes: int) -> None:
        """Count dead nodes that this one's janitor cleaned up after."""


class NoInstruments:
    """Measures nothing."""

    def reconnected(self, connection: str) -> None:
        """Ignore."""

    def garbled(self, connection: str) -> None:
        """Ignore."""

    def pipeline(self, connection: str, commands: int, seconds: float) -> None:
        """Ignore."""

    def queue_changed(self, connection: str, by: int) -> None:
        """Ignore."""

    def refused(self, connection: str) -> None:
        """Ignore."""

    def stale_interest(self) -> None:
        """Ignore."""

    def resolved(self, outcome: str) -> None:
        """Ignore."""

    def fenced(self) -> None:
        """Ignore."""

    def entries(self, count: int) -> None:
        """Ignore."""

    def gap(self, partition: int) -> None:
        """Ignore."""

    def rotated(self, partition: int) -> None:
        """Ignore."""

    def repaired(self, whole: int, told: int, unknown: int) -> None:
        """Ignore."""

    def swept(self, channels: int) -> None:
        """Ignore."""

    def mended(self, what: str) -> None:
        """Ignore."""

    def unreadable(self, count: int) -> None:
        """Ignore."""

    def set_aside(self, count: int) -> None:
        """Ignore."""

    def buried(self, nodes: int) -> None:
        """Ignore."""
