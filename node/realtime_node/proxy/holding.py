"""Verdicts that stand behind connections and subscriptions: kept, prolonged, renewed, let go."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from realtime_node.proxy.answers import ConnectVerdict, RefreshVerdict, SubscribeVerdict
from realtime_node.proxy.cached import Cached
from realtime_node.proxy.keeper import Keeper
from realtime_node.proxy.leases import CacheLeases
from realtime_node.proxy.proxy import Proxy


class Hold:
    """A verdict that stands behind a connection or a subscription, kept alive until `release`."""

    __slots__ = ("_cached", "_key", "_leases", "_verdict")

    def __init__(
        self,
        cached: Cached[Any],
        leases: CacheLeases,
        key: bytes,
        verdict: ConnectVerdict | SubscribeVerdict,
    ) -> None:
        leases.hold(key, verdict.expire_at)
        self._cached = cached
        self._leases = leases
        self._key = key
        self._verdict = verdict

    def release(self) -> None:
        """Let it end."""
        self._leases.release(self._key)

    async def stamp(self) -> int | None:
        """Return what `renew` needs of the time before the backend is asked."""
        return await self._cached.stamp(self._key)

    async def renew(self, news: RefreshVerdict, user: str, stamp: int | None) -> None:
        """Let what is kept say what the backend says now."""
        if news.expired or stamp is None:
            await self._cached.forget(self._key)
            return
        info = self._verdict.info if news.info is None else news.info
        self._verdict = msgspec.structs.replace(self._verdict, expire_at=news.expire_at, info=info)
        await self._cached.renew(self._key, self._verdict, user, stamp)
        self._leases.extend(self._key, news.expire_at)


class CachedProxy(NamedTuple):
    """A proxy whose answers may be kept."""

    proxy: Proxy
    cached: Cached[Any] | None = None
    keeper: Keeper | None = None

    def take_over(self, former: CachedProxy) -> None:
        """Keep alive what clients hold of a proxy that this one replaces, if it asks the same."""
        if self.keeper is None or former.keeper is None:
            return
        if self.proxy.asks_as(former.proxy):
            self.keeper.take_over(former.keeper)

    def hold(
        self, key: bytes | None, verdict: ConnectVerdict | SubscribeVerdict | None
    ) -> Hold | None:
        """Keep what was said alive, if it is kept at all."""
        if key is None or verdict is None or self.cached is None or self.keeper is None:
            return None
        return Hold(self.cached, self.keeper.leases, key, verdict)
