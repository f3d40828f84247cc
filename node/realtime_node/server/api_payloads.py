"""Bodies of the HTTP API: what a caller gives as JSON, and how an error is told."""

from __future__ import annotations

import base64
import binascii

from msgspec import UNSET, Raw, UnsetType

from realtime_node.errors import BackplaneError, ReplyError
from realtime_node.protocol import codes
from realtime_node.protocol.json_codec import clean_json
from realtime_node.protocol.messages import ErrorBody
from realtime_node.server.api_messages import Payload


def data_of(payload: Payload) -> Raw:
    """Return what is to be published; raises `ReplyError` 107 if it is missing or no JSON."""
    data = _given(payload.data, payload.b64data)
    if data is None:
        raise ReplyError(codes.BAD_COMMAND.code, "bad request: data is required")
    return Raw(data)


def json_of(raw: Raw | UnsetType, encoded: str) -> bytes | None:
    """Return JSON that may be left out, given as it is or in base64; null is as good as none.

    Raises `ReplyError` 107: clients of the JSON protocol can be sent nothing else.
    """
    data = _given(raw, encoded)
    return None if data == b"null" else data


def _given(raw: Raw | UnsetType, encoded: str) -> bytes | None:
    """Return JSON given as it is or in base64.

    Raises `ReplyError` 107: clients of the JSON protocol can be sent nothing else.
    """
    if encoded:
        try:
            data = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise ReplyError(codes.BAD_COMMAND.code, "bad request: invalid base64") from error
    elif raw is not UNSET:
        data = bytes(raw)
    else:
        return None
    try:
        return clean_json(data)
    except ValueError as error:
        raise ReplyError(codes.BAD_COMMAND.code, f"bad request: not JSON: {error}") from error


def error_body(error: ReplyError | BackplaneError) -> ErrorBody:
    """Return the error a caller gets; what the store says stays in our log."""
    if isinstance(error, ReplyError):
        return ErrorBody(code=error.code, message=error.message)
    return ErrorBody(code=codes.INTERNAL.code, message=codes.INTERNAL.message)
