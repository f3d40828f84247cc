"""Publishing: one script call that names the inboxes of the interested nodes.

Which nodes are interested in a channel is remembered with the version of that knowledge. A script
that finds another version writes nothing and answers with the new list; the call is made again with
it. So the keys of every call are known before it is sent, as Redis Cluster demands.

Beyond some 32 interested nodes a publish costs more in Redis than one stream that all of them tail:
that *wide* stream would be one more inbox key in a channel's route, and the place for it is here.

Bounds: `route_cache_size` routes, the least used is forgotten; `_ATTEMPTS` calls per publish.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from realtime_node.cluster.backplane import EntryKind, Published, StreamOptions
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.protocol.messages import ClientInfo, Publication

from .commands import Commands
from .entries import JOIN_HEADER, LEAVE_HEADER, encode_info, encode_publication
from .history import meta_ttl_ms
from .instruments import Instruments
from .keys import Keys
from .link import Reply
from .options import RedisOptions
from .refusals import ScriptMissingError
from .runner import ATTEMPTS, FENCED, Runner
from .script import ANNOUNCE, PUBLISH, Argument, Script

_ATTEMPTS: Final = ATTEMPTS + 1
"""The first call, and as many again as a stale route, a new identity or a lost script may cost."""

_NOBODY: Final = b"0"
_OK: Final = b"OK"
_DUPLICATE: Final = b"DUPLICATE"
_FIRST_INBOX_KEY: Final = 8
_DEDUP_TTL_MS: Final = 300_000


class _Route:
    """What a publisher has to know about a channel, as far as a call can be made ready."""

    __slots__ = ("dedup", "inboxes", "interest", "keys", "node", "own", "partition", "version")

    def __init__(self, keys: Keys, channel: str, node: str) -> None:
        self.partition = keys.partition_of(channel)
        names = keys.channel(channel)
        own = keys.node(self.partition, node)
        self.keys = (
            names.generation,
            own.node,
            own.mark,
            names.interest,
            names.meta,
            names.history,
        )
        self.node = own.node
        self.interest = names.interest
        self.dedup = names.dedup
        # Most channels that nobody listens to are guessed right.
        self.version = _NOBODY
        self.inboxes: tuple[bytes, ...] = ()
        self.own = 0

    def learn(self, keys: Keys, node: str, reply: Reply) -> None:
        """Take over the list of a STALE_INTEREST answer."""
        self.version = reply[1]
        nodes = [name.decode() for name in reply[2:]]
        self.inboxes = tuple(keys.node(self.partition, name).inbox for name in nodes)
        self.own = nodes.index(node) + _FIRST_INBOX_KEY if node in nodes else 0


class Publisher:
    """Publishes and announces on the connection for writes."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        options: RedisOptions,
        keys: Keys,
        runner: Runner,
        writes: Commands,
        instruments: Instruments,
        *,
        node_id: Callable[[], str],
    ) -> None:
        self._options = options
        self._keys = keys
        self._runner = runner
        self._writes = writes
        self._instruments = instruments
        self._node_id = node_id
        self._routes: OrderedDict[str, _Route] = OrderedDict()
        self._routes_of = ""
        self._marks = tuple(itertools.count(1) for _ in range(keys.partitions))

    async def publish(
        self,
        channel: str,
        publication: Publication,
        options: StreamOptions,
        *,
        idempotency_key: str,
    ) -> Published:
        """See `Backplane.publish`."""
        payload = encode_publication(publication)
        if options.has_history:
            stream = (options.history_size, options.history_ttl_ms, meta_ttl_ms(options))
        else:
            stream = (0, 0, 0)
        dedup_ttl_ms = _DEDUP_TTL_MS if idempotency_key else 0

        def build(route: _Route) -> bytes:
            # The mark's sequence is drawn when the call is queued, so that marks only ever grow.
            return PUBLISH.pack(
                (*route.keys, route.dedup + idempotency_key.encode(), *route.inboxes),
                (
                    next(self._marks[route.partition]),
                    route.version,
                    channel,
                    payload,
                    *stream,
                    dedup_ttl_ms,
                    self._options.inbox_limit,
                    route.own,
                ),
            )

        route, reply = await self._call(channel, PUBLISH, build)
        if reply[0] == _DUPLICATE:
            return Published(offset=int(reply[1]), epoch=reply[2].decode())
        return Published(
            offset=int(reply[1]),
            epoch=reply[2].decode(),
            sequence=(route.partition, int(reply[3])) if reply[3] else None,
        )

    async def announce(self, channel: str, kind: EntryKind, info: ClientInfo) -> None:
        """See `Backplane.announce`."""
        header = (JOIN_HEADER if kind is EntryKind.JOIN else LEAVE_HEADER) % channel.encode()
        payload = encode_info(info)

        def build(route: _Route) -> bytes:
            arguments: tuple[Argument, ...] = (
                route.version,
                header,
                payload,
                self._options.inbox_limit,
            )
            return ANNOUNCE.pack((route.node, route.interest, *route.inboxes), arguments)

        await self._call(channel, ANNOUNCE, build)

    async def _call(
        self, channel: str, script: Script, build: Callable[[_Route], bytes]
    ) -> tuple[_Route, Reply]:
        deadline = self._runner.deadline()
        for _ in range(_ATTEMPTS):
            node = self._node_id()
            route = self._route(channel, node)
            try:
                reply = await self._writes.execute(build(route), deadline)
            except ScriptMissingError:
                await self._runner.load(self._writes, script, deadline)
                continue
            status = reply[0]
            if status in (_OK, _DUPLICATE):
                return route, reply
            if status == FENCED:
                await self._runner.join_again(node, deadline)
                continue
            self._instruments.stale_interest()
            route.learn(self._keys, node, reply)
        raise BackplaneUnavailableError(
            "who is interested in the channel changes faster than it can be learned:"
            " nothing was published"
        )

    def _route(self, channel: str, node: str) -> _Route:
        routes = self._routes
        if node != self._routes_of:
            # A new identity: every route names the old one's keys.
            routes.clear()
            self._routes_of = node
        route = routes.get(channel)
        if route is None:
            route = routes[channel] = _Route(self._keys, channel, node)
            if len(routes) > self._options.route_cache_size:
                routes.popitem(last=False)
        else:
            routes.move_to_end(channel)
        return route
