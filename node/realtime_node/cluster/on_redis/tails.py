"""Tails: the end of a channel's stream, kept for a moment while many recover it at once.

A tail begins with what one recovery read from Redis and goes on with what the receiver is given, so
it always ends where the receiver stands, or ahead of it. Whoever recovers from a position within it
is answered from here: for a reconnect storm Redis is asked a few times, not once per client.

That is as good as an answer of Redis while this node's lease lives, in the same epoch, under the
same interest: what comes after the tail comes through the inbox. A position ahead of the tail, or
before it, is Redis' to answer, and so is a subscriber without a position.

Bounds: `_MAX_TAILS` tails, the oldest goes first; each `_LIFE_S` old at most, so that a history
that was removed or has ended is not answered from for longer; `_MAX_BYTES` of data per tail.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from realtime_node.cluster.backplane import Entry, Receiver, Subscribed
from realtime_node.protocol.messages import Publication, StreamPosition

_MAX_TAILS: Final = 64
_LIFE_S: Final = 2.0
_MAX_BYTES: Final = 4 * 1024 * 1024


class Tail:
    """The end of one stream: the publications after `start`, up to `top`."""

    def __init__(self, ends_at: float) -> None:
        """Begin without an answer of Redis: what is received until then is kept."""
        self.ends_at = ends_at
        self.top: StreamPosition | None = None
        self.start = 0
        self._publications: list[Publication] = []
        self._early: list[Entry] = []
        self._size = 0

    def settle(self, found: Subscribed, since: int) -> bool:
        """Take over what Redis had after `since`; whether it is in one piece with the rest."""
        self.top = found.top
        self.start = since
        self._size = sum(len(publication.data) for publication in found.publications)
        self._publications = list(found.publications)
        expected = range(since + 1, found.top.offset + 1)
        if [publication.offset for publication in self._publications] != list(expected):
            # Trimmed, or not asked for: it begins at its end.
            self.start = found.top.offset
            self._publications.clear()
        early, self._early = self._early, []
        return all(self.add(entry) for entry in early)

    def add(self, entry: Entry) -> bool:
        """Go on with a publication that the receiver is given; whether it fits."""
        publication, top = entry.publication, self.top
        if publication is None or not entry.epoch:
            return True
        if top is None:
            self._early.append(entry)
            self._size += len(publication.data)
            return self._size <= _MAX_BYTES
        if entry.epoch == top.epoch and publication.offset <= top.offset:
            return True
        if entry.epoch != top.epoch or publication.offset != top.offset + 1:
            return False
        self.top = StreamPosition(offset=publication.offset, epoch=top.epoch)
        self._publications.append(publication)
        self._size += len(publication.data)
        return self._size <= _MAX_BYTES

    def answer(self, since: StreamPosition, limit: int) -> Subscribed | None:
        """What Redis would answer a recovery; None if it has to be asked."""
        top = self.top
        if top is None or not self.start <= since.offset <= top.offset:
            return None
        return Subscribed(top=top, publications=following(self._publications, since.offset, limit))


def following(publications: Sequence[Publication], offset: int, limit: int) -> list[Publication]:
    """At most `limit` of the publications after an offset."""
    first = bisect_right(publications, offset, key=lambda publication: publication.offset)
    return list(publications[first : first + limit])


class Tails:
    """The tails of the channels that are being recovered."""

    def __init__(self, *, is_leased: Callable[[str], bool], clock: Callable[[], float]) -> None:
        """`is_leased`: whether this node is certain to be alive for a channel's publishers."""
        self._is_leased = is_leased
        self._clock = clock
        self._tails: dict[str, Tail] = {}

    def answer(self, channel: str, since: StreamPosition, limit: int) -> Subscribed | None:
        """What Redis would answer to a recovery; None if it has to be asked."""
        tail = self._tails.get(channel)
        if tail is None:
            return None
        if self._clock() >= tail.ends_at or not self._is_leased(channel):
            del self._tails[channel]
            return None
        return tail.answer(since, limit)

    def open(self, channel: str) -> Tail:
        """Begin a tail, before Redis is asked."""
        self._tails.pop(channel, None)
        if len(self._tails) >= _MAX_TAILS:
            del self._tails[next(iter(self._tails))]
        tail = self._tails[channel] = Tail(self._clock() + _LIFE_S)
        return tail

    def settle(self, channel: str, tail: Tail, found: Subscribed, since: int) -> None:
        """Use a tail from here on, unless it was dropped meanwhile."""
        if self._tails.get(channel) is tail and not (found.top.epoch and tail.settle(found, since)):
            del self._tails[channel]

    def feed(self, entries: Sequence[Entry]) -> None:
        """Hear what the receiver is given."""
        for entry in entries if self._tails else ():
            tail = self._tails.get(entry.channel)
            if tail is not None and not tail.add(entry):
                del self._tails[entry.channel]

    def drop(self, channels: Iterable[str] | None) -> None:
        """Forget tails; None: all."""
        if channels is None:
            self._tails.clear()
        else:
            for channel in channels:
                self._tails.pop(channel, None)


class TailedReceiver:
    """A receiver whose tails hear all that it is given, in the same moment."""

    def __init__(self, receiver: Receiver, tails: Tails) -> None:
        self._receiver = receiver
        self._tails = tails
        self.positions = receiver.positions

    async def receive(self, entries: Sequence[Entry]) -> None:
        """See `Receiver.receive`."""
        self._tails.feed(entries)
        await self._receiver.receive(entries)

    def lost(self, partition: int, channels: Sequence[str] | None) -> None:
        """See `Receiver.lost`."""
        self._tails.drop(channels)
        self._receiver.lost(partition, channels)
