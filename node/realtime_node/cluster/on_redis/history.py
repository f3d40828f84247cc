"""Reading a channel's stream, and forgetting it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from realtime_node.cluster.backplane import HistoryPage, StreamOptions
from realtime_node.errors import UnrecoverablePositionError
from realtime_node.protocol.messages import Publication, StreamPosition

from .commands import Commands
from .entries import decode_publication
from .keys import Keys
from .replies import Reply, number, ok, rows, text
from .runner import Call, Runner, always
from .script import HISTORY, REMOVE_HISTORY


def meta_ttl_ms(options: StreamOptions) -> int:
    """Life of a channel's meta: never shorter than that of the history it numbers."""
    return max(options.meta_ttl_ms, options.history_ttl_ms)


def parse_publications(entries: Reply) -> list[Publication]:
    """Decode rows of a history stream, whose ids are `<offset>-0`.

    Raises what `replies` tells of, and `UnreadableEntryError` for one of another release.
    """
    return [decode_publication(number(name[:-2]), fields[1]) for name, fields in rows(entries)]


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
            limit, start = 0, ""
        else:
            start = "" if since is None else str(since.offset)
        keys = self._keys.channel(channel)
        call: Call = (
            (keys.generation, keys.meta, keys.history),
            (max(limit, -1), start, int(reverse), meta_ttl_ms(options)),
        )
        reads = self._reads[self._keys.partition_of(channel)]
        page = await self._runner.run(reads, HISTORY, always(call), read=_page)
        top = page.top
        if since is not None and since.epoch and since.epoch != top.epoch:
            raise UnrecoverablePositionError(
                f"the position is of epoch {since.epoch!r}, the stream of {top.epoch!r}"
            )
        return page

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
