"""WebSocket frames of the server's side, as bytes ready for a transport.

A frame from a server is not masked, so one bytes object serves every client that reads this form of
it. Frames of clients are parsed by the `websockets` library's sans-I/O protocol in
`server.websocket`.
"""

from __future__ import annotations

from typing import Final

from websockets.frames import Frame, Opcode

_COMPRESSED: Final = 0x40
"""RSV1, by which permessage-deflate marks a message as compressed."""


def message_frame(payload: bytes, *, is_text: bool, is_compressed: bool = False) -> bytes:
    """Return a complete, unfragmented data frame."""
    opcode = Opcode.TEXT if is_text else Opcode.BINARY
    frame = Frame(opcode, payload).serialize(mask=False)
    if is_compressed:
        return bytes((frame[0] | _COMPRESSED,)) + frame[1:]
    return frame
