"""A backend over HTTP: POST, JSON, connections that are kept for the next question.

The URL is called as it is written, since a signature or a code in it may depend on how it is
quoted. Its query is a secret: no error, and so no log, has it. Answers are read up to a bound and
never decompressed, redirects are not followed, and cookies are not kept: what one client's question
brought must not go out with another's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from http import HTTPStatus
from typing import Final, NamedTuple

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from realtime_node import __version__
from realtime_node.certificates import Trust
from realtime_node.errors import BackendError, ConfigError
from realtime_node.proxy.backend import Headers

_KEPT_S: Final = 4.0
"""Less than the 5 s after which common application servers close what is idle: asking on a
connection that is just being closed fails."""
_READ_SIZE: Final = 65_536
_MAX_STATUS_LINE_BYTES: Final = 16_384
_MAX_HEADER_BYTES: Final = 16_384
"""Of one header of an answer, its name included: cookies, mostly, which nobody reads here."""
_REREAD_S: Final = 60.0
"""After so long certificates are read again."""

logger = logging.getLogger(__name__)


class Endpoint(NamedTuple):
    """Where a backend is, and how it is spoken to."""

    url: str
    timeout_s: float
    max_answer_bytes: int
    connections: int
    trust: Trust | None = None
    """How the server is verified; None: as the system does."""
    may_repeat: bool = False
    """Asking twice does no harm."""


class HttpBackend:
    """Implements `Backend`."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Connect when it is asked first."""
        self._endpoint = endpoint
        self._url = URL(endpoint.url, encoded=endpoint.url.isascii())
        self._name = endpoint.url.partition("?")[0]
        self._trust = endpoint.trust
        self._reread_at = time.monotonic() + _REREAD_S
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
                f"{self._name} did not answer in {endpoint.timeout_s:g} s", "timeout"
            ) from error
        except aiohttp.ClientResponseError as error:
            # Its text has the URL with the query, and a part of the answer.
            raise BackendError(
                f"{self._name} answered with broken HTTP, or a header or status line of more than"
                f" {_MAX_HEADER_BYTES} bytes",
                "unreachable",
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            failure = str(error) or type(error).__name__
            raise BackendError(f"{self._name}: {failure}", "unreachable") from error
        except ValueError as error:
            # A header that cannot be written; `headers` lets none by.
            raise BackendError(f"{self._name} cannot be asked: {error}", "malformed") from error

    async def close(self) -> None:
        """See `Backend.close`."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, body: bytes, headers: Headers) -> bytes:
        trust = await self._current_trust()
        async with self._open().post(
            self._url,
            data=body,
            headers=CIMultiDict(
                [*headers, ("Content-Type", "application/json"), ("Accept-Encoding", "identity")]
            ),
            allow_redirects=False,
            ssl=True if trust is None else trust.context,
            server_hostname=(trust and trust.options.server_name) or None,
        ) as response:
            if response.status != HTTPStatus.OK:
                raise BackendError(
                    f"{self._name} answered with HTTP {response.status}",
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
            raise BackendError(f"{self._name} answered with more than {limit} bytes", "too_large")
        return bytes(answer)

    async def _current_trust(self) -> Trust | None:
        """Return what the next connection believes; certificates may be renewed at any time.

        One question a minute waits until they are read again; others go on with the last ones.
        """
        now = time.monotonic()
        if self._trust is not None and now >= self._reread_at:
            self._reread_at = now + _REREAD_S
            try:
                self._trust = await self._trust.reread()
            except ConfigError as error:
                # The node has started with good ones: the next renewal may mend it.
                logger.warning("certificates for %s: %s", self._name, error)
        return self._trust

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
                max_line_size=_MAX_STATUS_LINE_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
                # Ours is around the whole call; this one would say less.
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"User-Agent": f"realtime-node/{__version__}"},
            )
        return self._session
