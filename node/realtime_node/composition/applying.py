"""Other settings for a running node: all that counts at once changes in one step of the loop.

What can fail is made before (keys, certificates, proxies), so that either everything changes or
nothing. Rules that are looked up per command or per connection need no more than that. Behind it,
in small steps, follows what is kept per channel and per session: channels get their new rules, and
subscriptions end whose namespace is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Final, TypeVar

from realtime_node.composition import rules
from realtime_node.composition.parts import Parts, surroundings
from realtime_node.config import Settings
from realtime_node.proxy.building import build_proxies, read_trusts, same_proxies
from realtime_node.proxy.proxies import Proxies
from realtime_node.server.auth import JwtVerifier
from realtime_node.server.shared_key import SharedKey
from realtime_node.session.subscribing import unsubscribe_from_server
from realtime_node.supervision import guard, supervise
from realtime_node.telemetry.logging import change_level

logger = logging.getLogger(__name__)

STEP: Final = 500
"""Channels, sessions and subscriptions looked at before the loop goes on with other things."""
LONGEST_ANSWER_S: Final = 30.0
"""Replaced proxies finish what they are asked within this time, then they are closed."""


_Item = TypeVar("_Item")


class Applier:
    """Brings settings into a running node."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._retired: list[Proxies] = []
        self._closing: asyncio.Task[None] | None = None

    async def apply(self, old: Settings, new: Settings) -> None:
        """Go by `new` instead of `old`; raises `ConfigError` before anything has changed."""
        tokens = JwtVerifier(new.client)
        proxies = await self._new_proxies(old, new)
        self._change(old, new, tokens)
        if proxies is not None:
            self._swap(proxies)
            await self._retire()
        await self._follow(old, new)

    async def close(self) -> None:
        """End what was replaced."""
        await self._stop_closing()
        await self._close_retired(but=0)

    def _change(self, old: Settings, new: Settings, tokens: JwtVerifier) -> None:
        """Change everything that is looked up, in one step of the loop."""
        parts, services, delivery = self._parts, self._parts.services, self._parts.delivery
        services.settings = new.client
        services.limits = rules.session_limits(new.client)
        services.tokens = tokens
        services.change_rate(rules.command_rate(new.client))
        if new.channel != old.channel:
            delivery.rules.change(new.channel)
        delivery.framer.compression = rules.compression(new.websocket)
        delivery.slow_clients.change(rules.slow_limits(new.client))
        parts.websockets.terms = rules.upgrade_terms(new)
        parts.door.change(rules.door_rules(new.admission))
        parts.drainer.propagation_s = new.drain.propagation.total_seconds()
        parts.engine.reconnects.suggest(new.reconnect_budget.connections_per_second_per_node)
        parts.api.cluster = replace(
            parts.api.cluster,
            client=new.client,
            history_limit=new.http_api.history_max_publication_limit,
        )
        parts.api.max_body_bytes = new.http_api.body_size_limit
        parts.api.key = SharedKey(new.http_api.key)
        parts.api.insecure = new.http_api.insecure
        parts.admin.key = SharedKey(new.admin.key)
        if new.log.level != old.log.level:
            change_level(new.log.level)

    # --- proxies --------------------------------------------------------------------------------

    async def _new_proxies(self, old: Settings, new: Settings) -> Proxies | None:
        """Build those of `new`; None: they are the same."""
        if same_proxies(old, new):
            return None
        trusts = await asyncio.to_thread(read_trusts, new)
        return build_proxies(new, surroundings(self._parts.engine, self._parts.metrics, trusts))

    def _swap(self, proxies: Proxies) -> None:
        services = self._parts.services
        self._retired.append(services.proxies)
        proxies.take_over(services.proxies)
        services.proxies = proxies
        proxies.start()

    async def _retire(self) -> None:
        """Let the last finish what they were asked; those replaced before have had their time."""
        await self._stop_closing()
        await self._close_retired(but=1)
        self._closing = supervise(self._close_later, name="retired-proxies")

    async def _stop_closing(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            await asyncio.gather(self._closing, return_exceptions=True)

    async def _close_later(self) -> None:
        await asyncio.sleep(LONGEST_ANSWER_S)
        await self._close_retired(but=0)

    async def _close_retired(self, *, but: int) -> None:
        while len(self._retired) > but:
            # Closed twice is fine; left open is not.
            with guard("retired-proxies"):
                await self._retired[0].close()
            del self._retired[0]

    # --- what follows ---------------------------------------------------------------------------

    async def _follow(self, old: Settings, new: Settings) -> None:
        if new.channel == old.channel:
            return
        delivery = self._parts.delivery
        for names in _in_steps(delivery.hub.names()):
            delivery.hub.retune(name for name in names if delivery.rules.find(name) is not None)
            await asyncio.sleep(0)
        ended = looked_at = 0
        for session in delivery.registry.list_open():
            gone = [name for name in session.subscriptions if delivery.rules.find(name) is None]
            if gone:
                unsubscribe_from_server(session, gone)
                ended += len(gone)
            looked_at += 1 + len(session.subscriptions)
            if looked_at >= STEP:
                looked_at = 0
                await asyncio.sleep(0)
        if ended:
            logger.warning("%d subscriptions end: their namespaces are gone", ended)


def _in_steps(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    rest = iter(items)
    while step := list(islice(rest, STEP)):
        yield step
