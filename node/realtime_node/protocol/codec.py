"""What a codec does: frame payloads to commands, replies and pushes to bytes.

A codec is stateless and shared by all connections that negotiated it, so that one encoded push
serves every subscriber of a channel. Implementations: `json_codec`; Protobuf gets the same shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Raw

from realtime_node.protocol.messages import Command, Push, Reply


class Codec(Protocol):
    """Translates between a frame's payload and messages."""

    @property
    def subprotocol(self) -> str:
        """The WebSocket subprotocol that selects this codec."""

    @property
    def is_text(self) -> bool:
        """Whether payloads travel in text frames (JSON) or binary ones (Protobuf)."""

    @property
    def server_ping(self) -> bytes:
        """The encoded message that asks a client for a pong."""

    def decode_commands(self, payload: bytes) -> list[Command]:
        """All commands of one frame, in order.

        Raises `Disconnect` (3501) when the payload is empty or any part of it is malformed.
        """

    def encode_reply(self, reply: Reply) -> bytes:
        """One reply, without framing."""

    def encode_push(self, push: Push) -> bytes:
        """One push, without framing."""

    def publishable(self, data: Raw) -> Raw:
        """Return a client's `data` fit for the frames of every other client."""

    def join(self, messages: Sequence[bytes]) -> bytes:
        """Put several encoded messages into one frame's payload."""
