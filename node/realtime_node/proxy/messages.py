"""What goes to the team's backend and what comes back, field by field as Centrifugo 6 has it.

Fields of an answer may be null, which is as good as absent; fields that are not here are ignored,
`caps`, `labels` and `meta` among them.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

R = TypeVar("R")


# --- requests ------------------------------------------------------------------------------------


class Request(msgspec.Struct, omit_defaults=True, kw_only=True, frozen=True):
    """What every request says: whose connection, and how it is encoded."""

    client: str
    transport: str = msgspec.field(default_factory=lambda: "websocket")
    protocol: str = msgspec.field(default_factory=lambda: "json")
    encoding: str = msgspec.field(default_factory=lambda: "json")


class ConnectRequest(Request, frozen=True):
    """A client connects without a token."""

    data: Raw | UnsetType = UNSET
    b64data: str = ""
    name: str = ""
    version: str = ""
    channels: tuple[str, ...] = ()
    """Server-side subscriptions that it wishes for."""


class RefreshRequest(Request, frozen=True):
    """A connection is about to expire."""

    user: str


class SubscribeRequest(Request, frozen=True):
    """A client wants to subscribe."""

    user: str
    channel: str
    data: Raw | UnsetType = UNSET
    b64data: str = ""


class PublishRequest(Request, frozen=True):
    """A client wants to publish."""

    user: str
    channel: str
    data: Raw | UnsetType = UNSET
    b64data: str = ""


class RpcRequest(Request, frozen=True):
    """A client calls."""

    user: str
    method: str = ""
    data: Raw | UnsetType = UNSET
    b64data: str = ""


class SubRefreshRequest(Request, frozen=True):
    """A subscription is about to expire."""

    user: str
    channel: str


# --- answers -------------------------------------------------------------------------------------


class ErrorAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The command is answered with this error."""

    code: int | None = None
    message: str | None = None
    temporary: bool | None = None


class DisconnectAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The connection is closed with this code."""

    code: int | None = None
    reason: str | None = None


class Answer(msgspec.Struct, Generic[R], kw_only=True, frozen=True):
    """The whole body of an answer."""

    result: R | None = None
    error: ErrorAnswer | None = None
    disconnect: DisconnectAnswer | None = None


class Switch(msgspec.Struct, kw_only=True, frozen=True):
    """A switch that is set, to either side."""

    value: bool = False


class OverrideAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Options of a channel that are others for one subscription."""

    presence: Switch | None = None
    join_leave: Switch | None = None
    force_recovery: Switch | None = None
    force_positioning: Switch | None = None
    force_push_join_leave: Switch | None = None


class Attachments(msgspec.Struct, kw_only=True, frozen=True):
    """JSON that a result brings along, as it stands or in base64."""

    info: Raw = Raw()
    b64info: str | None = None
    data: Raw = Raw()
    b64data: str | None = None


class SubscribeResult(Attachments, kw_only=True, frozen=True):
    """A subscription is allowed; also one that a connect result makes."""

    expire_at: int | None = None
    override: OverrideAnswer | None = None


class ConnectResult(Attachments, kw_only=True, frozen=True):
    """Who the client is."""

    user: str | None = None
    expire_at: int | None = None
    channels: list[str] | None = None
    subs: dict[str, SubscribeResult | None] | None = None


class RefreshResult(Attachments, kw_only=True, frozen=True):
    """Whether a connection or a subscription goes on."""

    expired: bool | None = None
    expire_at: int | None = None


class PublishResult(Attachments, kw_only=True, frozen=True):
    """A publication is allowed, perhaps with other data."""

    skip_history: bool | None = None
    tags: dict[str, str] | None = None
    idempotency_key: str | None = None


class RpcResult(Attachments, kw_only=True, frozen=True):
    """What a call returns."""
