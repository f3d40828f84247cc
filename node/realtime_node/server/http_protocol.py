"""HTTP/1.1 as the ports of a node speak it: aiohttp's protocol, within bounds of ours.

aiohttp does more with a request than is wanted here, and does it before a handler can know the
caller. It decompresses bodies, asks for a body (`100 Continue`) that will be refused, and takes
heads of megabytes. It answers a broken request with a part of it, and logs that part with a
traceback: tokens and cookies would be in the log. So requests with a `Content-Encoding` are refused
as they are, a body is asked for when it is read, heads are bounded, and a broken request is
answered and logged by what is wrong with it, never by what it holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from aiohttp import web
from aiohttp.http_exceptions import (
    BadHttpMethod,
    HttpProcessingError,
    InvalidHeader,
    LineTooLong,
)

from realtime_node.supervision import guard
from realtime_node.telemetry.limited_log import LimitedLog
from realtime_node.telemetry.metrics import HttpMetrics

logger = logging.getLogger(__name__)

MAX_REQUEST_LINE_BYTES: Final = 16_384
"""Of a path with its query, where clients may put a token."""
MAX_HEADER_BYTES: Final = 16_384 + 256
"""Of one header: a value of 16 KiB, as much as is kept of a handshake, and its name."""
MAX_HEADERS: Final = 128
MAX_HEAD_BYTES: Final = 65_536
"""Of request line and headers together."""

LINGERING_S: Final = 2.0
"""How long the rest of a refused request is read and thrown away, so that its client, which may
still be sending, reads the answer."""


class Refusal(NamedTuple):
    """How a request is answered that no handler sees. Holds nothing that was sent."""

    status: HTTPStatus
    text: str
    kind: str
    """Of `metrics.http.REFUSED_REQUESTS`."""


_HEAD_TOO_LARGE: Final = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"request line and headers have more than {MAX_HEAD_BYTES} bytes",
    "too_large",
)
_BROKEN_BODY: Final = Refusal(
    HTTPStatus.BAD_REQUEST, "the body ended early, or its chunks are malformed", "malformed"
)
_ENCODED: Final = Refusal(
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "a request may not have a Content-Encoding: send the body as it is",
    "encoding",
)
_TOO_MANY_HEADERS: Final = "Too many headers received"
_NO_HOST: Final = "Missing 'Host' header in request."


def refusal_of(error: BaseException) -> Refusal | None:
    """Return the answer to a request that aiohttp could not read; None: it is no such error."""
    if isinstance(error, web.RequestPayloadError):
        return _BROKEN_BODY
    if not isinstance(error, HttpProcessingError):
        return None
    match error:
        case LineTooLong(args=(_, limit, *_)) if limit == MAX_REQUEST_LINE_BYTES:
            status = HTTPStatus.REQUEST_URI_TOO_LONG
            return Refusal(status, f"the path has more than {limit} bytes", "too_large")
        case LineTooLong():
            text = f"a header has more than {MAX_HEADER_BYTES} bytes"
            return _HEAD_TOO_LARGE._replace(text=text)
        case HttpProcessingError(message=message) if message == _TOO_MANY_HEADERS:
            return _HEAD_TOO_LARGE._replace(text=f"there are more than {MAX_HEADERS} headers")
        case HttpProcessingError(message=message) if message == _NO_HOST:
            text = "the header Host is missing"
        case InvalidHeader():
            text = "a header is malformed"
        case BadHttpMethod():
            text = "the request does not begin with a method of HTTP"
        case _:
            text = "the request is not HTTP/1.1"
    return Refusal(HTTPStatus.BAD_REQUEST, text, "malformed")


class RefusedRequests:
    """Counts and logs what was refused on the ports of a node."""

    def __init__(self, metrics: HttpMetrics, monotonic: Callable[[], float]) -> None:
        self._metrics = metrics
        self._log = LimitedLog(logger, monotonic)

    def note(self, refusal: Refusal, remote: str | None) -> None:
        """Count a refusal; write a line about it, unless there were many just now."""
        self._metrics.refused[refusal.kind].inc()
        self._log.info(
            "a request from %s was refused with %d: %s",
            remote or "an unknown address",
            refusal.status,
            refusal.text,
        )

    @web.middleware
    async def refuse_encoded(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Refuse a request whose body is encoded, whatever it is for."""
        encoding = request.headers.get("Content-Encoding")
        if encoding is None or encoding.strip().lower() in {"", "identity"}:
            return await handler(request)
        self.note(_ENCODED, request.remote)
        response = _response(_ENCODED)
        response.headers["Accept-Encoding"] = "identity"
        return response


