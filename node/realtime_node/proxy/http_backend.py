"""A backend over HTTP: POST, JSON, connections that are kept for the next question.

Answers are read up to a bound and never decompressed, redirects are not followed, and cookies are
not kept: what one client's question brought must not go out with another's.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from http import HTTPStatus
from typing import Final, NamedTuple

import aiohttp
from multidict import CIMultiDict

from realtime_node import __version__
from realtime_node.certificates import TlsOptions, client_context
from realtime_node.errors import BackendError, ConfigError
from realtime_node.proxy.backend import Headers

_KEPT_S: Final = 4.0
"""Less than the 5 s after which common application servers close what is idle: asking on a
connection that is just being closed fails."""
_READ_SIZE: Final = 65_536
_REREAD_S: Final = 60.0
"""After so long certificates are read again."""

logger = logging.getLogger(__name__)


class Endpoint(NamedTuple):
    """Where a backend is, and how it is spoken to."""

    url: str
    timeout_s: float
    max_answer_bytes: int
    connections: int
    tls: TlsOptions | None = None
    """How the server is verified; None: as the system does."""
    may_repeat: bool = False
    """Asking twice does no harm."""


class HttpBackend:
    """Implements `Backend`."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Raise `ConfigError` if certificates cannot be used."""
        self._endpoint = endpoint
        self._context: ssl.SSLContext | bool = True
        self._context_until = 0.0
        self._read_certificates(time.monotonic())
        self._session: aiohttp.ClientSession | None = None

    async def call(self, body: bytes, headers: Headers) -> bytes:
        """See `Backend.call`."""
        endpoint = self._endpoint
        try:
            async with asyncio.timeout(endpoint.timeout_s):
                try:
                    return await self._post(body, headers)
                except aiohttp.ServerDisconnectedError:
                    if not endpoint.may_repeat:
                        raise
                    return await self._post(body, headers)
        except TimeoutError as error:
            raise BackendError(
                f"{endpoint.url} did not answer in {endpoint.timeout_s:g} s", "timeout"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            failure = str(error) or type(error).__name__
            raise BackendError(f"{endpoint.url}: {failure}", "unreachable") from error
        except ValueError as error:
            # A header that cannot be written; `headers` lets none by.
            raise BackendError(f"{endpoint.url} cannot be asked: {error}", "malformed") from error

    async def close(self) -> None:
        """See `Backend.close`."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, body: bytes, headers: Headers) -> bytes:
        endpoint = self._endpoint
        async with self._open().post(
            endpoint.url,
            data=body,
            headers=CIMultiDict(
                [*headers, ("Content-Type", "application/json"), ("Accept-Encoding", "identity")]
            ),
            allow_redirects=False,
            ssl=self._trust(),
            server_hostname=(endpoint.tls and endpoint.tls.server_name) or None,
        ) as response:
            if response.status != HTTPStatus.OK:
                raise BackendError(
                    f"{endpoint.url} answered with HTTP {response.status}",
                    "status",
                    status=response.status,
                )
            return await self._read(response)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        limit = self._endpoint.max_answer_bytes
        answer = bytearray()
        is_over = (response.content_length or 0) > limit
        while not is_over and (part := await response.content.read(_READ_SIZE)):
            answer += part
            is_over = len(answer) > limit
        if is_over:
            response.close()
            raise BackendError(
                f"{self._endpoint.url} answered with more than {limit} bytes", "too_large"
            )
        return bytes(answer)

    def _trust(self) -> ssl.SSLContext | bool:
        """Return what the next connection believes; certificates may be renewed at any time."""
        now = time.monotonic()
        if now >= self._context_until:
            try:
                self._read_certificates(now)
            except ConfigError as error:
                # The node has started with good ones: the next renewal may mend it.
                logger.warning("certificates for %s: %s", self._endpoint.url, error)
        return self._context

    def _read_certificates(self, now: float) -> None:
        self._context_until = now + _REREAD_S
        if self._endpoint.tls is not None:
            self._context = client_context(self._endpoint.tls)

    def _open(self) -> aiohttp.ClientSession:
        """Return the connections; made in the running loop, which is not there before."""
        if self._session is None:
            endpoint = self._endpoint
            connector = aiohttp.TCPConnector(
                limit=endpoint.connections,
                keepalive_timeout=_KEPT_S,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                # Ours is around the whole call; this one would say less.
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"User-Agent": f"realtime-node/{__version__}"},
            )
        return self._session
