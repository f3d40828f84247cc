"""Presence: who is subscribed to a channel, across all nodes.

An entry belongs to the node that added it and counts only while that node is alive, so a killed
node's clients vanish with its lease and no client has to be refreshed one by one.
"""

from __future__ import annotations

from typing import Protocol

from realtime_node.protocol.messages import ClientInfo


class PresenceStore(Protocol):
    """The clients of every channel that has presence.

    Every method raises `BackplaneUnavailableError` when the store does not answer in time; whether
    a failed `add` or `remove` was done is then not known, and a `remove` that succeeds settles it.
    What one node asks takes effect in the order in which it was asked.
    """

    async def add(self, channel: str, info: ClientInfo) -> None:
        """Enter `info.client` as present; entering it again replaces its info."""

    async def remove(self, channel: str, client: str) -> None:
        """Take a client out; an absent one is no error."""

    async def get(self, channel: str) -> dict[str, ClientInfo]:
        """All present clients by client id."""

    async def stats(self, channel: str) -> tuple[int, int]:
        """The number of clients and of different users."""
