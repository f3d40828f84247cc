"""Two nodes on one Redis, the clients of either SDK, and the HTTP API's official client."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

import cent
import pytest
import pytest_asyncio

from tests.integration.sdk.clients import JavaScriptSdk, PythonSdk, SdkClient
from tests.support.node_process import NodeProcess
from tests.support.redis_server import RedisServer
from tests.support.tokens import SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

API_KEY = "sdk-tests"

_ALL = {
    f"allow_{what}_for_client": True for what in ("subscribe", "publish", "history", "presence")
}
_HISTORY = {"history_size": 100, "history_ttl": "300s", "force_recovery": True}
_SETTINGS = {
    "http_api": {"key": API_KEY},
    "client": {"token": {"hmac_secret_key": SECRET}, "session": {"enabled": True}},
    "log": {"level": "warn"},
    "channel": {
        "without_namespace": _ALL,
        "namespaces": [
            {"name": "chat", **_ALL, **_HISTORY},
            {"name": "short", **_ALL, **_HISTORY, "history_size": 3},
            {
                "name": "room",
                **_ALL,
                "presence": True,
                "join_leave": True,
                "force_push_join_leave": True,
            },
            {
                "name": "stay",
                **_ALL,
                **_HISTORY,
                "presence": True,
                "presence_grace": "20s",
                "join_leave": True,
                "force_push_join_leave": True,
            },
            {"name": "closed"},
        ],
    },
}


class Pair(NamedTuple):
    """Two nodes of one cluster."""

    a: NodeProcess
    b: NodeProcess


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """One Redis for every test of the SDKs."""
    with RedisServer() as server:
        yield server


def _node(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory, name: str) -> NodeProcess:
    engine = {"type": "redis", "redis": {"address": redis.url, "prefix": "sdk"}}
    return NodeProcess({**_SETTINGS, "engine": engine}, tmp_path_factory.mktemp(name), name=name)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pair(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """The two nodes that most tests share; channels and users keep them apart."""
    async with _node(redis, tmp_path_factory, "a") as a, _node(redis, tmp_path_factory, "b") as b:
        yield Pair(a, b)


@pytest_asyncio.fixture
async def mortal(
    redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[NodeProcess]:
    """A third node of the cluster, for a test to kill."""
    async with _node(redis, tmp_path_factory, "mortal") as node:
        yield node


@pytest_asyncio.fixture(params=["javascript", "python"])
async def new_client(
    request: pytest.FixtureRequest,
) -> AsyncIterator[Callable[[], Awaitable[SdkClient]]]:
    """Make clients of each SDK in turn; they are closed at the end."""
    async with AsyncExitStack() as stack:

        async def make() -> SdkClient:
            client: SdkClient = (
                await JavaScriptSdk.start() if request.param == "javascript" else PythonSdk()
            )
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest_asyncio.fixture
async def backend(pair: Pair) -> AsyncIterator[cent.AsyncClient]:
    """The official HTTP API client of a team's backend, which knows node B only."""
    client = cent.AsyncClient(f"{pair.b.http_url}/api", api_key=API_KEY)
    yield client
    await client.close()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name for channels and users that no other test has."""
    name: str = request.node.name
    return name.removeprefix("test_").translate(str.maketrans("[]#,", "----"))
