"""What this node remembers of Redis, to be held against what Redis remembers after a reconnect.

The publisher notes the sequence of its last acknowledged publish, the inbox reader the last entry
it took, and everybody who hears of it the generation. `continuity` compares: a Redis that knows
less than this has lost acknowledged writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Seen(NamedTuple):
    """What a node saw of a partition at one moment."""

    published: int
    """Sequence of the last acknowledged publish, 0: none."""
    read: tuple[int, Sequence[bytes]] | None
    """Sequence and fields of the last entry taken from the inbox."""


class Trace:
    """One partition."""

    __slots__ = ("generation", "incarnation", "published", "read")

    def __init__(self) -> None:
        self.generation = b""
        self.incarnation = 0
        """Grows whenever the partition's Redis turns out to be another process."""
        self.published = 0
        self.read: tuple[int, Sequence[bytes]] | None = None

    def seen(self) -> Seen:
        """What was seen up to now; it goes on while Redis is asked about it."""
        return Seen(self.published, self.read)

    def forget(self) -> None:
        """Begin anew: what Redis holds from here on is the truth."""
        self.published = 0
        self.read = None


class Traces:
    """Every partition, under the node's present identity."""

    def __init__(self, partitions: int) -> None:
        self._traces = tuple(Trace() for _ in range(partitions))
        self._node = ""

    def __getitem__(self, partition: int) -> Trace:
        """The trace of a partition."""
        return self._traces[partition]

    def begin(self, node: str) -> None:
        """Belong to a new identity, which has published and read nothing."""
        self._node = node
        for trace in self._traces:
            trace.forget()

    @property
    def node(self) -> str:
        """The identity they belong to."""
        return self._node

    def took(self, node: str, partition: int, sequence: int, fields: Sequence[bytes]) -> None:
        """Note the last entry taken from an inbox, unless it was another identity's.

        An old inbox is read until the new identity is registered in every partition, and that may
        take as long as one of them is away.
        """
        if node == self._node:
            self._traces[partition].read = sequence, fields

    def acknowledged(self, node: str, partition: int, sequence: int) -> None:
        """Note a publish that Redis acknowledged, unless another identity made it."""
        if node == self._node:
            trace = self._traces[partition]
            trace.published = max(trace.published, sequence)
