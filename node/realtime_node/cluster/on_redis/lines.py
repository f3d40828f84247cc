"""Lines: the publishes of a channel that are under way, in the order in which they were asked for.

They are sent one behind the other without waiting for answers. When one of them has to be sent
again (its connection broke, its route was stale, Redis is not ready), those behind it must not
overtake it: what is asked for from then on waits, until all that are out are answered or have come
back too. Then all are sent in their order, in one moment.

`publishing` sends through a line; what waits in `commands` behind a pipeline that breaks comes back
as well (`NotSentError`).

Bounds: a line exists while a publish of its channel does. At most `limit` publishes of
`limit_bytes` together wait in all lines that were never sent; the next is refused at once. Nobody
waits for longer than those before it have until their deadlines.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable

from .refusals import queue_full
from .replies import Reply

Send = Callable[[], asyncio.Future[Reply]]
"""Queues the command, at once and in this moment."""


class Place:
    """That of one publish in its channel's line."""

    __slots__ = ("_gate", "_is_busy", "_line", "_lines", "_send", "_size", "_was_sent", "number")

    def __init__(self, lines: Lines, line: _Line, number: int, size: int) -> None:
        self._lines = lines
        self._line = line
        self.number = number
        self._size = size
        self._is_busy = False
        self._was_sent = False
        self._send: Send | None = None
        self._gate: asyncio.Future[asyncio.Future[Reply]] | None = None

    async def run(self, send: Send) -> Reply:
        """Send when nothing has to go before, and return the answer; raises what it raises.

        Raises `BackplaneUnavailableError` if too much waits already.
        """
        line = self._line
        if not line.is_mending:
            return await self._go(send)
        gate: asyncio.Future[asyncio.Future[Reply]] = asyncio.get_running_loop().create_future()
        if not self._was_sent:
            self._lines.admit(self._size)
        self._send, self._gate = send, gate
        insort(line.waiting, self, key=lambda place: place.number)
        self._rest()
        try:
            return await (await gate)
        except asyncio.CancelledError:
            # It was sent in the very moment in which its caller gave up.
            if gate.done() and not gate.cancelled():
                gate.result().cancel()
            raise

    def come_back(self) -> None:
        """It has to be sent again: whatever is asked for from here on waits behind it."""
        self._line.is_mending = True

    def leave(self) -> None:
        """It has its answer, or is given up. Called once, in any case."""
        if self._send is not None:
            self._line.waiting.remove(self)
            self._stop_waiting()
        self._rest()
        self._lines.leave(self._line)

    def go_on(self) -> None:
        """Be sent from the line, in turn."""
        send, gate = self._send, self._gate
        assert send is not None, "it waits"
        assert gate is not None, "it waits"
        self._stop_waiting()
        if not gate.done():
            gate.set_result(self._go(send))

    def _go(self, send: Send) -> asyncio.Future[Reply]:
        if not self._is_busy:
            self._is_busy = True
            self._line.busy += 1
        self._was_sent = True
        return send()

    def _stop_waiting(self) -> None:
        self._send = None
        if not self._was_sent:
            self._lines.dismiss(self._size)

    def _rest(self) -> None:
        if self._is_busy:
            self._is_busy = False
            self._line.busy -= 1
        self._line.go_on()


class _Line:
    __slots__ = ("busy", "channel", "drawn", "is_mending", "size", "waiting")

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.size = 0
        self.drawn = 0
        self.busy = 0
        """Those that are out, or are being prepared to be sent again."""
        self.is_mending = False
        self.waiting: list[Place] = []
        """In their order; there are none unless it is mending."""

    def go_on(self) -> None:
        """Send what waits, once nothing is out any more."""
        if self.busy or not self.is_mending:
            return
        self.is_mending = False
        waiting, self.waiting = self.waiting, []
        for place in waiting:
            place.go_on()


class Lines:
    """The lines of all channels that something is published into right now."""

    def __init__(self, *, limit: int, limit_bytes: int, refused: Callable[[], None]) -> None:
        """`refused` counts what finds too much waiting."""
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._refused = refused
        self._lines: dict[str, _Line] = {}
        self._waiting = 0
        self._waiting_bytes = 0

    def __len__(self) -> int:
        """Return how many channels are published into."""
        return len(self._lines)

    def enter(self, channel: str, size: int) -> Place:
        """Take the last place of a channel's line, for `size` bytes. It has to be left."""
        line = self._lines.get(channel)
        if line is None:
            line = self._lines[channel] = _Line(channel)
        line.size += 1
        line.drawn += 1
        return Place(self, line, line.drawn, size)

    def leave(self, line: _Line) -> None:
        """One less is in a line."""
        line.size -= 1
        if not line.size:
            del self._lines[line.channel]

    def admit(self, size: int) -> None:
        """Let one more wait that never was sent; raises `BackplaneUnavailableError`."""
        if self._waiting >= self._limit or self._waiting_bytes >= self._limit_bytes:
            self._refused()
            raise queue_full(self._waiting, self._waiting_bytes)
        self._waiting += 1
        self._waiting_bytes += size

    def dismiss(self, size: int) -> None:
        """One that never was sent waits no more."""
        self._waiting -= 1
        self._waiting_bytes -= size
