"""The admin API over aiohttp's test client: who may call it, what it takes, what it answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from realtime_node.admission.door import Door
from realtime_node.cluster.allowance import Budget, Lease, Traffic
from realtime_node.drain.drainer import Drainer
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.server.admin_api import LONGEST_BODY, AdminApi
from realtime_node.telemetry.metrics import Metrics
from tests.support.draining import refusal
from tests.support.fakes import FakeClock

KEY = "the admin key"


class OneClient:
    """A node with one client that never goes."""

    num_open = 1

    def list_open(self) -> list[Any]:
        """Whom a drain may not find."""
        return []


class FakeBudget:
    """A budget that is nobody else's."""

    def __init__(self) -> None:
        self.budget = Budget(100.0, accepting=3, live=4)
        self.is_away = False

    def observe(self, traffic: Any) -> None:
        """Nobody asks."""
        assert isinstance(traffic(), Traffic)

    def known(self) -> Budget:
        """What was set last."""
        return self.budget

    async def lease(self, wanted: int) -> Lease:
        """Nothing."""
        return Lease(0, retry_after_s=wanted)

    async def change(self, per_node: float) -> Budget:
        """Set it."""
        if self.is_away:
            raise BackplaneUnavailableError("Redis is away")
        self.budget = self.budget._replace(per_node=per_node, version=self.budget.version + 1)
        return self.budget


