"""A WebSocket from its upgrade to its last byte.

aiohttp reads the HTTP request. Then the transport changes hands: `WebSocketConnection` becomes its
protocol, and aiohttp's request, task and buffers of that connection are let go, which is most of
what a connection would weigh. Frames of the client are parsed by the sans-I/O protocol of
`websockets`; messages go to the `Session`; what we write goes through `Outbound`, shared frames
untouched. docs/adr/0001 tells what else was tried.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol

from realtime_node.admission.admit import Refusal, Verdict
from realtime_node.admission.door import Door
from realtime_node.delivery.outbound import Outbound
from realtime_node.delivery.policies import Reason
from realtime_node.errors import Disconnect
from realtime_node.protocol import codes
from realtime_node.protocol.deflate import UNCOMPRESSED, Inflater, Wire
from realtime_node.proxy.headers import NOTHING_KEPT, Kept, TooManyHeadersError
from realtime_node.server.arrivals import Arrival, refused
from realtime_node.server.handshake import Accepted, Refused, negotiate
from realtime_node.server.sockets import BufferBounds, bound_buffers, reset_on_close
from realtime_node.session.resuming import Ending
from realtime_node.session.services import Services
from realtime_node.session.session import Session

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT: Final = 5.0
"""Seconds for what was written to go out and for the client's close frame to come back; a stalled
client is cut off then (it sees 1006)."""


class WebSocketConnection(asyncio.Protocol):
    """The link between one upgraded transport and its session."""

    __slots__ = (
        "_close_timer",
        "_fragments",
        "_on_lost",
        "_outbound",
        "_session",
        "_transport",
        "_ws",
    )

    def __init__(  # noqa: PLR0913 - what a connection is made of
        self,
        transport: asyncio.Transport,
        services: Services,
        *,
        max_message_bytes: int,
        on_lost: Callable[[WebSocketConnection], None],
        wire: Wire = UNCOMPRESSED,
        kept: Kept = NOTHING_KEPT,
    ) -> None:
        """Open a session on an upgraded transport.

        On a `wire` that is not plain the client may compress too, to any window.
        """
        self._transport = transport
        self._on_lost = on_lost
        self._ws = Protocol(SERVER, state=OPEN, max_size=max_message_bytes, logger=frame_logger)
        if wire != UNCOMPRESSED:
            self._ws.extensions = [Inflater()]
        self._fragments: bytearray | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._outbound = Outbound(
            transport,
            services.slow_clients,
            on_pressure=self._refresh_pressure,
            on_slow=self._end_slow,
            wire=wire,
        )
        self._session = Session(services, self, self._outbound, kept)

    @property
    def is_compressed(self) -> bool:
        """Whether permessage-deflate was agreed on."""
        return self._outbound.wire != UNCOMPRESSED

    # --- asyncio's side ------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what came; answer control frames, hand messages to the session."""
        self._ws.receive_data(data)
        for frame in self._ws.events_received():
            self._take(cast("Frame", frame))
        self._flush()

    def pause_writing(self) -> None:
        """Note congestion."""
        self._outbound.pause()

    def resume_writing(self) -> None:
        """Note that it is over."""
        self._outbound.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        del exc
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._session.ended()
        self._outbound.lost()
        self._on_lost(self)

    # --- The session's side --------------------------------------------------------------------

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, wait a moment for the client's, then end the connection."""
        if self._ws.state is OPEN:
            self._ws.send_close(code, reason)
            self._flush()
        self.resume_reading()  # or the client's close frame would never be seen
        self._end_soon()

    def pause_reading(self) -> None:
        """Take no more frames for now."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take frames again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # --- Frames --------------------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            # A page that is left says so too, and may only be loading anew.
            is_leaving = bytes(frame.data[:2]) == _GOING_AWAY
            self._session.ended(Ending.LOST if is_leaving else Ending.GOODBYE)
        elif frame.opcode in _CONTROL_OPCODES:
            self._demand_rate()
        elif frame.opcode in _MESSAGE_OPCODES:
            if frame.fin and self._fragments is None:
                self._session.receive(bytes(frame.data))
                return
            # One buffer, so that fragments without end weigh no more than the message may.
            message = self._fragments = self._fragments or bytearray()
            message += frame.data
            if frame.fin:
                self._fragments = None
                self._session.receive(bytes(message))

    def _demand_rate(self) -> None:
        try:
            self._session.demand_rate(1)
        except Disconnect as disconnect:
            self._session.disconnect(disconnect)

    def _flush(self) -> None:
        """Write the frames of the WebSocket protocol itself: pongs and closes."""
        for data in self._ws.data_to_send():
            if data and data[0] == _PONG:
                # Bounded as everything else: a client may ping without end and read nothing.
                self._outbound.send(data)
            elif data:
                self._transport.write(data)
            else:
                # Both sides said goodbye, or the client broke the protocol: the transport ends
                # once everything is written.
                self._session.ended()
                self._transport.close()
                self._end_soon()

    def _end_soon(self) -> None:
        if self._close_timer is None:
            loop = asyncio.get_running_loop()
            self._close_timer = loop.call_later(CLOSE_TIMEOUT, self._abort)

    def _refresh_pressure(self) -> None:
        self._session.on_pressure()

    def _end_slow(self, reason: Reason) -> None:
        """Close a client that is too slow, or cut it off where a close frame is of no use."""
        self._session.leave_ticket()
        if reason.cuts_off:
            self._session.cut_off()
            self._abort()
        else:
            self._session.close(codes.SLOW)

    def _abort(self) -> None:
        reset_on_close(self._transport)
        self._transport.abort()


_PONG: Final = 0x80 | Opcode.PONG
"""First byte of a pong frame."""
_GOING_AWAY: Final = CloseCode.GOING_AWAY.to_bytes(2, "big")
_CONTROL_OPCODES: Final = (Opcode.PING, Opcode.PONG)
_MESSAGE_OPCODES: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)

frame_logger = logging.getLogger("realtime_node.frames")
"""The parser's own log: a line per frame at debug level, and so off unless asked for by name."""
frame_logger.setLevel(logging.WARNING)


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


