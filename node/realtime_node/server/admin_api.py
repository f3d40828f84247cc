"""What an operator tells a node: to empty itself, to send some clients away, how fast all may.

`POST /drain`, `POST /shed`, `GET` and `POST /budget`, on the internal port alone, with the admin
key as bearer token. Requests are levels: each says how things shall be, and repeating it changes
nothing. Whatever is wrong with one is answered in words that tell what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from aiohttp import web

from realtime_node.cluster.allowance import ReconnectBudget
from realtime_node.drain.drainer import Drainer
from realtime_node.drain.plan import UNLIMITED, Order
from realtime_node.drain.status import DrainStatus, Shed
from realtime_node.errors import BackplaneError
from realtime_node.protocol.decoding import MessageDecoder
from realtime_node.server.bodies import read_body
from realtime_node.server.health import BudgetStatus
from realtime_node.server.shared_key import SharedKey

logger = logging.getLogger(__name__)

LONGEST_BODY: Final = 16 * 1024
"""Bytes: a few numbers and a reason."""

_Rate = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=7 * 86_400)]


class DrainRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /drain`."""

    phase: Literal["cordon", "drain", "abort"]
    rate_per_s: _Rate | None = None
    window_s: _Seconds | None = None
    deadline_s: _Seconds | None = None
    reason: Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""


class ShedRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /shed`."""

    count: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
    rate_per_s: _Rate | None = None


class BudgetRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /budget`."""

    connections_per_second_per_node: Annotated[float, msgspec.Meta(ge=1, le=100_000)]


class DrainAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of `/drain` and `/shed`: what `/status` shows of it."""

    drain: DrainStatus
    shed: Shed | None


_Answer = Callable[[web.Request], Awaitable[msgspec.Struct]]
_Body = TypeVar("_Body", bound=msgspec.Struct)
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class _Refused(Exception):
    """A request that is answered with a status and a reason."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers


class AdminApi:
    """Handlers of the routes above."""

    def __init__(self, drainer: Drainer, budget: ReconnectBudget, *, key: SharedKey) -> None:
        """Serve callers that give `key`."""
        self._drainer = drainer
        self._budget = budget
        self.key = key

    def routes(self) -> list[web.RouteDef]:
        """Return the routes for an application."""
        return [
            web.post("/drain", self._answering(self.drain)),
            web.post("/shed", self._answering(self.shed)),
            web.get("/budget", self._answering(self.budget)),
            web.post("/budget", self._answering(self.change_budget)),
        ]

    async def drain(self, request: web.Request) -> msgspec.Struct:
        """Shut the door, empty the node, or let it serve again."""
        asked = await _body(request, DrainRequest, _DRAIN_EXAMPLE)
        if asked.phase != "abort":
            self._drainer.order(_order(asked))
        elif not self._drainer.abort():
            raise _Refused(409, "this node ends, and cannot serve again")
        return self._answer()

    async def shed(self, request: web.Request) -> msgspec.Struct:
        """Send some clients elsewhere while the node goes on serving."""
        asked = await _body(request, ShedRequest, _SHED_EXAMPLE)
        rate = UNLIMITED if asked.rate_per_s is None else asked.rate_per_s
        if not self._drainer.shed(asked.count, rate):
            raise _Refused(409, "this node is cordoned or drains: abort that to shed")
        return self._answer()

    async def budget(self, _request: web.Request) -> msgspec.Struct:
        """Tell the reconnect budget."""
        return BudgetStatus.of(self._budget.known())

    async def change_budget(self, request: web.Request) -> msgspec.Struct:
        """Set the reconnect budget of the whole cluster."""
        asked = await _body(request, BudgetRequest, _BUDGET_EXAMPLE)
        try:
            budget = await self._budget.change(asked.connections_per_second_per_node)
        except BackplaneError as error:
            logger.warning("the reconnect budget was not changed: %s", error)
            raise _Refused(503, f"this is not known to have worked, try again: {error}") from error
        return BudgetStatus.of(budget)

    def _answering(self, answer: _Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Make a handler of what answers a caller that knows the key."""

        async def handle(request: web.Request) -> web.Response:
            try:
                self._demand_key(request)
                value = await answer(request)
            except _Refused as refused:
                text = f"{refused}\n"
                return web.Response(status=refused.status, text=text, headers=refused.headers)
            body = msgspec.json.encode(value)
            return web.Response(body=body, content_type="application/json")

        return handle

    def _answer(self) -> DrainAnswer:
        return DrainAnswer(drain=self._drainer.status(), shed=self._drainer.shedding)

    def _demand_key(self, request: web.Request) -> None:
        if not self.key:
            raise _Refused(403, "admin.key is not set on this node: set it to use this")
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.key.is_given_by(given):
            refusal = "send the admin key: Authorization: Bearer <admin.key>"
            raise _Refused(401, refusal, {"WWW-Authenticate": "Bearer"})


_DRAIN_EXAMPLE: Final = (
    '{"phase": "drain", "window_s": 300}: phase is cordon, drain or abort; rate_per_s, window_s,'
    " deadline_s and reason may be left out"
)
_SHED_EXAMPLE: Final = '{"count": 100, "rate_per_s": 10}: rate_per_s may be left out'
_BUDGET_EXAMPLE: Final = '{"connections_per_second_per_node": 100}'


async def _body(request: web.Request, kind: type[_Body], example: str) -> _Body:
    body = await read_body(request, LONGEST_BODY)
    if body is None:
        raise _Refused(413, f"the body has more than {LONGEST_BODY} bytes: send {example}")
    try:
        return MessageDecoder(kind).decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _Refused(400, f"malformed request: {error}. Send JSON like {example}") from None


def _order(asked: DrainRequest) -> Order:
    return Order(
        is_to_empty=asked.phase == "drain",
        reason=asked.reason,
        rate_per_s=UNLIMITED if asked.rate_per_s is None else asked.rate_per_s,
        window_s=asked.window_s,
        deadline_s=asked.deadline_s,
    )