class Api:
    """The API as an operator calls it."""

    def __init__(self, key: str = KEY) -> None:
        self.clock = FakeClock()
        self.door = Door(self.clock, lambda: 0.0)
        self.budget = FakeBudget()
        self.drainer = Drainer(
            OneClient(),
            self.door,
            self.budget,
            Metrics().drain,
            propagation_s=10,
            monotonic=self.clock,
            random=lambda: 0.0,
        )
        app = web.Application()
        app.add_routes(AdminApi(self.drainer, self.budget, key=key).routes())
        self.client: TestClient[Any, Any] = TestClient(TestServer(app))

    async def __aenter__(self) -> Self:
        """Listen."""
        await self.client.start_server()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Listen no more."""
        await self.client.close()

    async def raw(
        self, path: str, body: str = "{}", *, verb: str = "POST", authorization: str | None = None
    ) -> tuple[int, str]:
        """Status and text of any request."""
        authorization = f"Bearer {KEY}" if authorization is None else authorization
        async with self.client.request(
            verb, path, data=body, headers={"Authorization": authorization}
        ) as response:
            return response.status, await response.text()

    async def post(self, path: str, **body: Any) -> Any:
        """What a request that is taken answers."""
        status, text = await self.raw(path, json.dumps(body))
        assert status == 200, text
        return json.loads(text)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """An API with a key."""
    async with Api() as api:
        yield api


# --- who may call -----------------------------------------------------------------------------

CALLS = [("POST", "/drain"), ("POST", "/shed"), ("POST", "/budget"), ("GET", "/budget")]


@pytest.mark.parametrize(("verb", "path"), CALLS)
@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer wrong", f"Basic {KEY}", KEY, "Bearer \udce9"]
)
async def test_a_caller_without_the_key_is_refused(
    api: Api, verb: str, path: str, authorization: str
) -> None:
    """With 401 and what to send; nothing is done."""
    status, text = await api.raw(path, verb=verb, authorization=authorization)
    assert (status, text) == (401, "send the admin key: Authorization: Bearer <admin.key>\n")
    assert api.drainer.status().phase == "serving"


@pytest.mark.parametrize(("verb", "path"), CALLS)
async def test_without_a_key_nobody_is_let_in(verb: str, path: str) -> None:
    """An empty key is no key, and says what to set."""
    async with Api(key="") as api:
        for authorization in ("Bearer ", f"Bearer {KEY}", ""):
            status, text = await api.raw(path, verb=verb, authorization=authorization)
            assert status == 403
            assert "admin.key is not set" in text


# --- what it takes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "problem"),
    [
        ("/drain", "", "Send JSON like"),
        ("/drain", "[]", "Expected `object`"),
        ("/drain", "{}", "missing required field `phase`"),
        ("/drain", '{"phase": "stop"}', "Invalid enum value 'stop'"),
        ("/drain", '{"phase": "drain", "rate": 3}', "unknown field `rate`"),
        ("/drain", '{"phase": "drain", "rate_per_s": 0}', "> 0.0"),
        ("/drain", '{"phase": "drain", "rate_per_s": "3"}', "Expected `float | null`"),
        ("/drain", '{"phase": "drain", "window_s": -1}', ">= 0.0"),
        ("/drain", '{"phase": "drain", "reason": "a\\nb"}', "regex"),
        ("/drain", '{"phase": "drain", "window_s": 1e999}', "malformed request"),
        ("/drain", '{"phase": "\ud800"}', "malformed request"),
        ("/shed", "{}", "missing required field `count`"),
        ("/shed", '{"count": 1.5}', "Expected `int`"),
        ("/shed", '{"count": -1}', ">= 0"),
        ("/budget", '{"connections_per_second_per_node": 0}', ">= 1"),
        ("/budget", '{"per_node": 5}', "unknown field `per_node`"),
    ],
)
async def test_a_wrong_body_is_told_what_is_wrong(
    api: Api, path: str, body: str, problem: str
) -> None:
    """With 400, the field, and an example of what is right; nothing is done."""
    status, text = await api.raw(path, body.encode("utf-8", "surrogatepass").decode("latin-1"))
    assert status == 400
    assert problem in text
    assert 'Send JSON like {"' in text
    assert api.drainer.status().phase == "serving"
    assert api.budget.budget.version == 0


async def test_a_large_body_is_refused(api: Api) -> None:
    """Nobody needs so many bytes for a few numbers."""
    status, _ = await api.raw("/drain", '{"phase": "drain"}' + " " * LONGEST_BODY)
    assert status == 413


# --- what it does -----------------------------------------------------------------------------


async def test_a_drain_is_asked_for_and_taken_back(api: Api) -> None:
    """The answer is what /status shows; repeated, it changes nothing."""
    asked = {"phase": "drain", "rate_per_s": 5, "deadline_s": 60, "reason": "rollout"}
    first = (await api.post("/drain", **asked))["drain"]
    assert (first["phase"], first["reason"], first["remaining"]) == ("cordoned", "rollout", 1)
    assert (first["deadline_in_s"], first["eta_s"]) == (60, None)
    api.clock.advance(20)
    again = (await api.post("/drain", **asked))["drain"]
    assert again == {**first, "deadline_in_s": 40}
    assert refusal(api.door) == "rollout"
    assert (await api.post("/drain", phase="abort"))["drain"]["phase"] == "serving"
    assert (await api.post("/drain", phase="abort"))["drain"]["phase"] == "serving"
    assert refusal(api.door) == ""


async def test_a_cordon_says_why_even_if_nobody_did(api: Api) -> None:
    """Clients that are refused get a reason in any case."""
    await api.post("/drain", phase="cordon")
    assert refusal(api.door) == "this node is being drained"


async def test_a_process_that_ends_refuses_an_abort(api: Api) -> None:
    """With 409, since it cannot be stopped from ending."""
    api.drainer.end(30)
    assert (await api.raw("/drain", '{"phase": "abort"}'))[0] == 409


async def test_a_shed_is_asked_for_and_ended(api: Api) -> None:
    """And refused while the node is to be empty anyway."""
    shed = {"count": 10, "remaining": 10, "rate_per_s": 2}
    assert (await api.post("/shed", count=10, rate_per_s=2))["shed"] == shed
    assert (await api.post("/shed", count=10, rate_per_s=2))["shed"] == shed
    assert (await api.post("/shed", count=10))["shed"]["rate_per_s"] is None
    assert (await api.post("/shed", count=0))["shed"] is None
    await api.post("/drain", phase="cordon")
    status, text = await api.raw("/shed", '{"count": 5}')
    assert (status, "abort" in text) == (409, True)


async def test_the_budget_is_read_and_changed(api: Api) -> None:
    """Both answer with what counts now."""
    status, text = await api.raw("/budget", verb="GET")
    assert (status, json.loads(text)["total_per_s"]) == (200, 300)
    changed = await api.post("/budget", connections_per_second_per_node=20)
    assert (changed["total_per_s"], changed["version"]) == (60, 1)


async def test_a_budget_that_cannot_be_kept_is_refused(api: Api) -> None:
    """With 503: it is not known whether it was changed."""
    api.budget.is_away = True
    status, text = await api.raw("/budget", '{"connections_per_second_per_node": 20}')
    assert (status, "try again: Redis is away" in text) == (503, True)