class WebSocketEndpoint:
    """The HTTP handler that turns requests into connections."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        services: Services,
        *,
        door: Door,
        allowed_origins: tuple[str, ...],
        max_message_bytes: int,
        compresses: bool,
        buffers: BufferBounds,
    ) -> None:
        """Serve `services`; messages of more than `max_message_bytes` close with 1009.

        `compresses` agrees to permessage-deflate with clients that offer it.
        """
        self._door = door
        self._buffers = buffers
        self._services = services
        self._allowed_origins = allowed_origins
        self._max_message_bytes = max_message_bytes
        self._compresses = compresses
        self._num_compressed = 0
        self._connections: set[WebSocketConnection] = set()
        self._nobody = asyncio.Event()
        self._nobody.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Upgrade a request, let it wait for that, or refuse it with a reason to act on."""
        offers = request.headers.getall("Sec-WebSocket-Extensions", ()) if self._compresses else ()
        answer = negotiate(
            request.headers,
            subprotocols=(self._services.codec.subprotocol,),
            allowed_origins=self._allowed_origins,
            extension_offers=", ".join(offers),
        )
        transport = request.transport
        if isinstance(answer, Refused):
            logger.info("upgrade refused: %s", answer.reason)
            return web.Response(status=answer.status, text=f"{answer.reason}\n")
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        try:
            kept = self._services.proxies.keep(request.headers.items())
        except TooManyHeadersError:
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
        """Upgrade a connection; `early` is what the client sent behind its request."""
        bound_buffers(transport, self._buffers)
        transport.write(answer.response)
        connection = WebSocketConnection(
            transport,
            self._services,
            max_message_bytes=self._max_message_bytes,
            on_lost=self._lost,
            wire=answer.wire,
            kept=kept,
        )
        self._connections.add(connection)
        self._num_compressed += connection.is_compressed
        self._nobody.clear()
        transport.set_protocol(connection)
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
