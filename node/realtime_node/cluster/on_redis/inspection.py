"""A look at a channel in the store, which changes nothing there: for repairs and for the sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from realtime_node.protocol.messages import Publication, StreamPosition

from .commands import Commands
from .history import parse_publications
from .inbox_ids import sequence_of
from .keys import Keys
from .replies import Reply, data, flag, number, text
from .runner import Call, Runner
from .script import INSPECT


class Inspection(NamedTuple):
    """A channel at one instant."""

    interested: bool
    """Whether the store delivers the channel to this node."""
    top: StreamPosition
    """Zero values where there is no stream."""
    newest: int
    """Sequence of this node's newest inbox entry, -1: there is none."""
    publications: list[Publication]


class Inspector:
    """Inspects channels on the connection for reads."""

    def __init__(
        self, keys: Keys, runner: Runner, reads: Sequence[Commands], *, node_id: Callable[[], str]
    ) -> None:
        """`reads` are the connections by partition."""
        self._keys = keys
        self._runner = runner
        self._reads = reads
        self._node_id = node_id

    async def inspect(self, channel: str, *, since: int = 0, limit: int = 0) -> Inspection:
        """Read a channel's state and up to `limit` publications that follow the offset `since`.

        Raises `BackplaneUnavailableError`, and `UnreadableEntryError` for one of another release.
        """
        keys = self._keys.channel(channel)
        partition = self._keys.partition_of(channel)

        def build() -> Call:
            node = self._node_id()
            inbox = self._keys.node(partition, node).inbox
            return (
                (keys.generation, keys.interest, keys.meta, keys.history, inbox),
                (node, since, limit),
            )

        reads = self._reads[partition]
        return await self._runner.run(reads, INSPECT, build, read=_inspection)


def _inspection(reply: Reply) -> Inspection:
    _, interested, offset, epoch, newest, entries = reply
    return Inspection(
        interested=flag(interested),
        top=StreamPosition(offset=number(offset), epoch=text(epoch)),
        newest=sequence_of(newest) if data(newest) else -1,
        publications=parse_publications(entries),
    )
