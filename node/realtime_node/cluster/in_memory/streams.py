"""Histories and positions of all channels, in memory; the clock is passed in.

Bounds: a history holds `history_size` publications and ends with its time to live; at most
`max_channels` channels have a position. When they are too many the least recently used one is
forgotten: its next use begins another epoch, so its clients are told and not misled.
"""

from __future__ import annotations

import heapq
import itertools
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from realtime_node.cluster.backplane import StreamOptions
from realtime_node.protocol.messages import Publication, StreamPosition

_ENDINGS_PER_CHANNEL: Final = 2


class _Stream:
    __slots__ = ("epoch", "history_ends", "looked_at", "meta_ends", "offset", "publications")

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(6)
        self.offset = 0
        self.publications: deque[Publication] = deque()
        self.history_ends = float("inf")
        self.meta_ends = float("inf")
        self.looked_at = float("inf")

    @property
    def ends(self) -> float:
        """When something of it has to be forgotten next."""
        return min(self.history_ends, self.meta_ends) if self.publications else self.meta_ends


class Streams:
    """The streams of the channels that have history."""

    def __init__(self, clock: Callable[[], float], max_channels: int) -> None:
        """`clock` in seconds, from any start."""
        self._clock = clock
        self._max_channels = max_channels
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._endings: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._streams)

    def append(self, channel: str, publication: Publication, options: StreamOptions) -> Publication:
        """Give a publication its offset and keep it."""
        stream = self._use(channel, options)
        stream.offset += 1
        numbered = msgspec.structs.replace(publication, offset=stream.offset)
        stream.publications.append(numbered)
        while len(stream.publications) > options.history_size:
            stream.publications.popleft()
        stream.history_ends = self._clock() + options.history_ttl_ms / 1000
        self._watch(channel, stream)
        return numbered

    def position(self, channel: str, options: StreamOptions) -> StreamPosition:
        """The last offset given out, and its epoch."""
        stream = self._use(channel, options)
        return StreamPosition(offset=stream.offset, epoch=stream.epoch)

    def page(
        self,
        channel: str,
        options: StreamOptions,
        *,
        limit: int,
        since: StreamPosition | None,
        reverse: bool,
    ) -> list[Publication]:
        """Read publications; `limit` -1 is all of them, `since` excludes its own offset."""
        publications: Iterable[Publication] = self._use(channel, options).publications
        if reverse:
            publications = reversed(list(publications))
        if since is not None:
            publications = (
                publication
                for publication in publications
                if (
                    publication.offset < since.offset
                    if reverse
                    else publication.offset > since.offset
                )
            )
        return list(itertools.islice(publications, None if limit < 0 else limit))

    def clear(self, channel: str) -> None:
        """Forget a channel's publications, not its position."""
        stream = self._streams.get(channel)
        if stream is not None:
            stream.publications.clear()

    def _use(self, channel: str, options: StreamOptions) -> _Stream:
        self._forget_ended()
        stream = self._streams.get(channel)
        if stream is None:
            stream = self._streams[channel] = _Stream()
            if len(self._streams) > self._max_channels:
                self._streams.popitem(last=False)
        else:
            self._streams.move_to_end(channel)
        # As long as there is history, there is the position that numbers it.
        life_ms = max(options.meta_ttl_ms, options.history_ttl_ms)
        stream.meta_ends = self._clock() + life_ms / 1000
        self._watch(channel, stream)
        return stream

    def _watch(self, channel: str, stream: _Stream) -> None:
        # An ending that moved away costs nothing: the stream is looked at once too often.
        if stream.ends < stream.looked_at:
            stream.looked_at = stream.ends
            heapq.heappush(self._endings, (stream.ends, channel))
            if len(self._endings) > _ENDINGS_PER_CHANNEL * self._max_channels:
                # Mostly of streams that made room for others.
                self._endings = [
                    (stream.looked_at, channel) for channel, stream in self._streams.items()
                ]
                heapq.heapify(self._endings)

    def _forget_ended(self) -> None:
        now = self._clock()
        while self._endings and self._endings[0][0] <= now:
            looked_at, channel = heapq.heappop(self._endings)
            stream = self._streams.get(channel)
            if stream is None or stream.looked_at != looked_at:
                continue
            stream.looked_at = float("inf")
            if stream.history_ends <= now:
                stream.publications.clear()
            if stream.meta_ends <= now:
                del self._streams[channel]
            else:
                self._watch(channel, stream)
