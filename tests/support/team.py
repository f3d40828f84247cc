"""The team's backend: one in this process for unit tests, one over HTTP for whole nodes."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aiohttp import web

from realtime_node.errors import BackendError

if TYPE_CHECKING:
    from realtime_node.proxy.backend import Headers
    from realtime_node.proxy.http_backend import Endpoint


class Question(NamedTuple):
    """What a backend was asked."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    """Names in lower case."""


class FakeTeam:
    """Backends without I/O, by the path of their URL.

    Each answers with what a test put into `answers`: an object, or an exception; `{}` if nothing.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.questions: list[Question] = []
        self.endpoints: list[Endpoint] = []
        self.gate = asyncio.Event()
        """Answers come when it is set, which it is."""
        self.gate.set()

    def open(self, endpoint: Endpoint) -> FakeBackend:
        """Return a backend at an endpoint."""
        self.endpoints.append(endpoint)
        return FakeBackend(self, "/" + endpoint.url.rpartition("/")[2])

    def asked(self, path: str) -> list[dict[str, Any]]:
        """The bodies of the questions to one path."""
        return [question.body for question in self.questions if question.path == path]


class FakeBackend:
    """Implements `Backend`."""

    def __init__(self, team: FakeTeam, path: str) -> None:
        self._team = team
        self._path = path

    async def call(self, body: bytes, headers: Headers) -> bytes:
        """See `Backend.call`."""
        lower = {name.lower(): value for name, value in headers}
        self._team.questions.append(Question(self._path, json.loads(body), lower))
        await self._team.gate.wait()
        answer = self._team.answers.get(self._path, {})
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    async def close(self) -> None:
        """Nothing to close."""


def away() -> BackendError:
    """What a backend that is not there raises."""
    return BackendError("nobody is there", "unreachable")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class TeamServer:
    """A backend over HTTP, on a port of its own.

    Each path answers with the object in `answers`, or as a handler there does; `{}` if nothing.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """Speak TLS if it is given."""
        self._tls = tls
        self.answers: dict[str, Any] = defaultdict(dict)
        self.questions: list[Question] = []
        self.peers: set[Any] = set()
        """The connections that questions came on."""
        self._runner: web.AppRunner | None = None
        self.port = 0

    def url(self, path: str) -> str:
        """Where a path is asked."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}{path}"

    def asked(self, path: str) -> list[dict[str, Any]]:
        """The bodies of the questions to one path."""
        return [question.body for question in self.questions if question.path == path]

    async def __aenter__(self) -> Self:
        """Listen; on the same port again after an end."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, "127.0.0.1", self.port, ssl_context=self._tls, reuse_address=True
        )
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.questions.append(Question(request.path, await request.json(), headers))
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        answer = self.answers[request.path]
        if callable(answer):
            response: web.StreamResponse = await answer(request)
            return response
        return web.json_response(answer)
