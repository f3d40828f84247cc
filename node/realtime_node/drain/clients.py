"""The clients of a node as a drain sees them, and whom it takes next.

In random order: a channel's or a user's clients then leave spread over the whole drain, and arrive
elsewhere as spread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from realtime_node.protocol.codes import CloseCode


class Client(Protocol):
    """One connection."""

    @property
    def is_open(self) -> bool:
        """Whether it has not ended yet."""

    def close(self, close: CloseCode) -> None:
        """End it in order."""


class Clients(Protocol):
    """All connections of the node, from the upgrade on."""

    @property
    def num_open(self) -> int:
        """How many there are."""

    def list_open(self) -> Sequence[Client]:
        """Each of them."""


class Deck:
    """All clients in a random order; dealt anew when it has run out."""

    def __init__(self, clients: Clients, random: Callable[[], float]) -> None:
        """`random` in [0, 1) decides who is next."""
        self._clients = clients
        self._random = random
        self._waiting: list[Client] = []

    def draw(self) -> Client | None:
        """Take a client that has not ended; None if there is none."""
        while True:
            while self._waiting:
                client = self._take_any()
                if client.is_open:
                    return client
            self._waiting = list(self._clients.list_open())
            if not self._waiting:
                return None

    def clear(self) -> None:
        """Hold on to nobody."""
        self._waiting = []

    def _take_any(self) -> Client:
        """Take one out of anywhere, without moving all that are behind it."""
        index = int(self._random() * len(self._waiting))
        self._waiting[index], self._waiting[-1] = self._waiting[-1], self._waiting[index]
        return self._waiting.pop()
