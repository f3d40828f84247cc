"""Frames that many clients share, in as many forms as these clients read.

A `Frame` holds one payload. What goes to a client depends on its *wire*: plain, or compressed
within the window that was agreed with it. Each form is made when the first client needs it, and
once, so that a payload is compressed as often as there are window sizes among its readers, however
many readers there are. Short payloads need less than that: one stream for the smallest window that
holds them is read by everybody with a larger one.

Compressing happens in the loop, so it is bounded: payloads above `MAX_COMPRESSED_BYTES` go plain,
and `spent_writes` tells the hub what was spent, for its pass to end in time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from realtime_node.delivery.budget import Shared
from realtime_node.protocol.deflate import UNCOMPRESSED, Wire, deflate, smallest_window
from realtime_node.protocol.framing import message_frame
from realtime_node.telemetry.metrics import CompressionMetrics

MAX_COMPRESSED_BYTES: Final = 256 * 1024
"""Payloads beyond it go plain: at level 1 this one takes a millisecond, at level 9 it takes 25."""
_BYTES_PER_WRITE: Final = 512
"""What level 1 compresses in the time of a write to a socket; level n less, by n at most."""


class Compression(NamedTuple):
    """How payloads are compressed for those who read it."""

    min_bytes: int
    """Shorter payloads go plain."""
    level: int
    """1 (fastest) to 9 (smallest)."""


class Framer:
    """Makes the frames of one codec."""

    def __init__(
        self, metrics: CompressionMetrics, *, is_text: bool, compression: Compression
    ) -> None:
        """Frame text or binary payloads; nothing is compressed unless a wire asks for it."""
        self._metrics = metrics
        self._is_text = is_text
        self.compression = compression
        self._compressed_bytes = 0

    def frame(self, payload: bytes) -> Frame:
        """Return a frame for any number of clients."""
        return Frame(self, payload)

    def single(self, payload: bytes, wire: Wire) -> bytes:
        """Return the bytes of a frame for one client alone."""
        form = self.form_for(wire, len(payload))
        return self.make(payload, form)

    def form_for(self, wire: Wire, length: int) -> Wire:
        """Return the wire whose form of a payload a client on `wire` is given."""
        if wire == UNCOMPRESSED or not self.compression.min_bytes <= length <= MAX_COMPRESSED_BYTES:
            return UNCOMPRESSED
        return smallest_window(length, wire)

    def make(self, payload: bytes, form: Wire) -> bytes:
        """Make one form of a frame, the plain one if compressing gains nothing."""
        if form != UNCOMPRESSED:
            compressed = deflate(payload, form, self.compression.level)
            self._compressed_bytes += len(payload)
            self._metrics.compressed(len(payload), len(compressed))
            if len(compressed) < len(payload):
                return message_frame(compressed, is_text=self._is_text, is_compressed=True)
        return message_frame(payload, is_text=self._is_text)

    @property
    def spent_writes(self) -> int:
        """All compressing so far, in the time of so many writes to sockets."""
        return self._compressed_bytes * self.compression.level // _BYTES_PER_WRITE


class Frame:
    """One payload, framed once for each form that somebody reads."""

    __slots__ = ("_forms", "_framer", "_payload")

    def __init__(self, framer: Framer, payload: bytes) -> None:
        """Hold a payload; nothing is made yet."""
        self._framer = framer
        self._payload = payload
        self._forms: dict[Wire, Shared] = {}

    def on(self, wire: Wire) -> Shared:
        """Return the bytes for every client on `wire`: the same object each time."""
        form = self._framer.form_for(wire, len(self._payload))
        made = self._forms.get(form)
        if made is None:
            made = self._forms[form] = Shared(self._framer.make(self._payload, form))
        return made
