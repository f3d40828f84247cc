"""Presence of an `InMemoryCluster`."""

from __future__ import annotations

from collections.abc import Callable

from realtime_node.cluster.presence import NO_STAY, Stay, too_many_present
from realtime_node.protocol.messages import ClientInfo

from .cluster import InMemoryCluster, Member


class InMemoryPresence:
    """Implements `PresenceStore` for one node."""

    def __init__(self, cluster: InMemoryCluster, joined: Callable[[], Member]) -> None:
        """`joined` returns the node or raises `BackplaneUnavailableError`."""
        self._cluster = cluster
        self._joined = joined

    async def add(self, channel: str, info: ClientInfo, stay: Stay = NO_STAY) -> bool:
        """See `PresenceStore.add`."""
        return self._cluster.add_present(self._joined(), channel, info, stay)

    async def remove(self, channel: str, client: str, token: int = 0) -> bool:
        """See `PresenceStore.remove`."""
        return self._cluster.remove_present(self._joined(), channel, client, token)

    async def get(self, channel: str, *, limit: int = 0) -> dict[str, ClientInfo]:
        """See `PresenceStore.get`."""
        self._joined()
        present = self._cluster.present(channel)
        if limit and len(present) > limit:
            raise too_many_present()
        return present

    async def stats(self, channel: str) -> tuple[int, int]:
        """See `PresenceStore.stats`."""
        present = await self.get(channel)
        return len(present), len({info.user for info in present.values()})
