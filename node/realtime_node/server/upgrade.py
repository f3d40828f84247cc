"""From an HTTP request to a WebSocket: who is let in, and how the transport changes hands.

aiohttp reads the request. Then `WebSocketConnection` becomes the transport's protocol, and
aiohttp's request, task and buffers of that connection are let go, which is most of what a
connection would weigh. docs/adr/0001 tells what else was tried.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from realtime_node import failures
from realtime_node.admission.admit import Refusal, Verdict
from realtime_node.admission.door import Door
from realtime_node.proxy.headers import Kept, TooManyHeadersError
from realtime_node.server.arrivals import Arrival, refused
from realtime_node.server.handshake import Accepted, Refused, negotiate
from realtime_node.server.sockets import BufferBounds, bound_buffers
from realtime_node.server.websocket import WebSocketConnection
from realtime_node.session.services import Services
from realtime_node.telemetry.limited_log import LimitedLog

logger = logging.getLogger(__name__)


class _HandedOver(web.StreamResponse):
    """What the handler returns for a connection that is aiohttp's no more: nothing to write."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write nothing."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing."""


class _EarlyBytes:
    """Collects what the client sent behind its request, before it could know the answer."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        pass


def _taken_from(http: RequestHandler) -> bytes:
    """Take a connection out of aiohttp's hands; return what it had read beyond the request.

    For aiohttp the connection is over: told so, it frees what it holds. Without its transport it
    cannot close ours.
    """
    early = _EarlyBytes()
    http.set_parser(cast("Any", early))
    http.transport = None
    http.connection_lost(None)
    return early.data


class Terms(NamedTuple):
    """What WebSockets are opened with."""

    allowed_origins: tuple[str, ...]
    max_message_bytes: int
    """A longer message closes with 1009."""
    compresses: bool
    """Agree to permessage-deflate with clients that offer it."""
    buffers: BufferBounds


class WebSocketEndpoint:
    """The HTTP handler that turns requests into connections."""

    def __init__(self, services: Services, *, door: Door, terms: Terms) -> None:
        """Serve `services` to those whom the `door` lets in."""
        self.terms = terms
        self._door = door
        self._services = services
        self._num_compressed = 0
        self._connections: set[WebSocketConnection] = set()
        self._log = LimitedLog(logger, services.monotonic)
        self._nobody = asyncio.Event()
        self._nobody.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Upgrade a request, let it wait for that, or refuse it with a reason to act on."""
        offers = (
            request.headers.getall("Sec-WebSocket-Extensions", ()) if self.terms.compresses else ()
        )
        answer = negotiate(
            request.headers,
            subprotocols=(self._services.codec.subprotocol,),
            allowed_origins=self.terms.allowed_origins,
            extension_offers=", ".join(offers),
            query=request.rel_url.raw_query_string,
        )
        transport = request.transport
        if isinstance(answer, Refused):
            self._services.metrics.upgrades_refused.labels(answer.kind).inc()
            self._log.info("upgrade refused: %s", answer.reason)
            return web.Response(status=answer.status, text=f"{answer.reason}\n")
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        try:
            kept = self._services.proxies.keep(request.headers.items())
        except TooManyHeadersError:
            self._services.metrics.upgrades_refused.labels("headers").inc()
            return web.Response(status=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        admission = self._door.knock(request.remote or "", request.headers, len(self._connections))
        if isinstance(admission, Refusal):
            return refused(admission)
        early = _taken_from(request.protocol)
        enter = partial(self._open, kept=kept)
        if admission is Verdict.ACCEPT:
            enter(transport, answer, early)
        else:
            arrival = Arrival(transport, answer, early, on_enter=enter, on_gone=self._door.leave)
            transport.set_protocol(arrival)
            self._door.wait(arrival)
        return _HandedOver()

    def _open(
        self, transport: asyncio.Transport, answer: Accepted, early: bytes, *, kept: Kept
    ) -> None:
        """Upgrade a connection; `early` is what the client sent behind its request.

        aiohttp has let go of it: if this fails, nobody else would ever end it.
        """
        try:
            self._upgrade(transport, answer, early, kept)
        except OSError as error:
            logger.debug("a client is gone before its upgrade: %s", error)
            transport.abort()
        except Exception as error:  # noqa: BLE001 - it is noted
            failures.current().callback_failed("upgrade", error)
            transport.abort()

    def _upgrade(
        self, transport: asyncio.Transport, answer: Accepted, early: bytes, kept: Kept
    ) -> None:
        bound_buffers(transport, self.terms.buffers)
        transport.write(answer.response)
        connection = WebSocketConnection(
            transport,
            self._services,
            max_message_bytes=self.terms.max_message_bytes,
            on_lost=self._lost,
            wire=answer.wire,
            kept=kept,
        )
        transport.set_protocol(connection)
        self._connections.add(connection)
        self._num_compressed += connection.is_compressed
        self._nobody.clear()
        if early:
            connection.data_received(early)

    @property
    def num_connections(self) -> int:
        """WebSockets that are open."""
        return len(self._connections)

    @property
    def num_compressed(self) -> int:
        """Connections that agreed on permessage-deflate."""
        return self._num_compressed

    async def wait_closed(self) -> None:
        """Return when the last connection is gone."""
        await self._nobody.wait()

    def _lost(self, connection: WebSocketConnection) -> None:
        self._connections.discard(connection)
        self._num_compressed -= connection.is_compressed
        if not self._connections:
            self._nobody.set()
