"""Which nodes a publisher writes to for a channel, as far as a call can be made ready.

A route is remembered with the version of the interest that it was made from. A script that finds
another version writes nothing and answers with the new list; the call is made again with it. So the
keys of every call are known before it is sent, as Redis Cluster demands.

Beyond some 32 interested nodes a publish costs more in Redis than one stream that all of them tail:
that *wide* stream would be one more inbox key in a route, and the place for it is here.

Bound: `limit` routes, the least used is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from .keys import Keys
from .link import Reply

_NOBODY: Final = b"0"
_FIRST_INBOX_KEY: Final = 8


class Route:
    """What a publisher has to know about a channel."""

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
