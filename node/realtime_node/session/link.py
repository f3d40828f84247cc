"""The WebSocket under a session, as the session sees it."""

from __future__ import annotations

from typing import Protocol

from realtime_node.session.turns import Source


class Link(Source, Protocol):
    """The WebSocket under a session; `server.websocket` implements it."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and end the connection in order; writes nothing after it."""
