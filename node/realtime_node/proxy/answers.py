"""What an answer means. Pure: bytes in; a result in the session's terms out, or what is raised.

An answer that does not follow the format is `BackendError`, as no answer would be: the client is
told that it may try again, and the log says what was wrong.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, NamedTuple, TypeVar

import msgspec
from msgspec import Raw

from realtime_node.errors import BackendError, Disconnect, ReplyError
from realtime_node.protocol.decoding import with_whole_characters
from realtime_node.protocol.json_codec import clean_json
from realtime_node.proxy.messages import (
    Answer,
    ConnectResult,
    DisconnectAnswer,
    ErrorAnswer,
    OverrideAnswer,
    PublishResult,
    RefreshResult,
    RpcResult,
    SubscribeResult,
    Switch,
)

R = TypeVar("R")

LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999: a later time is one in milliseconds."""
_CLOSE_CODES: Final = range(3000, 5000)
_ERROR_CODES: Final = range(1, 2**32)
_MAX_REASON: Final = 123


# --- results in the session's terms --------------------------------------------------------------


class Override(msgspec.Struct, array_like=True, frozen=True):
    """Options of a channel that are others for one subscription; None: as the channel's."""

    presence: bool | None = None
    join_leave: bool | None = None
    force_recovery: bool | None = None
    force_positioning: bool | None = None
    force_push_join_leave: bool | None = None

    def changes(self) -> Mapping[str, bool]:
        """Return what is another."""
        fields = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in fields if value is not None}


class SubscribeVerdict(msgspec.Struct, array_like=True, frozen=True):
    """A subscription that the backend allows."""

    expire_at: int = 0
    """Unix seconds; 0: never."""
    info: bytes | None = None
    data: bytes | None = None
    override: Override | None = None


class ConnectVerdict(msgspec.Struct, array_like=True, frozen=True):
    """A client that the backend lets in."""

    user: str
    expire_at: int = 0
    """Unix seconds; 0: never."""
    info: bytes | None = None
    data: bytes | None = None
    subs: dict[str, SubscribeVerdict] = {}


class RefreshVerdict(NamedTuple):
    """Whether something goes on, and until when; `expire_at` 0: for ever."""

    expired: bool
    expire_at: int = 0
    info: bytes | None = None


class PublishVerdict(NamedTuple):
    """A publication that the backend allows."""

    data: bytes | None = None
    """None: what the client sent."""
    skip_history: bool = False
    tags: dict[str, str] | None = None
    idempotency_key: str = ""


# --- reading -------------------------------------------------------------------------------------


class Meaning(NamedTuple):
    """What a status means."""

    error: ErrorAnswer | None = None
    disconnect: DisconnectAnswer | None = None


def read(body: bytes, decoder: msgspec.json.Decoder[Answer[R]]) -> R | None:
    """Return the result of an answer, None if it has none.

    Raises `Disconnect` or `ReplyError` as the backend says, `BackendError` for what is no answer.
    """
    try:
        answer = decoder.decode(with_whole_characters(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(str(error)) from None
    demand(Meaning(answer.error, answer.disconnect))
    return answer.result


def demand(meaning: Meaning) -> None:
    """Raise what the backend wants, if it wants anything raised."""
    error, disconnect = meaning
    if disconnect is not None:
        code, reason = disconnect.code or 0, disconnect.reason or ""
        if code not in _CLOSE_CODES:
            raise _malformed(f"disconnect.code is {code}, and has to be from 3000 to 4999")
        clipped = reason.encode("utf-8", "replace")[:_MAX_REASON].decode("utf-8", "ignore")
        raise Disconnect(code, clipped, detail="as the team's backend says")
    if error is not None:
        code = error.code or 0
        if code not in _ERROR_CODES:
            raise _malformed(f"error.code is {code}")
        raise ReplyError(code, error.message or "", temporary=bool(error.temporary))


def transformed(error: BackendError, meanings: Mapping[int, Meaning]) -> BackendError:
    """Raise what a status was said to mean; return the error if nothing was."""
    if error.outcome == "status" and error.status != HTTPStatus.OK:
        demand(meanings.get(error.status, Meaning()))
    return error


def connect_verdict(result: ConnectResult) -> ConnectVerdict:
    """Return who a client is, with the server-side subscriptions it is given."""
    subs = {channel: SubscribeVerdict() for channel in result.channels or ()}
    for channel, sub in (result.subs or {}).items():
        subs[channel] = SubscribeVerdict() if sub is None else subscribe_verdict(sub)
    return ConnectVerdict(
        user=result.user or "",
        expire_at=_time(result.expire_at),
        info=_json("info", result.info, result.b64info),
        data=_json("data", result.data, result.b64data),
        subs=subs,
    )


def subscribe_verdict(result: SubscribeResult | None) -> SubscribeVerdict:
    """Return how a client is subscribed; an empty answer allows it."""
    if result is None:
        return SubscribeVerdict()
    return SubscribeVerdict(
        expire_at=_time(result.expire_at),
        info=_json("info", result.info, result.b64info),
        data=_json("data", result.data, result.b64data),
        override=None if result.override is None else _override(result.override),
    )


def refresh_verdict(result: RefreshResult | None) -> RefreshVerdict:
    """Return whether it goes on; an answer without a result ends it."""
    if result is None or result.expired:
        return RefreshVerdict(expired=True)
    return RefreshVerdict(
        expired=False,
        expire_at=_time(result.expire_at),
        info=_json("info", result.info, result.b64info),
    )


def publish_verdict(result: PublishResult | None) -> PublishVerdict:
    """Return what is published; an empty answer allows what the client sent."""
    if result is None:
        return PublishVerdict()
    return PublishVerdict(
        data=_json("data", result.data, result.b64data),
        skip_history=bool(result.skip_history),
        tags=result.tags or None,
        idempotency_key=result.idempotency_key or "",
    )


def rpc_data(result: RpcResult | None) -> bytes | None:
    """Return what a call returns."""
    return None if result is None else _json("data", result.data, result.b64data)


def _override(answer: OverrideAnswer) -> Override:
    def side(switch: Switch | None) -> bool | None:
        return None if switch is None else switch.value

    return Override(
        presence=side(answer.presence),
        join_leave=side(answer.join_leave),
        force_recovery=side(answer.force_recovery),
        force_positioning=side(answer.force_positioning),
        force_push_join_leave=side(answer.force_push_join_leave),
    )


def _time(expire_at: int | None) -> int:
    if (expire_at or 0) > LAST_SECOND:
        raise _malformed("expire_at is not in seconds")
    return max(0, expire_at or 0)


def _json(field: str, raw: Raw, base64_text: str | None) -> bytes | None:
    """An attachment, fit to be copied into frames; null is as good as none."""
    try:
        text = base64.b64decode(base64_text, validate=True) if base64_text else bytes(raw)
        return None if text in (b"", b"null") else clean_json(text)
    except ValueError as error:
        raise _malformed(f"{field}: {error}") from None


def _malformed(what: str) -> BackendError:
    return BackendError(f"the backend's answer is malformed: {what}", "malformed")
