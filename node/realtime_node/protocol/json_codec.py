"""JSON: one text frame carries objects separated by newlines, in both directions.

A publication's `data` is copied into frames as it came, so two things are made sure before it
enters the system, here and in `clean_json`: it is valid UTF-8 (a browser closes the connection on
a text frame that is not, and the publisher would so disconnect all subscribers) and it holds no
raw newline (which would split the frame's messages).

What serializers of other languages write, and msgspec would refuse, is taken: see `decoding`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from realtime_node.errors import Disconnect
from realtime_node.protocol import codes
from realtime_node.protocol.decoding import MessageDecoder, with_whole_characters
from realtime_node.protocol.messages import Command, Push, Reply


class _PushEnvelope(msgspec.Struct):
    push: Push


_command_decoder = MessageDecoder(Command)
_encoder = msgspec.json.Encoder()


class JsonCodec:
    """The Centrifuge protocol's JSON form; see `codec.Codec`."""

    subprotocol = "centrifuge-json"
    is_text = True
    server_ping = b"{}"

    def decode_commands(self, payload: bytes) -> list[Command]:
        """Decode every line of a frame; blank lines around commands are allowed."""
        try:
            str(payload, "utf-8")
            lines = payload.split(b"\n")
            commands = [_command_decoder.decode(line) for line in lines if line.strip()]
        except (UnicodeDecodeError, msgspec.MsgspecError, RecursionError) as error:
            raise Disconnect(*codes.BAD_REQUEST, detail=f"malformed command: {error}") from error
        if not commands:
            raise Disconnect(*codes.BAD_REQUEST, detail="empty frame")
        return commands

    def encode_reply(self, reply: Reply) -> bytes:
        """Encode a reply as one JSON object."""
        return _encoder.encode(reply)

    def encode_push(self, push: Push) -> bytes:
        """Encode a push as one JSON object."""
        return _encoder.encode(_PushEnvelope(push))

    def publishable(self, data: Raw) -> Raw:
        """Return `data` as it is: a decoded line is valid UTF-8 without a newline."""
        return data

    def join(self, messages: Sequence[bytes]) -> bytes:
        """Put a newline between messages."""
        return b"\n".join(messages)


def clean_json(data: bytes) -> bytes:
    """Return `data` fit to be copied into frames: one line of valid JSON in valid UTF-8.

    Raises `ValueError` with the reason when it is not JSON.
    """
    try:
        str(data, "utf-8")
        data = with_whole_characters(data)
        msgspec.json.decode(data, type=msgspec.Raw)
        if b"\n" in data or b"\r" in data:
            return msgspec.json.format(data, indent=-1)
    except RecursionError as error:
        msg = "nested too deeply"
        raise ValueError(msg) from error
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    return data
