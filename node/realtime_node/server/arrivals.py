"""A handshake that waits for its turn, from aiohttp's hands to a WebSocket's, or to a refusal.

aiohttp keeps a task, a request and buffers for each request in progress. So a handshake that has to
wait is taken out of its hands as a WebSocket is: what is left is the transport, the answer that it
will get, and what the client sent ahead, if it did. A client that goes away tells the transport,
and so gives its place up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from realtime_node.admission.admit import Refusal
from realtime_node.server.handshake import Accepted
from realtime_node.supervision import guard

MOST_EARLY_BYTES: Final = 65_536
"""Of what a client sends before it could know the answer; it is not read from beyond that."""


class Arrival(asyncio.Protocol):
    """The link between a transport whose request was read and its place in the waiting room."""

    __slots__ = ("_answer", "_early", "_on_enter", "_on_gone", "_transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        answer: Accepted,
        early: bytes,
        *,
        on_enter: Callable[[asyncio.Transport, Accepted, bytes], None],
        on_gone: Callable[[Arrival], None],
    ) -> None:
        """Hold what `on_enter` will be handed."""
        self._transport = transport
        self._answer = answer
        self._early = early
        self._on_enter = on_enter
        self._on_gone = on_gone

    # --- asyncio's side ------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Keep what was sent ahead."""
        with guard("handshake"):
            self._early += data
            if len(self._early) > MOST_EARLY_BYTES:
                self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place up."""
        del exc
        with guard("handshake"):
            self._on_gone(self)

    # --- The waiting room's side ---------------------------------------------------------------

    @property
    def is_gone(self) -> bool:
        """Whether the transport is closed, or about to be."""
        return self._transport.is_closing()

    def enter(self) -> None:
        """Become a WebSocket."""
        self._transport.resume_reading()
        self._on_enter(self._transport, self._answer, self._early)

    def turn_away(self, refusal: Refusal) -> None:
        """Answer the request after all, and be done with the connection."""
        text = f"{refusal.reason}\n".encode()
        head = (
            f"HTTP/1.1 {refusal.status.value} {refusal.status.phrase}\r\n"
            f"Retry-After: {refusal.retry_after_s}\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(text)}\r\n"
            "Connection: close\r\n\r\n"
        )
        self._transport.write(head.encode() + text)
        self._transport.close()


def refused(refusal: Refusal) -> web.Response:
    """Return the answer to a handshake that is refused at once, while aiohttp still has it."""
    response = web.Response(
        status=refusal.status,
        text=f"{refusal.reason}\n",
        headers={"Retry-After": str(refusal.retry_after_s)},
    )
    response.force_close()
    return response
