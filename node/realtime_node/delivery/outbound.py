"""One writer per client: it owns every byte after the upgrade.

A healthy client costs nothing here: the hub calls the transport's own `write` through `send`. When
the transport's buffer passes its high-water mark the client is *congested*. From then on nothing is
written until the buffer has drained, since what is written cannot be taken back: everything goes to
the client's `Backlog`, where the channels' policies act on it, and from there into the transport,
a buffer's worth at a time. So the price of a slow client is paid for slow clients only.

    healthy ──blocked──▶ congested ──drained, nothing waits──▶ healthy
        └───────────────────┴──end──▶ ended

What the kernel holds comes on top; `server.sockets` bounds it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final

from realtime_node.delivery.backlog import Backlog
from realtime_node.delivery.batching import Batch
from realtime_node.delivery.budget import Shared
from realtime_node.delivery.policies import Action, Reason
from realtime_node.protocol.deflate import UNCOMPRESSED, Wire

if TYPE_CHECKING:
    from realtime_node.delivery.flow import Policy
    from realtime_node.delivery.slow_clients import SlowClients


class Pressure(Enum):
    """How a client takes what is written to it."""

    HEALTHY = "healthy"
    CONGESTED = "congested"
    ENDED = "ended"


class Event(Enum):
    """What changes it."""

    BLOCKED = "the transport's buffer passed its high-water mark"
    RELIEVED = "the buffer drained, and nothing waits behind it"
    END = "nothing may be written any more"


TRANSITIONS: Final[dict[tuple[Pressure, Event], Pressure]] = {
    (Pressure.HEALTHY, Event.BLOCKED): Pressure.CONGESTED,
    (Pressure.CONGESTED, Event.RELIEVED): Pressure.HEALTHY,
    (Pressure.HEALTHY, Event.END): Pressure.ENDED,
    (Pressure.CONGESTED, Event.END): Pressure.ENDED,
}
"""Every change there is; any other event changes nothing."""


class Congestion:
    """What is known of a client only while it is congested."""

    __slots__ = (
        "backlog",
        "is_blocked",
        "moved_at",
        "own_bytes",
        "unsent_bytes",
        "written",
    )

    def __init__(self, backlog: Backlog, now: float) -> None:
        """Begin with an empty backlog."""
        self.backlog = backlog
        self.is_blocked = True
        self.moved_at = now
        """When the client last took something."""
        self.unsent_bytes = 0
        """What had not been taken when it was last looked at, the kernel's part included."""
        self.own_bytes = 0
        """In the transport's buffer, of frames that are not known here."""
        self.written: list[Shared] = []
        """Frames that may still be in the transport's buffer."""


def _discard(_frame: bytes) -> None:
    """Take the place of `send` once nothing may be written any more."""


