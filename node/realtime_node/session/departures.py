"""Departures: presence entries to take out and leaves to announce, until the store has them.

A client that goes takes nobody's time: its channels are noted here and one task works them off. A
presence entry of a living node never expires by itself, so a departure is repeated until the
store took it; a leave is announced once, when it did.

Bound: as many notes as there were subscriptions with presence on this node. They are kept through
an outage of the store and worked off, `CONCURRENCY` at a time, after it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NamedTuple

from realtime_node.cluster.backplane import Backplane, EntryKind
from realtime_node.cluster.presence import PresenceStore
from realtime_node.errors import BackplaneError
from realtime_node.protocol.messages import ClientInfo

logger = logging.getLogger(__name__)

CONCURRENCY: Final = 64
RETRY_AFTER: Final = 1.0
"""Seconds until the store is asked again after it failed."""


class Departure(NamedTuple):
    """A client that left a channel."""

    info: ClientInfo
    has_presence: bool
    announces: bool


class Departures:
    """What is still to be told about clients that are gone."""

    def __init__(self, backplane: Backplane, presence: PresenceStore) -> None:
        """Tell `presence` and, through `backplane`, the channel."""
        self._backplane = backplane
        self._presence = presence
        self._pending: dict[tuple[str, str], Departure] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return how many departures are not worked off yet."""
        return len(self._pending)

    def add(self, channel: str, departure: Departure) -> None:
        """Note a departure."""
        self._pending[channel, departure.info.client] = departure
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work_off())

    def revoke(self, channel: str, client: str) -> None:
        """Forget a departure: the client is back in the channel."""
        self._pending.pop((channel, client), None)

    async def drain(self) -> None:
        """Return when everything noted so far is worked off."""
        if self._task is not None:
            await self._task

    async def close(self) -> None:
        """Stop working; what is left expires with this node's lease."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work_off(self) -> None:
        try:
            while self._pending:
                keys = list(self._pending)[:CONCURRENCY]
                done = await asyncio.gather(*(self._tell(*key) for key in keys))
                if not all(done):
                    await asyncio.sleep(RETRY_AFTER)
        finally:
            self._task = None

    async def _tell(self, channel: str, client: str) -> bool:
        departure = self._pending.get((channel, client))
        if departure is None:
            return True
        try:
            if departure.has_presence:
                await self._presence.remove(channel, client)
            # The client may have come back while the store was asked; then its presence was
            # entered after this removal, on the same ordered connection. If it left once more,
            # that is a departure of its own, still to be told.
            if self._pending.get((channel, client)) is not departure:
                return True
            del self._pending[channel, client]
            if departure.announces:
                await self._backplane.announce(channel, EntryKind.LEAVE, departure.info)
        except BackplaneError as error:
            logger.warning("departure from %s is not told yet: %s", channel, error)
            return False
        return True
