"""The clients, as the rest of the simulation speaks of them: in counts, step by step.

A client is connected to a node, queued at a node's door, or waits to try again; `individual` knows
each by number, `aggregate` only how many there are. Counts on nodes (`clients`, `queued`) are kept
by the crowd, so that nobody is in two places. A step is

    due → knock, once for each node with somebody at its door → settle

and clients are lost (`lose`) or leave for good (`leave`) in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from realtime_operator.simulate.nodes import Node

NOTICING: Final = -1
"""Instead of a number of failures: a client that does not know yet that its node is gone."""


class Crowd(Protocol):
    """Everybody who wants to be connected."""

    @property
    def waiting(self) -> int:
        """Clients that are neither connected nor at a door."""

    @property
    def reconnects(self) -> Mapping[int, int] | None:
        """How many clients lost their connection how often; None where nobody counts each."""

    def seat(self, node: Node, count: int) -> None:
        """Clients are connected to a node from the beginning."""

    def forget(self) -> None:
        """Count reconnects from now on."""

    def join(self, count: int) -> None:
        """New clients come, and knock in the next step."""

    def leave(self, node: Node, count: int) -> None:
        """Connected clients go for good, whichever."""

    def lose(self, node: Node, count: int, *, unnoticed: bool = False) -> None:
        """Connections end, whichever; the clients come back after a while.

        `unnoticed`: as the machine is gone, clients learn of it by a ping that does not come.
        """

    def drop(self, node: Node) -> None:
        """All who wait at a door are turned away."""

    def due(self, step: int) -> int:
        """How many knock in this step; they are handed out by `knock`."""

    def knock(self, node: Node, count: int, let_in: int, admitted: int) -> None:
        """The next `count` of those due come to a node.

        `let_in` of them queue at its door, and the first `admitted` of the queue are connected.
        """

    def settle(self) -> int:
        """Who was due and is not queued tries again later; return how many these are."""
