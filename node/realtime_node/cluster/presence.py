"""Presence: who is subscribed to a channel, across all nodes.

An entry belongs to the node that added it and counts only while that node is alive, so a killed
node's clients vanish with its lease and no client has to be refreshed one by one. A client whose
session may come back *stays* some time longer, and its entry is its newest connection's: what an
earlier one wants to add or remove has no effect.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from realtime_node.errors import ReplyError
from realtime_node.protocol import codes
from realtime_node.protocol.messages import ClientInfo


class Stay(NamedTuple):
    """How an entry of a resumable session stands."""

    token: int
    """That of the session's record: a larger one is a later connection of the same client."""
    grace_ms: int = 0
    """How long the client counts after its node was heard of last."""
    announces: bool = False
    """The channel is to be told of its leave, should its node be gone when the grace ends."""


NO_STAY: Final = Stay(token=0)


class PresenceStore(Protocol):
    """The clients of every channel that has presence.

    Every method raises `BackplaneUnavailableError` when the store does not answer in time; whether
    a failed `add` or `remove` was done is then not known, and a `remove` that succeeds settles it.
    What one node asks takes effect in the order in which it was asked.
    """

    async def add(self, channel: str, info: ClientInfo, stay: Stay = NO_STAY) -> bool:
        """Enter `info.client` as present; entering it again replaces its info.

        Returns whether the client of a session (one with a token) counted as present before.
        """

    async def remove(self, channel: str, client: str, token: int = 0) -> bool:
        """Take a client out; an absent one is no error.

        Returns whether an entry of this node, and of no later connection than `token`, was there.
        """

    async def get(self, channel: str, *, limit: int = 0) -> dict[str, ClientInfo]:
        """All present clients by client id; of a large channel as they were within a second.

        Raises `ReplyError` (limit exceeded) if they are more than `limit`; 0: there is none.
        """

    async def stats(self, channel: str) -> tuple[int, int]:
        """The number of clients and of different users; costs the same in a channel of any size."""


def too_many_present() -> ReplyError:
    """Say that a channel has too many clients to list them."""
    return ReplyError(*codes.LIMIT_EXCEEDED)
