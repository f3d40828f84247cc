"""Every question that a session may have to the team's backend.

A method per event. Each raises `ReplyError` or `Disconnect` when the backend says so, and
`BackendError` when it could not be asked or its answer cannot be used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw, UnsetType

from realtime_node.errors import Disconnect, ReplyError
from realtime_node.proxy.answers import (
    ConnectVerdict,
    PublishVerdict,
    RefreshVerdict,
    SubscribeVerdict,
    connect_verdict,
    publish_verdict,
    refresh_verdict,
    rpc_data,
    subscribe_verdict,
)
from realtime_node.proxy.credentials import key_of
from realtime_node.proxy.headers import NOTHING_KEPT, Kept, pick
from realtime_node.proxy.holding import CachedProxy, Hold
from realtime_node.proxy.messages import (
    Answer,
    ConnectRequest,
    ConnectResult,
    PublishRequest,
    PublishResult,
    RefreshRequest,
    RefreshResult,
    Request,
    RpcRequest,
    RpcResult,
    SubRefreshRequest,
    SubscribeRequest,
    SubscribeResult,
)
from realtime_node.proxy.proxy import Proxy
from realtime_node.proxy.rpc_routes import RpcRoutes

_connect: Final = msgspec.json.Decoder(Answer[ConnectResult])
_refresh: Final = msgspec.json.Decoder(Answer[RefreshResult])
_subscribe: Final = msgspec.json.Decoder(Answer[SubscribeResult])
_publish: Final = msgspec.json.Decoder(Answer[PublishResult])
_rpc: Final = msgspec.json.Decoder(Answer[RpcResult])


class Caller(NamedTuple):
    """Whose question it is."""

    client: str
    user: str = ""
    kept: Kept = NOTHING_KEPT


class Proxies:
    """The proxies of a node. One that an event lacks is asked nothing: see `session.proxied`."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        *,
        connect: CachedProxy | None = None,
        refresh: Proxy | None = None,
        subscribe: Mapping[str, CachedProxy] | None = None,
        publish: Mapping[str, Proxy] | None = None,
        sub_refresh: Mapping[str, Proxy] | None = None,
        rpc: RpcRoutes | None = None,
    ) -> None:
        """Those of channels' events come by their name."""
        self._connect = connect
        self._refresh = refresh
        self._subscribe = subscribe or {}
        self._publish = publish or {}
        self._sub_refresh = sub_refresh or {}
        self._rpc = rpc or RpcRoutes()
        later = [each for each in self._all() if connect is None or each is not connect.proxy]
        self._http = {name for proxy in self._all() for name in proxy.headers.http}
        self._emulated = {name for proxy in self._all() for name in proxy.headers.emulated}
        self._http_later = {name for proxy in later for name in proxy.headers.http}
        self._emulated_later = {name for proxy in later for name in proxy.headers.emulated}

    def _all(self) -> Iterable[Proxy]:
        if self._connect is not None:
            yield self._connect.proxy
        if self._refresh is not None:
            yield self._refresh
        yield from (each.proxy for each in self._subscribe.values())
        yield from self._publish.values()
        yield from self._sub_refresh.values()
        yield from {id(each): each for each in self._rpc.by_namespace.values() if each}.values()

    def _cached(self) -> Iterable[CachedProxy]:
        if self._connect is not None:
            yield self._connect
        yield from self._subscribe.values()

    # --- life ------------------------------------------------------------------------------------

    def take_over(self, former: Proxies) -> None:
        """Keep alive what clients hold of the proxies that these replace; before `start`.

        Where a question has changed (another endpoint, other headers) what was said is not looked
        for any more: the backend is asked as clients come back.
        """
        if self._connect is not None and former._connect is not None:
            self._connect.take_over(former._connect)
        for name, each in self._subscribe.items():
            if (before := former._subscribe.get(name)) is not None:
                each.take_over(before)

    def start(self) -> None:
        """Begin to keep verdicts alive."""
        for each in self._cached():
            if each.keeper is not None:
                each.keeper.start()

    async def close(self) -> None:
        """End what is under way, and the connections."""
        for each in self._cached():
            if each.keeper is not None:
                await each.keeper.close()
            if each.cached is not None:
                await each.cached.close()
        await asyncio.gather(*(proxy.close() for proxy in self._all()))

    # --- headers ---------------------------------------------------------------------------------

    def keep(self, headers: Iterable[tuple[str, str]]) -> Kept:
        """Return what is kept of a handshake; raises `TooManyHeadersError`."""
        if not self._http:
            return NOTHING_KEPT
        return Kept(pick(headers, self._http))

    def keep_emulated(self, kept: Kept, headers: Mapping[str, str]) -> Kept:
        """Add what a connect command brings; raises `TooManyHeadersError`."""
        if not headers or not self._emulated:
            return kept
        return kept._replace(emulated=pick(headers.items(), self._emulated))

    def keep_connected(self, kept: Kept) -> Kept:
        """Return what is needed once the client is connected."""
        http = tuple(header for header in kept.http if header[0] in self._http_later)
        emulated = tuple(header for header in kept.emulated if header[0] in self._emulated_later)
        return Kept(http, emulated) if http or emulated else NOTHING_KEPT

    # --- connections -----------------------------------------------------------------------------

    @property
    def lets_in(self) -> bool:
        """Whether clients without a token are asked about."""
        return self._connect is not None

    @property
    def refreshes(self) -> bool:
        """Whether expiring connections are asked about."""
        return self._refresh is not None

    async def connect(
        self,
        caller: Caller,
        data: Raw | UnsetType,
        *,
        name: str = "",
        version: str = "",
        channels: Iterable[str] = (),
    ) -> tuple[ConnectVerdict | None, Hold | None]:
        """Ask who a client is; None: the backend does not say."""
        asked = self._connect
        assert asked is not None, "see `lets_in`"
        proxy = asked.proxy
        request = ConnectRequest(
            client=caller.client,
            name=name,
            version=version,
            channels=tuple(channels),
            **proxy.carried(data),
        )

        async def question() -> ConnectVerdict | None:
            result = await proxy.ask(request, caller.kept, _connect)
            return None if result is None else connect_verdict(result)

        if asked.cached is None:
            return await question(), None
        key = key_of(proxy.name, request, proxy.passed_on(caller.kept))
        verdict = await asked.cached.ask(key, question, _user_of)
        return verdict, asked.hold(key, verdict)

    async def refresh(self, caller: Caller, hold: Hold | None) -> RefreshVerdict:
        """Ask whether a connection goes on, and renew the verdict that stands behind it."""
        proxy = self._refresh
        assert proxy is not None, "see `refreshes`"
        request = RefreshRequest(client=caller.client, encoding=proxy.encoding, user=caller.user)
        return await _refreshed(proxy, request, caller, hold)

    # --- channels --------------------------------------------------------------------------------

    async def subscribe(
        self, proxy_name: str, caller: Caller, channel: str, data: Raw | UnsetType
    ) -> tuple[SubscribeVerdict, Hold | None]:
        """Ask whether a client may subscribe."""
        asked = self._subscribe[proxy_name]
        proxy = asked.proxy
        request = SubscribeRequest(
            client=caller.client, user=caller.user, channel=channel, **proxy.carried(data)
        )

        async def question() -> SubscribeVerdict:
            result = await proxy.ask(request, caller.kept, _subscribe)
            return subscribe_verdict(result)

        if asked.cached is None:
            return await question(), None
        key = key_of(proxy.name, request, proxy.passed_on(caller.kept))
        verdict = await asked.cached.ask(key, question, lambda _: caller.user)
        assert verdict is not None, "an answer without a result allows it"
        return verdict, asked.hold(key, verdict)

    async def publish(
        self, proxy_name: str, caller: Caller, channel: str, data: Raw | UnsetType
    ) -> PublishVerdict:
        """Ask whether a client may publish, and what."""
        proxy = self._publish[proxy_name]
        request = PublishRequest(
            client=caller.client, user=caller.user, channel=channel, **proxy.carried(data)
        )
        result = await proxy.ask(request, caller.kept, _publish)
        return publish_verdict(result)

    async def sub_refresh(
        self, proxy_name: str, caller: Caller, channel: str, hold: Hold | None
    ) -> RefreshVerdict:
        """Ask whether a subscription goes on, and renew the verdict that stands behind it."""
        proxy = self._sub_refresh[proxy_name]
        request = SubRefreshRequest(
            client=caller.client, encoding=proxy.encoding, user=caller.user, channel=channel
        )
        return await _refreshed(proxy, request, caller, hold)

    # --- calls -----------------------------------------------------------------------------------

    async def rpc(self, caller: Caller, method: str, data: Raw | UnsetType) -> bytes | None:
        """Hand a call on; returns what the backend answers, in JSON."""
        proxy = self._rpc.route(method)
        request = RpcRequest(
            client=caller.client, user=caller.user, method=method, **proxy.carried(data)
        )
        result = await proxy.ask(request, caller.kept, _rpc)
        return rpc_data(result)


async def _refreshed(
    proxy: Proxy, request: Request, caller: Caller, hold: Hold | None
) -> RefreshVerdict:
    stamp = None if hold is None else await hold.stamp()
    try:
        result = await proxy.ask(request, caller.kept, _refresh)
    except (ReplyError, Disconnect):
        # As in Centrifugo: what is no result does not let it go on.
        result = None
    verdict = refresh_verdict(result)
    if hold is not None:
        await hold.renew(verdict, caller.user, stamp)
    return verdict


def _user_of(verdict: ConnectVerdict) -> str:
    return verdict.user