class Outbound:
    """The way of frames to one transport.

    `send` writes what is for this client alone. It is an attribute, not a method, so that whoever
    holds it for a fan-out calls the transport directly; it changes with the pressure, and
    `on_pressure` tells the hub to fetch it anew. `offer` is the way of a channel's frames to a
    client that may be congested.
    """

    __slots__ = (
        "_congestion",
        "_on_pressure",
        "_on_slow",
        "_slow",
        "pressure",
        "send",
        "transport",
        "wire",
    )

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        slow: SlowClients,
        *,
        on_pressure: Callable[[], None],
        on_slow: Callable[[Reason], None],
        wire: Wire = UNCOMPRESSED,
    ) -> None:
        """Write to `transport`; call `on_slow` once if the client has to go, and write no more.

        `wire` is the form of frames that the client reads; it never changes.
        """
        self.transport = transport
        self.wire = wire
        self._slow = slow
        self._on_pressure = on_pressure
        self._on_slow = on_slow
        self._congestion: Congestion | None = None
        self.pressure = Pressure.HEALTHY
        self.send: Callable[[bytes], None] = transport.write

    # --- the transport's side ------------------------------------------------------------------

    def pause(self) -> None:
        """Note that the transport's buffer passed its high-water mark."""
        congestion = self._congestion
        if self.pressure is Pressure.CONGESTED and congestion is not None:
            congestion.is_blocked = True
        elif self.pressure is Pressure.HEALTHY:
            congestion = self._congestion = Congestion(
                self._slow.backlog(self.wire), self._slow.now()
            )
            congestion.unsent_bytes = self._slow.unsent_bytes(self.transport)
            self._hold_buffered(congestion)
            self._slow.congested(self)
            self._change(Event.BLOCKED, self._send_later)

    def _hold_buffered(self, congestion: Congestion) -> None:
        """Account for what the transport holds: the frame being written is shared with others.

        A part of it may be sent already; what is kept in memory is still the whole.
        """
        buffered = self.transport.get_write_buffer_size()
        frame = self._slow.writing
        if frame is not None:
            congestion.written.append(frame)
            self._slow.budget.hold(frame)
            buffered = max(buffered - len(frame.data), 0)
        congestion.own_bytes = buffered
        self._slow.budget.charge(buffered)

    def resume(self) -> None:
        """Note that the transport's buffer drained below its low-water mark."""
        congestion = self._congestion
        if congestion is None:
            return
        self._release_buffered(congestion)
        if self.pressure is not Pressure.CONGESTED:
            return
        congestion.is_blocked = False
        congestion.moved_at = self._slow.now()
        while not congestion.is_blocked:
            taken = congestion.backlog.take()
            if taken is None:
                self._release_buffered(congestion)
                self._congestion = None
                self._slow.relieved(self, congestion)
                self._change(Event.RELIEVED, self.transport.write)
                return
            congestion.written += taken.frames
            self._slow.delivered(taken.messages)
            with contextlib.suppress(RuntimeError):  # it closed under our hands, and will tell
                for frame in taken.frames:
                    self.transport.write(frame.data)
        congestion.unsent_bytes = self._slow.unsent_bytes(self.transport)

    def _release_buffered(self, congestion: Congestion) -> None:
        for frame in congestion.written:
            self._slow.budget.release(frame)
        congestion.written.clear()
        self._slow.budget.charge(-congestion.own_bytes)
        congestion.own_bytes = 0

    def lost(self) -> None:
        """Note that the transport is gone, or about to be, with all that it held."""
        self.end()
        if self._congestion is not None:
            self._release_buffered(self._congestion)
            self._congestion = None

    # --- what is written -----------------------------------------------------------------------

    def offer(self, batch: Batch, now: float) -> Action | None:
        """Write a channel's frame, or treat it by the channel's policy; None if it was written."""
        congestion = self._congestion
        if self.pressure is Pressure.HEALTHY:
            frame = self._slow.writing = batch.frame.on(self.wire)
            with contextlib.suppress(RuntimeError):  # it closed under our hands, and will tell
                self.transport.write(frame.data)
            self._slow.writing = None
            return None
        if congestion is None or self.pressure is Pressure.ENDED:
            return Action.SKIP
        verdict = congestion.backlog.offer(batch, now)
        if verdict.action is Action.CLOSE:
            self.give_up(batch.rule.policy, verdict.reason)
        return verdict.action

    def forget(self, channel: str) -> None:
        """Let go of what waits of a channel that the client left."""
        if self._congestion is not None:
            self._congestion.backlog.forget(channel)

    def _send_later(self, frame: bytes) -> None:
        congestion = self._congestion
        if congestion is not None and not congestion.backlog.add_own(frame):
            self.give_up(None, Reason.CLIENT_BYTES)

    # --- the end -------------------------------------------------------------------------------

    def give_up(self, policy: Policy | None, reason: Reason) -> None:
        """Write nothing more and let the client be closed."""
        if self.pressure is Pressure.ENDED:
            return
        self._slow.gave_up(policy, reason)
        self.end()
        self._on_slow(reason)

    def end(self) -> None:
        """Write nothing more, whatever frame is still on its way here, and forget what waits."""
        if self._congestion is not None and self.pressure is Pressure.CONGESTED:
            self._congestion.backlog.clear()
            self._slow.relieved(self, self._congestion)
        self.pressure = TRANSITIONS.get((self.pressure, Event.END), self.pressure)
        self.send = _discard

    def _change(self, event: Event, send: Callable[[bytes], None]) -> None:
        self.pressure = TRANSITIONS[self.pressure, event]
        self.send = send
        self._on_pressure()

    # --- what is known of it -------------------------------------------------------------------

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait in the node for this client."""
        waiting = self.transport.get_write_buffer_size()
        return waiting + (self._congestion.backlog.bytes if self._congestion is not None else 0)

    @property
    def congestion(self) -> Congestion | None:
        """What is known of it as a congested client."""
        return self._congestion if self.pressure is Pressure.CONGESTED else None
