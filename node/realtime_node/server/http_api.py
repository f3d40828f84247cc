"""The HTTP API: `POST /api/<method>` with a JSON body, as Centrifugo's server libraries speak it.

A call that was understood answers 200 with a result or an error; only what no method ever saw has
another status: 401 (key), 404 (method), 400 (body), 413 (too large).
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Any

import msgspec
from aiohttp import web

from realtime_node.errors import BackplaneError, ReplyError
from realtime_node.protocol import codes
from realtime_node.protocol.decoding import MessageDecoder
from realtime_node.server.api_batch import batch
from realtime_node.server.api_cluster import Cluster
from realtime_node.server.api_messages import BatchRequest
from realtime_node.server.api_methods import METHODS
from realtime_node.server.api_payloads import error_body
from realtime_node.server.bodies import read_body
from realtime_node.server.shared_key import SharedKey
from realtime_node.telemetry.metrics import ApiMetrics

logger = logging.getLogger(__name__)

_encoder = msgspec.json.Encoder()


class HttpApi:
    """The handler of all methods."""

    def __init__(
        self,
        cluster: Cluster,
        metrics: ApiMetrics,
        *,
        key: SharedKey,
        insecure: bool,
        max_body_bytes: int,
    ) -> None:
        """Serve callers that give `key`, or everybody if `insecure`.

        Bodies of more than `max_body_bytes` are refused.
        """
        self.cluster = cluster
        self._metrics = metrics
        self.key = key
        self.insecure = insecure
        self.max_body_bytes = max_body_bytes
        self._decoders: dict[str, MessageDecoder[Any]] = {
            name: MessageDecoder(request) for name, (request, _) in METHODS.items()
        }
        self._batch_decoder = MessageDecoder(BatchRequest)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes for an application."""
        return [web.post("/api/batch", self.batch), web.post("/api/{method}", self.call)]

    async def call(self, request: web.Request) -> web.Response:
        """Execute one method."""
        if not self._is_known(request):
            return _refusal(401, "unauthorized: send the API key as X-API-Key")
        name = request.match_info["method"]
        if name not in METHODS:
            return _refusal(404, f"there is no method {name}")
        started = perf_counter()
        arguments = await self._arguments(request, self._decoders[name])
        if isinstance(arguments, web.Response):
            return arguments
        try:
            answer: dict[str, Any] = {"result": await METHODS[name][1](self.cluster, arguments)}
            code = 0
        except (ReplyError, BackplaneError) as error:
            if isinstance(error, BackplaneError):
                logger.warning("api %s: %s", name, error)
            failure = error_body(error)
            answer, code = {"error": failure}, failure.code
        self._count(name, code, started)
        return web.Response(body=_encoder.encode(answer), content_type="application/json")

    async def batch(self, request: web.Request) -> web.Response:
        """Execute many; the replies come without an envelope."""
        if not self._is_known(request):
            return _refusal(401, "unauthorized: send the API key as X-API-Key")
        started = perf_counter()
        arguments = await self._arguments(request, self._batch_decoder)
        if isinstance(arguments, web.Response):
            return arguments
        result = await batch(self.cluster, arguments)
        self._count("batch", 0, started)
        return web.Response(body=_encoder.encode(result), content_type="application/json")

    async def _arguments(self, request: web.Request, decoder: MessageDecoder[Any]) -> Any:  # noqa: ANN401 - the decoder knows
        """Return what a body says, or the refusal of one that no method can take."""
        limit = self.max_body_bytes
        body = await read_body(request, limit)
        if body is None:
            return _refusal(413, f"a request may have {limit} bytes: send it in parts")
        try:
            return decoder.decode(body or b"{}")
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            return _refusal(400, f"malformed request: {error}")

    def _is_known(self, request: web.Request) -> bool:
        if self.insecure:
            return True
        given = request.headers.get("X-API-Key")
        if given is None:
            scheme, _, given = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "apikey":
                return False
        return self.key.is_given_by(given)

    def _count(self, method: str, code: int, started: float) -> None:
        error = codes.label_of(code) if code else "0"
        self._metrics.requests.labels(method, error).inc()
        self._metrics.seconds.observe(perf_counter() - started)


def _refusal(status: int, reason: str) -> web.Response:
    return web.Response(status=status, text=f"{reason}\n")
