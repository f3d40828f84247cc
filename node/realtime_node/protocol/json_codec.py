"""JSON: one text frame carries objects separated by newlines, in both directions.

A publication's `data` is copied into frames as it came, so two things are made sure before it
enters the system, here and in `clean_json`: it is valid UTF-8 (a browser closes the connection on
a text frame that is not, and the publisher would so disconnect all subscribers) and it holds no
raw newline (which would split the frame's messages).

Half of a surrogate pair, which JavaScript writes as an escape when a text was cut within an emoji,
is JSON that the parsers of some languages refuse, msgspec's too. It becomes U+FFFD, as Go's does:
the cut text is delivered, and its author is not disconnected for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from realtime_node.errors import Disconnect
from realtime_node.protocol import codes
from realtime_node.protocol.messages import Command, Push, Reply


class _PushEnvelope(msgspec.Struct):
    push: Push


_command_decoder = msgspec.json.Decoder(Command)
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
            lines = _with_whole_characters(payload).split(b"\n")
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


_ESCAPES: Final = re.compile(
    rb"""\\(?:
        u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}  # a pair
        | (?P<half> u[dD][89a-fA-F][0-9a-fA-F]{2} )
        | . )""",
    re.VERBOSE | re.DOTALL,
)


def _with_whole_characters(data: bytes) -> bytes:
    if b"\\ud" not in data and b"\\uD" not in data:
        return data
    return _ESCAPES.sub(lambda escape: rb"\ufffd" if escape["half"] else escape[0], data)


def clean_json(data: bytes) -> bytes:
    """Return `data` fit to be copied into frames: one line of valid JSON in valid UTF-8.

    Raises `ValueError` with the reason when it is not JSON.
    """
    try:
        str(data, "utf-8")
        data = _with_whole_characters(data)
        msgspec.json.decode(data, type=msgspec.Raw)
        if b"\n" in data or b"\r" in data:
            return msgspec.json.format(data, indent=-1)
    except RecursionError as error:
        msg = "nested too deeply"
        raise ValueError(msg) from error
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    return data
