"""Reading a channel's stream, and forgetting it.

A long history is read in parts, so that no step is long here or in Redis. What is returned is one
stretch of the stream all the same: if its beginning was trimmed away between two parts, what had
been read of it is dropped, as if all had been read a moment later.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Final

from realtime_node.cluster.backplane import HistoryPage, StreamOptions
from realtime_node.errors import UnrecoverablePositionError
from realtime_node.protocol.messages import Publication, StreamPosition

from .commands import Commands
from .entries import decode_publication
from .keys import Keys
from .replies import Reply, number, ok, rows, text
from .runner import Call, Runner, always
from .script import HISTORY, REMOVE_HISTORY

PART: Final = 500
"""Publications that are read and decoded in one step."""


def meta_ttl_ms(options: StreamOptions) -> int:
    """Life of a channel's meta: never shorter than that of the history it numbers."""
    return max(options.meta_ttl_ms, options.history_ttl_ms)


def parse_publications(entries: Reply) -> list[Publication]:
    """Decode rows of a history stream, whose ids are `<offset>-0`.

    Raises what `replies` tells of, and `UnreadableEntryError` for one of another release.
    """
    return [decode_publication(number(name[:-2]), fields[1]) for name, fields in rows(entries)]


class Stretch:
    """What was read of a stream so far, and how much of it is to be read next. Pure."""

    def __init__(self, most: int, *, reverse: bool) -> None:
        """Read at most so many publications; 0: the position alone."""
        self.publications: list[Publication] = []
        self.top = StreamPosition()
        self.wanted: int | None = min(most, PART)
        """Publications of the next part; None: there is none."""
        self._most = most
        self._reverse = reverse

    @property
    def end(self) -> int | None:
        """The offset behind which the next part begins."""
        return self.publications[-1].offset if self.publications else None

    def add(self, part: HistoryPage) -> None:
        """Take the part that was asked for."""
        found, asked = part.publications, self.wanted
        if not self._reverse and self._is_behind_a_hole(found):
            self.publications.clear()
        # Backwards the first part has the newest; forwards the stream has grown since.
        if not (self._reverse and self.top.epoch):
            self.top = part.top
        self.publications += found
        left = self._most - len(self.publications)
        self.wanted = min(left, PART) if left > 0 and len(found) == asked else None

    def _is_behind_a_hole(self, found: Sequence[Publication]) -> bool:
        end = self.end
        return end is not None and bool(found) and found[0].offset != end + 1


class History:
    """The streams of all channels."""

    def __init__(
        self,
        keys: Keys,
        runner: Runner,
        *,
        reads: Sequence[Commands],
        writes: Sequence[Commands],
        node_id: Callable[[], str],
    ) -> None:
        """`reads` and `writes` are the connections by partition."""
        self._keys = keys
        self._runner = runner
        self._reads = reads
        self._writes = writes
        self._node_id = node_id

    async def page(
        self,
        channel: str,
        options: StreamOptions,
        *,
        limit: int,
        since: StreamPosition | None,
        reverse: bool,
    ) -> HistoryPage:
        """See `Backplane.history`."""
        if not options.has_history:
            return HistoryPage(publications=[], top=StreamPosition())
        if reverse and since is not None and since.offset == 0:
            # Nothing comes before the first publication, and Redis has no id below 0-0.
            limit, since = 0, None
        most = limit if limit >= 0 else sys.maxsize
        start = None if since is None else since.offset
        epoch = "" if since is None else since.epoch
        stretch = Stretch(most, reverse=reverse)
        while (count := stretch.wanted) is not None:
            part = await self._part(channel, options, count, start, reverse=reverse)
            if epoch and epoch != part.top.epoch:
                raise UnrecoverablePositionError(
                    f"the position is of epoch {epoch!r}, the stream of {part.top.epoch!r}"
                )
            stretch.add(part)
            start, epoch = stretch.end, part.top.epoch
        return HistoryPage(publications=stretch.publications, top=stretch.top)

    async def _part(
        self, channel: str, options: StreamOptions, count: int, start: int | None, *, reverse: bool
    ) -> HistoryPage:
        keys = self._keys.channel(channel)
        call: Call = (
            (keys.generation, keys.meta, keys.history),
            (count, "" if start is None else start, int(reverse), meta_ttl_ms(options)),
        )
        reads = self._reads[self._keys.partition_of(channel)]
        return await self._runner.run(reads, HISTORY, always(call), read=_page)

    async def remove(self, channel: str) -> None:
        """See `Backplane.remove_history`."""
        keys = self._keys.channel(channel)
        partition = self._keys.partition_of(channel)

        def build() -> Call:
            return (self._keys.node(partition, self._node_id()).node, keys.history), ()

        await self._runner.run(self._writes[partition], REMOVE_HISTORY, build, read=ok)


def _page(reply: Reply) -> HistoryPage:
    _, offset, epoch, entries = reply
    return HistoryPage(
        publications=parse_publications(entries),
        top=StreamPosition(offset=number(offset), epoch=text(epoch)),
    )
