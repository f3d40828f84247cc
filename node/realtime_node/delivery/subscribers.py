"""Who listens to a channel, as the hub and its fan-outs see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from realtime_node.delivery.outbound import Outbound
from realtime_node.protocol.deflate import Wire

Send = Callable[[bytes], None]


class Subscriber(Protocol):
    """What the hub knows of a session."""

    @property
    def outbound(self) -> Outbound:
        """Where its frames go."""

    def lose_position(self, channel: str) -> bool:
        """Learn that messages of a channel were missed; return whether that ends the subscription.

        It does if the client was promised a position: the client recovers by subscribing again.
        The caller takes it out of the channel then.
        """


class Run(NamedTuple):
    """Healthy members, one behind the other in a snapshot, who read the same form of a frame."""

    wire: Wire
    end: int
    """Index behind the last of them."""


class Members(NamedTuple):
    """A snapshot of subscribers: the healthy ones in runs, then those that are congested."""

    subscribers: tuple[Subscriber, ...]
    sends: tuple[Send, ...]
    """How to write to each healthy one, at the same index."""
    runs: tuple[Run, ...]
    revision: int
    """Of the channel, when it was taken."""


NOBODY: Final = Members((), (), (), 0)
