"""Streams in memory: their bounds, and endings on a clock that the test turns."""

from __future__ import annotations

from realtime_node.cluster.backplane import StreamOptions
from realtime_node.cluster.in_memory.streams import Streams
from tests.support.backplanes import HISTORY, publication, text


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _texts(streams: Streams, channel: str, options: StreamOptions) -> list[str]:
    page = streams.page(channel, options, limit=-1, since=None, reverse=False)
    return [text(kept) for kept in page]


def test_too_many_channels_forget_the_least_used() -> None:
    """Beyond the bound the channel that was not used for longest begins another epoch."""
    streams = Streams(_Clock(), max_channels=2)
    first = {name: streams.position(name, HISTORY).epoch for name in "ab"}
    assert streams.position("a", HISTORY).epoch == first["a"]
    streams.position("c", HISTORY)
    assert len(streams) == 2
    assert streams.position("a", HISTORY).epoch == first["a"]
    assert streams.position("b", HISTORY).epoch != first["b"]


def test_memory_is_freed_without_use() -> None:
    """An ended channel is forgotten when any other is used."""
    clock = _Clock()
    streams = Streams(clock, max_channels=1000)
    short = StreamOptions(history_size=1, history_ttl_ms=1000, meta_ttl_ms=2000)
    for number in range(100):
        streams.append(f"c{number}", publication("x"), short)
    clock.now = 2.5
    streams.position("other", HISTORY)
    assert len(streams) == 1


def test_a_publication_prolongs_its_history() -> None:
    """The history ends its time to live after the last publication, not the first."""
    clock = _Clock()
    streams = Streams(clock, max_channels=10)
    options = StreamOptions(history_size=10, history_ttl_ms=1000)
    for now in (0.0, 0.9, 1.8):
        clock.now = now
        streams.append("c", publication(str(now)), options)
    clock.now = 2.7
    assert _texts(streams, "c", options) == ["0.0", "0.9", "1.8"]
    clock.now = 2.9
    assert _texts(streams, "c", options) == []


def test_the_use_of_a_channel_prolongs_its_position() -> None:
    """A position that is asked for lives on."""
    clock = _Clock()
    streams = Streams(clock, max_channels=10)
    options = StreamOptions(history_size=10, history_ttl_ms=1000, meta_ttl_ms=1000)
    epoch = streams.position("c", options).epoch
    for now in (0.9, 1.8, 2.7):
        clock.now = now
        assert streams.position("c", options).epoch == epoch
    clock.now = 3.8
    assert streams.position("c", options).epoch != epoch


def test_endings_are_bounded() -> None:
    """Channels that made room for others leave nothing behind."""
    streams = Streams(_Clock(), max_channels=10)
    for number in range(1000):
        streams.append(f"c{number}", publication("x"), HISTORY)
    assert len(streams) == 10
    assert len(streams._endings) <= 21
