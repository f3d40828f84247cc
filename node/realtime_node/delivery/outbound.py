"""One writer per client: it owns every byte after the upgrade.

A healthy client costs nothing here: the hub calls the transport's own `write` through `send`. When
the transport's buffer passes its high-water mark the client is *congested*, and until the buffer
has drained every frame goes through `send_bounded`, which knows the bound. So the price of a bound
is paid by slow clients only.

A hard limit is impossible for a socket one cannot look into: what counts is the transport's buffer
in user space; the kernel's send buffer comes on top and is bounded by the kernel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum

from realtime_node.protocol.deflate import PLAIN, Wire


class Pressure(Enum):
    """How a client takes what is written to it."""

    HEALTHY = "healthy"
    CONGESTED = "congested"
    ENDED = "ended"


def _discard(_frame: bytes) -> None:
    """Take the place of `send` once nothing may be written any more."""


class Outbound:
    """The bounded way of frames to one transport.

    `send` is an attribute, not a method, so that whoever holds it for a fan-out calls the
    transport directly; it changes with the pressure, and `on_pressure` tells the hub to fetch it
    anew.
    """

    __slots__ = (
        "_limit_bytes",
        "_on_overflow",
        "_on_pressure",
        "_transport",
        "pressure",
        "send",
        "wire",
    )

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        *,
        limit_bytes: int,
        on_pressure: Callable[[], None],
        on_overflow: Callable[[], None],
        wire: Wire = PLAIN,
    ) -> None:
        """Write to `transport`; beyond `limit_bytes` waiting in it, call `on_overflow` once.

        `wire` is the form of frames that the client reads; it never changes.
        """
        self._transport = transport
        self._limit_bytes = limit_bytes
        self._on_pressure = on_pressure
        self._on_overflow = on_overflow
        self.wire = wire
        self.pressure = Pressure.HEALTHY
        self.send: Callable[[bytes], None] = transport.write

    def pause(self) -> None:
        """Note that the transport's buffer passed its high-water mark."""
        if self.pressure is Pressure.HEALTHY:
            self._switch(Pressure.CONGESTED, self.send_bounded)

    def resume(self) -> None:
        """Note that the transport's buffer drained below its low-water mark."""
        if self.pressure is Pressure.CONGESTED:
            self._switch(Pressure.HEALTHY, self._transport.write)

    def end(self) -> None:
        """Write nothing more, whatever frame is still on its way here."""
        self.pressure = Pressure.ENDED
        self.send = _discard

    def send_bounded(self, frame: bytes) -> None:
        """Write to a congested client, or give it up when its buffer is full."""
        if self.waiting_bytes + len(frame) > self._limit_bytes:
            self.end()
            self._on_overflow()
            return
        self._transport.write(frame)

    @property
    def waiting_bytes(self) -> int:
        """Bytes accepted from us and not yet by the kernel."""
        return self._transport.get_write_buffer_size()

    def _switch(self, pressure: Pressure, send: Callable[[bytes], None]) -> None:
        self.pressure = pressure
        self.send = send
        self._on_pressure()
