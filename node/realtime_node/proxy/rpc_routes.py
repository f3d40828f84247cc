"""Which proxy answers a call: the namespace of a method is the part before the boundary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from realtime_node.errors import ReplyError
from realtime_node.protocol import codes
from realtime_node.proxy.proxy import Proxy


class RpcRoutes(NamedTuple):
    """Which proxy answers which method."""

    by_namespace: Mapping[str, Proxy | None] = {"": None}
    """"" for the methods without one; None: calls are not handed on."""
    boundary: str = ""

    def route(self, method: str) -> Proxy:
        """Return the proxy of a method; raises `ReplyError` 104 or 108."""
        name, boundary, _ = method.partition(self.boundary) if self.boundary else ("", "", "")
        namespace = name if boundary else ""
        if namespace not in self.by_namespace:
            raise ReplyError(*codes.METHOD_NOT_FOUND)
        proxy = self.by_namespace[namespace]
        if proxy is None:
            raise ReplyError(*codes.NOT_AVAILABLE)
        return proxy
