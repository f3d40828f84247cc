"""The parts of one batch that different subscribers are given, each framed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from realtime_node.delivery.batching import Batch, Waiting
from realtime_node.delivery.channel import Channel

BatchOf = Callable[[Channel, Sequence[Waiting]], Batch]
"""Makes a batch of some of a channel's messages, or finds the one that was made of them."""


class SharedBatches:
    """Frames the parts of one batch, each part once, whoever is to get it.

    Joiners stand at different positions, but many stand at the same one.
    """

    def __init__(self, batch_of: BatchOf) -> None:
        self._batch_of = batch_of
        self._made: dict[tuple[int, ...], Batch] = {}

    def __call__(self, channel: Channel, part: Sequence[Waiting]) -> Batch:
        """Return the batch of a part."""
        key = tuple(map(id, part))
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._batch_of(channel, part)
        return made
