"""A WebSocket from its upgrade to its last byte.

`upgrade` hands over the transport. Frames of the client are parsed by the sans-I/O protocol of
`websockets`; messages go to the `Session`; what we write goes through `Outbound`, shared frames
untouched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol

from realtime_node.delivery.outbound import Outbound
from realtime_node.delivery.policies import Reason
from realtime_node.errors import Disconnect
from realtime_node.protocol import codes
from realtime_node.protocol.deflate import UNCOMPRESSED, Inflater, Wire
from realtime_node.proxy.headers import NOTHING_KEPT, Kept
from realtime_node.server.sockets import reset_on_close
from realtime_node.session.resuming import Ending
from realtime_node.session.services import Services
from realtime_node.session.session import Session
from realtime_node.supervision import guard, guarded

logger = logging.getLogger(__name__)

BYTES_PER_COMMAND: Final = 4096
"""Of a message, decompressed, that count as much as a command (`client.command_rate`)."""
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
        try:
            self._ws.receive_data(data)
            for frame in self._ws.events_received():
                self._take(cast("Frame", frame))
            self._flush()
        except Exception as error:  # noqa: BLE001 - it is noted
            self._failed(error)

    def pause_writing(self) -> None:
        """Note congestion."""
        with guard("websocket"):
            self._outbound.pause()

    def resume_writing(self) -> None:
        """Note that it is over."""
        with guard("websocket"):
            self._outbound.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        del exc
        # Each for itself: a connection that the endpoint goes on counting would keep the node from
        # its end, and what a session holds is others' too.
        with guard("websocket"):
            self._session.ended()
        with guard("websocket"):
            self._outbound.lost()
        with guard("websocket"):
            self._on_lost(self)
        with guard("websocket"):
            self._let_go()

    def _let_go(self) -> None:
        """Part what leads back to here: parser, session and outbound are freed now, by that.

        The collector would come by late: it is told to in a node (`cli.GC_THRESHOLDS`).
        """
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._ws.parser.close()
        del self._ws, self._session, self._outbound

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
            self._demand_rate(1)
        elif frame.opcode in _MESSAGE_OPCODES:
            # The session counts the commands of whole messages. What costs beside them counts as
            # well: fragments, which may be empty and without end, and bytes, of which a few become
            # many where they are compressed. One frame costs half of a burst at most, or the
            # largest message that is allowed could be one that is always refused.
            extra = len(frame.data) // BYTES_PER_COMMAND + (not frame.fin)
            if extra and not self._demand_rate(min(extra, self._session.services.rate.burst // 2)):
                return
            if frame.fin and self._fragments is None:
                self._session.receive(bytes(frame.data))
                return
            # One buffer, so that fragments without end weigh no more than the message may.
            message = self._fragments = self._fragments or bytearray()
            message += frame.data
            if frame.fin:
                self._fragments = None
                self._session.receive(bytes(message))

    def _demand_rate(self, count: int) -> bool:
        """Count what was sent beside commands; False: it was too much, the connection ends."""
        try:
            self._session.demand_rate(count)
        except Disconnect as disconnect:
            self._session.disconnect(disconnect)
            return False
        return True

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
                if self._ws.parser_exc is not None:
                    self._count_refusal()
                self._session.ended()
                self._transport.close()
                self._end_soon()

    def _count_refusal(self) -> None:
        """Count frames that the parser refused, unless the connection was being closed already."""
        sent = self._ws.close_sent
        if sent is not None and sent.code in _REFUSALS:
            self._session.services.metrics.frames_refused.labels(str(int(sent.code))).inc()

    def _end_soon(self) -> None:
        if self._close_timer is None:
            loop = asyncio.get_running_loop()
            self._close_timer = loop.call_later(
                CLOSE_TIMEOUT, guarded(self._abort, where="websocket")
            )

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

    def _failed(self, error: Exception) -> None:
        """End the connection because of a bug: the others go on."""
        self._session.failed(error)
        self._end_soon()

    def _abort(self) -> None:
        reset_on_close(self._transport)
        self._transport.abort()


_PONG: Final = 0x80 | Opcode.PONG
"""First byte of a pong frame."""
_GOING_AWAY: Final = CloseCode.GOING_AWAY.to_bytes(2, "big")
_REFUSALS: Final = frozenset(
    (
        CloseCode.PROTOCOL_ERROR,
        CloseCode.INVALID_DATA,
        CloseCode.MESSAGE_TOO_BIG,
        CloseCode.INTERNAL_ERROR,
    )
)
"""Codes of the parser."""
_CONTROL_OPCODES: Final = (Opcode.PING, Opcode.PONG)
_MESSAGE_OPCODES: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)

frame_logger = logging.getLogger("realtime_node.frames")
"""The parser's own log: a line per frame at debug level, and so off unless asked for by name."""
frame_logger.setLevel(logging.WARNING)
