"""Which nodes a publisher writes to for a channel, as far as a call can be made ready.

A route is remembered with the version of the interest that it was made from. A script that finds
another version writes nothing and answers with the new list; the call is made again with it. So the
keys of every call are known before it is sent, as Redis Cluster demands. They are encoded once for
many publishes: encoding two dozen strings takes longer than all else that a publish does here.

Beyond some 32 interested nodes a publish costs more in Redis than one stream that all of them tail:
that *wide* stream would be one more inbox key in a route, and the place for it is here.

Bound: `limit` routes, the least used is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from .keys import Keys
from .script import PUBLISH, pack_parts

_NOBODY: Final = b"0"
_FIRST_INBOX_KEY: Final = 8
_ARGUMENTS: Final = 11


class Interested(NamedTuple):
    """Who is interested in a channel, as a script has it."""

    version: bytes
    nodes: list[str]


class Route:
    """What a publisher has to know about a channel."""

    __slots__ = (
        *("inboxes", "interest", "node", "partition", "version"),
        *("_channel", "_dedup", "_head", "_inboxes", "_keys", "_named", "_no_dedup", "_own"),
        *("_settings", "_tail"),
    )

    def __init__(self, keys: Keys, channel: str, node: str) -> None:
        self._channel = channel
        self.partition = keys.partition_of(channel)
        names = keys.channel(channel)
        own = keys.node(self.partition, node)
        self._keys = pack_parts(
            names.generation, own.node, own.mark, names.interest, names.meta, names.history
        )
        self.node = own.node
        self.interest = names.interest
        self._dedup = names.dedup
        self._no_dedup = pack_parts(names.dedup)
        # Most channels that nobody listens to are guessed right.
        self._lead_to((), own=0, version=_NOBODY)

    def learn(self, keys: Keys, node: str, interested: Interested) -> None:
        """Take over who is interested now."""
        nodes = interested.nodes
        self._lead_to(
            tuple(keys.node(self.partition, name).inbox for name in nodes),
            own=nodes.index(node) + _FIRST_INBOX_KEY if node in nodes else 0,
            version=interested.version,
        )

    def _lead_to(self, inboxes: tuple[bytes, ...], *, own: int, version: bytes) -> None:
        self.inboxes = inboxes
        self.version = version
        self._own = own
        self._head = PUBLISH.pack_head(_FIRST_INBOX_KEY - 1 + len(inboxes), _ARGUMENTS)
        self._inboxes = pack_parts(*inboxes) if inboxes else b""
        self._named = pack_parts(version, self._channel)
        # Made with the first publish: a channel's settings hardly ever change.
        self._settings: tuple[int, ...] = ()
        self._tail = b""

    def pack_publish(
        self, sequence: int, payload: bytes, key: bytes, settings: tuple[int, ...]
    ) -> bytes:
        """Encode a publish under an idempotency `key` or none; `settings` are ARGV[5] to [10]."""
        if settings != self._settings:
            self._settings = settings
            self._tail = pack_parts(*settings, self._own)
        number = b"%d" % sequence
        return b"%b%b%b%b$%d\r\n%b\r\n%b$%d\r\n%b\r\n%b" % (
            self._head,
            self._keys,
            pack_parts(self._dedup + key) if key else self._no_dedup,
            self._inboxes,
            *(len(number), number),
            self._named,
            *(len(payload), payload),
            self._tail,
        )


class Routes:
    """The routes of the channels used last."""

    def __init__(self, keys: Keys, limit: int) -> None:
        self._keys = keys
        self._limit = limit
        self._routes: OrderedDict[str, Route] = OrderedDict()
        self._node = ""

    def route(self, channel: str, node: str) -> Route:
        """The route of a channel for a publisher of this identity."""
        routes = self._routes
        if node != self._node:
            # A new identity: every route names the old one's keys.
            routes.clear()
            self._node = node
        route = routes.get(channel)
        if route is None:
            route = routes[channel] = Route(self._keys, channel, node)
            if len(routes) > self._limit:
                routes.popitem(last=False)
        else:
            routes.move_to_end(channel)
        return route
