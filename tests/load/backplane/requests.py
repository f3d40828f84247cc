"""What the harness asks of a member, and what it answers: one JSON object a line, both ways."""

from __future__ import annotations

from typing import Final

import msgspec

from realtime_node.cluster.backplane import WITHOUT_HISTORY, StreamOptions

_HISTORY: Final = StreamOptions(history_size=100, history_ttl_ms=300_000)


class Channels(msgspec.Struct, frozen=True):
    """Channels by number, and whether they keep history."""

    first: int
    count: int
    history: bool

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [f"channel-{number}" for number in range(self.first, self.first + self.count)]

    @property
    def options(self) -> StreamOptions:
        """How they keep history."""
        return _HISTORY if self.history else WITHOUT_HISTORY


class Subscribe(msgspec.Struct, frozen=True, tag=True):
    """Become interested in channels; answered with `Done`."""

    channels: Channels


class PublishToEach(msgspec.Struct, frozen=True, tag=True):
    """Publish once into every channel; answered with `Published`."""

    channels: Channels


class PublishOnAndOn(msgspec.Struct, frozen=True, tag=True):
    """Publish for some time, so many at once; answered with `Published`."""

    channels: Channels
    seconds: float
    outstanding: int


class AwaitEntries(msgspec.Struct, frozen=True, tag=True):
    """Wait until the inbox has brought so many entries since the start; answered with `Done`."""

    count: int


Request = Subscribe | PublishToEach | PublishOnAndOn | AwaitEntries


class Done(msgspec.Struct, frozen=True, tag=True):
    """It is so."""


class Published(msgspec.Struct, frozen=True, tag=True):
    """What was acknowledged, from the first publish to the last acknowledgement."""

    count: int
    seconds: float
    p50_ms: float
    p99_ms: float


Answer = Done | Published
