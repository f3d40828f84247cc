"""One proxy: a question in the session's terms goes out, and what the answer says comes back."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from realtime_node.errors import BackendError
from realtime_node.proxy.answers import Meaning, read, transformed
from realtime_node.proxy.backend import Backend, Headers
from realtime_node.proxy.headers import HeaderRule, Kept
from realtime_node.proxy.messages import Answer, Request

R = TypeVar("R")

_encoder: Final = msgspec.json.Encoder()


class Proxy:
    """An endpoint with the form of its questions."""

    def __init__(
        self,
        name: str,
        backend: Backend,
        *,
        headers: HeaderRule,
        is_binary: bool = False,
        meanings: Mapping[int, Meaning] | None = None,
    ) -> None:
        """`meanings` says what statuses other than 200 mean."""
        self.name = name
        self.headers = headers
        self._backend = backend
        self._is_binary = is_binary
        self._meanings = meanings or {}

    async def ask(
        self, request: Request, kept: Kept, decoder: msgspec.json.Decoder[Answer[R]]
    ) -> R | None:
        """Return the result of the backend's answer, None if it has none.

        Raises `Disconnect` or `ReplyError` as the backend says, `BackendError` if it says nothing.
        """
        try:
            body = await self._backend.call(_encoder.encode(request), self.headers.apply(kept))
        except BackendError as error:
            raise transformed(error, self._meanings) from error.__cause__
        return read(body, decoder)

    def carried(self, data: Raw | UnsetType) -> dict[str, Any]:
        """Return the fields of a request that say how it is encoded and what a client sent."""
        if not self._is_binary:
            return {"data": data}
        text = b"" if data is UNSET else bytes(data)
        return {"encoding": "binary", "b64data": base64.b64encode(text).decode()}

    def asks_as(self, other: Proxy) -> bool:
        """Whether the same client leads to the same question, so that kept answers fit both."""
        return (self.name, self._is_binary, self.headers._replace(static={})) == (
            other.name,
            other._is_binary,
            other.headers._replace(static={}),
        )

    @property
    def encoding(self) -> str:
        """How the client's data is sent."""
        return "binary" if self._is_binary else "json"

    def passed_on(self, kept: Kept) -> Headers:
        """Return what the backend is told of a client's headers."""
        return self.headers._replace(static={}).apply(kept)

    async def close(self) -> None:
        """Let go of connections."""
        await self._backend.close()
