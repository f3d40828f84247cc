"""permessage-deflate (RFC 7692): what we agree to, and how a message is compressed and read.

Without context takeover, always: only then is a compressed message the same bytes for every client,
and only then does an idle connection hold no compressor. So `agree` turns every acceptable offer
into one of few *wires*, which is how a client wants its messages: plain, or compressed within a
window of so many bits. `delivery.frames` makes a frame once per wire; `server.websocket` reads what
clients compressed through `Inflater`.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

from websockets.exceptions import NegotiationError, PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame
from websockets.headers import build_extension, parse_extension

Wire = int
"""How messages go to a client: `UNCOMPRESSED`, or compressed within a window of so many bits."""
UNCOMPRESSED: Final[Wire] = 0

MIN_WINDOW_BITS: Final = 9
"""zlib makes no raw stream for a smaller window; an offer that insists on one is declined."""
MAX_WINDOW_BITS: Final = 15

MAX_OFFERS_CHARS: Final = 1_024
"""Of the offers of a client: browsers make one of 50. Longer ones would take longer to parse than
all the rest of a handshake."""

_MIN_LOOKAHEAD: Final = 262
"""Bytes of its window that zlib never refers back to."""
_FLUSH_MARK: Final = 4
"""Bytes at the end of a flushed stream that the message goes without (RFC 7692, 7.2.1)."""

_FINAL_PADDING: Final = 1
"""Bytes that may follow a stream that says it is the last (RFC 7692, 7.2.3.4)."""

_factory = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True
)


class Agreement(NamedTuple):
    """What a client and we have agreed on."""

    answer: str
    """Value of the response's header `Sec-WebSocket-Extensions`."""
    wire: Wire
    """How the client reads what we send."""


def agree(offers: str) -> Agreement | None:
    """Accept the first offer of the header `Sec-WebSocket-Extensions` that can be honoured.

    Offers of other extensions, and those with parameters that RFC 7692 does not know or not with
    such a value, are passed over, and so is a header that is too long. None: there is no extension,
    and messages go plain.
    Raises `websockets.exceptions.InvalidHeader` if the header is malformed.
    """
    if not offers.strip() or len(offers) > MAX_OFFERS_CHARS:
        return None
    for name, parameters in parse_extension(offers):
        if name != _factory.name:
            continue
        try:
            granted, extension = _factory.process_request_params(parameters, [])
        except NegotiationError:
            continue  # the client may have offered something simpler behind it
        return Agreement(build_extension([(name, granted)]), wire=extension.local_max_window_bits)
    return None


def smallest_window(length: int, window_bits: int) -> int:
    """Return the bits of the smallest window that compresses `length` bytes as well as this one.

    Setting a window up costs more than compressing a short message within it, and clients with
    different windows can read what was made for the smallest of them.
    """
    return min(window_bits, max(MIN_WINDOW_BITS, (length + _MIN_LOOKAHEAD - 1).bit_length()))


def deflate(payload: bytes, window_bits: int, level: int) -> bytes:
    """Compress a message by itself, for a window of 9 to 15 bits."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -window_bits)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-_FLUSH_MARK]


class Inflater(PerMessageDeflate):
    """The extension on the way in; one for each connection, empty between two messages.

    It reads any window, whatever was agreed: that costs nothing that lasts, and some clients use a
    window larger than the one they named, because their zlib has none of 8 bits.
    """

    def __init__(self) -> None:
        """Start between two messages."""
        super().__init__(
            remote_no_context_takeover=True,
            local_no_context_takeover=True,
            remote_max_window_bits=MAX_WINDOW_BITS,
            local_max_window_bits=MAX_WINDOW_BITS,
        )

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Decompress a frame to at most `max_size` bytes.

        zlib takes a limit of 0 for none, and stops at a limit before it knows whether that was all:
        so it gets one byte more, and nothing beyond that byte is ever decompressed.
        Raises `PayloadTooBig` for more, and `ProtocolError` for what is no compressed data.
        """
        if max_size is None:
            return super().decode(frame)
        try:
            decoded = super().decode(frame, max_size=max_size + 1)
        except PayloadTooBig:
            raise PayloadTooBig(None, max_size) from None
        if len(decoded.data) > max_size:
            raise PayloadTooBig(None, max_size)
        if self.decode_cont_data and len(self.decoder.unused_data) > _FINAL_PADDING:
            # zlib keeps whatever follows the end of a stream, and fragments need never end.
            raise ProtocolError("data behind the end of a compressed message")
        return decoded
