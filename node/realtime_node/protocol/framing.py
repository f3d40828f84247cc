"""WebSocket frames of the server's side, as bytes ready for a transport.

A frame from a server is not masked, so one bytes object serves every client. Frames of clients are
parsed by the `websockets` library's sans-I/O protocol in `server.websocket`.
"""

from __future__ import annotations

from websockets.frames import Frame, Opcode


def message_frame(payload: bytes, *, is_text: bool) -> bytes:
    """Return a complete, unfragmented data frame."""
    return Frame(Opcode.TEXT if is_text else Opcode.BINARY, payload).serialize(mask=False)