class HttpProtocol(web.RequestHandler):
    """One connection to a port, until it is closed or taken over for a WebSocket."""

    __slots__ = ("_num_head_bytes", "_refused")

    def __init__(
        self,
        manager: web.Server,
        refused: RefusedRequests,
        *,
        loop: asyncio.AbstractEventLoop,
        keepalive_timeout: float,
    ) -> None:
        """Serve the routes of `manager`; a connection may be idle for `keepalive_timeout` s."""
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=keepalive_timeout,
            access_log=None,  # type: ignore[arg-type] # its own way to say that there is none
            auto_decompress=False,
            max_line_size=MAX_REQUEST_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=LINGERING_S,
        )
        self._refused = refused
        self._num_head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Read requests; refuse a head without end, and wait for no end of a broken body."""
        with guard("http"):
            self._read(data)

    def _read(self, data: bytes) -> None:
        # While aiohttp waits for the next request, all that comes is part of its head.
        is_head = self._waiter is not None and not self._waiter.done()
        num_requests = self._request_count
        super().data_received(data)
        if not is_head or self._request_count != num_requests:
            self._num_head_bytes = 0
            if not is_head and self._messages:
                self._end_broken_body()
            return
        self._num_head_bytes += len(data)
        if self._num_head_bytes > MAX_HEAD_BYTES and self.transport is not None:
            self._refused.note(_HEAD_TOO_LARGE, self._remote)
            self.transport.write(_plain_response(_HEAD_TOO_LARGE))
            self.force_close()

    def _end_broken_body(self) -> None:
        """Tell whoever reads the body of the current request if no more of it can come.

        aiohttp queues the error of its parser as the next request, so that a handler that reads a
        body would wait until the client is gone.
        """
        error = getattr(self._messages[-1][0], "exc", None)
        request = self._current_request
        if error is not None and request is not None and not request.content.is_eof():
            request.content.set_exception(web.RequestPayloadError())

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that could not be read, or whose handler raised."""
        refusal = None if exc is None else refusal_of(exc)
        if refusal is None:
            return super().handle_error(request, status, exc, message)
        self._refused.note(refusal, request.remote)
        if request.writer.output_size > 0:
            raise ConnectionResetError("an answer has begun, and the request is broken")
        return _response(refusal)

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ANN401 - aiohttp's own
        """Log what a handler raised; nothing of a body that breaks behind its answer."""
        error = kw.get("exc_info")
        if not isinstance(error, BaseException) or refusal_of(error) is None:
            super().log_exception(*args, **kw)

    @property
    def _remote(self) -> str | None:
        peer: Sequence[Any] | None = self.peername
        return str(peer[0]) if isinstance(peer, tuple) else None


async def expect_nothing(request: web.Request) -> None:
    """Leave `Expect: 100-continue` to `ask_for_body`.

    It is the `expect_handler` of routes: aiohttp's own asks for the body of every request.
    """


async def ask_for_body(request: web.Request) -> None:
    """Tell a client that waits for it to send its body, now that it will be read."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # of the answer, which has not begun


def _response(refusal: Refusal) -> web.Response:
    response = web.Response(status=refusal.status, text=f"{refusal.text}\n")
    response.force_close()
    return response


def _plain_response(refusal: Refusal) -> bytes:
    text = f"{refusal.text}\n".encode()
    head = (
        f"HTTP/1.1 {refusal.status.value} {refusal.status.phrase}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(text)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + text
