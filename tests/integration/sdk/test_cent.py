"""The HTTP API's official client `cent`, blocking and asynchronous, works against our nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import cent
import pytest
import pytest_asyncio

from tests.integration.sdk.clients import PythonSdk, hears, of_kind
from tests.integration.sdk.conftest import API_KEY
from tests.support.conditions import eventually
from tests.support.tokens import token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.sdk.conftest import Pair

# `await api("publish", request)`, whichever of cent's clients makes the call.
Api = Callable[[str, Any], Awaitable[Any]]


@pytest_asyncio.fixture(params=["asynchronous", "blocking"])
async def api(request: pytest.FixtureRequest, pair: Pair) -> AsyncIterator[Api]:
    """Each of cent's clients, on node B, while the clients of these tests are on node A."""
    url = f"{pair.b.http_url}/api"
    if request.param == "asynchronous":
        async with cent.AsyncClient(url, api_key=API_KEY) as client:

            async def call(method: str, body: Any) -> Any:
                return await getattr(client, method)(body)

            yield call
    else:
        with cent.Client(url, api_key=API_KEY) as blocking:

            async def call(method: str, body: Any) -> Any:
                return await asyncio.to_thread(getattr(blocking, method), body)

            yield call


@pytest_asyncio.fixture
async def subscriber(pair: Pair, name: str) -> AsyncIterator[PythonSdk]:
    """A client on node A, subscribed to `chat:` and `room:` of this test."""
    client = PythonSdk()
    await client.connect(pair.a.websocket_url, token(sub=name))
    for namespace in ("chat", "room"):
        await client.subscribe(f"{namespace}:{name}")
    yield client
    await client.close()


async def test_publish_and_history(api: Api, subscriber: PythonSdk, name: str) -> None:
    """Publications get offsets, keep their tags, and are read back."""
    channel = f"chat:{name}"
    first = await api("publish", cent.PublishRequest(channel=channel, data={"n": 1}))
    tagged = cent.PublishRequest(channel=channel, data={"n": 2}, tags={"kind": "news"})
    second = await api("publish", tagged)
    assert (first.offset, second.offset) == (1, 2)
    assert first.epoch == second.epoch != ""
    page = await api("history", cent.HistoryRequest(channel=channel, limit=-1))
    assert [publication.data for publication in page.publications] == [{"n": 1}, {"n": 2}]
    assert page.publications[1].tags == {"kind": "news"}
    assert (page.offset, page.epoch) == (2, first.epoch)
    since = cent.StreamPosition(offset=1, epoch=first.epoch)
    later = await api("history", cent.HistoryRequest(channel=channel, limit=10, since=since))
    assert [publication.offset for publication in later.publications] == [2]
    await hears(subscriber, channel, [{"n": 1}, {"n": 2}])
    await api("history_remove", cent.HistoryRemoveRequest(channel=channel))
    removed = await api("history", cent.HistoryRequest(channel=channel, limit=-1))
    assert (removed.publications, removed.offset) == ([], 2)


async def test_the_same_idempotency_key_publishes_once(
    api: Api, subscriber: PythonSdk, name: str
) -> None:
    """A call that is repeated with its key, on whichever node, gets the first answer."""
    channel = f"chat:{name}"
    request = cent.PublishRequest(channel=channel, data="once", idempotency_key=name)
    offsets = [(await api("publish", request)).offset for _ in range(3)]
    assert offsets == [1, 1, 1]
    await api("publish", cent.PublishRequest(channel=channel, data="then"))
    await hears(subscriber, channel, ["once", "then"])


async def test_broadcast_publishes_into_each_channel(
    api: Api, subscriber: PythonSdk, name: str
) -> None:
    """One call, many channels, an answer for each."""
    channels = [f"chat:{name}", f"room:{name}", f"nowhere:{name}"]
    result = await api("broadcast", cent.BroadcastRequest(channels=channels, data="all"))
    assert result.responses[0].result.offset == 1
    assert result.responses[1].error is None
    assert result.responses[2].error.code == 102
    await hears(subscriber, channels[0], ["all"])
    await hears(subscriber, channels[1], ["all"])


async def test_a_batch_runs_in_order(api: Api, subscriber: PythonSdk, name: str) -> None:
    """Several calls in one request are answered one by one."""
    channel = f"chat:{name}"
    requests = [cent.PublishRequest(channel=channel, data=n) for n in range(3)]
    result = await api("batch", cent.BatchRequest(requests=requests))
    assert [reply.offset for reply in result.replies] == [1, 2, 3]
    await hears(subscriber, channel, [0, 1, 2])


async def test_presence_of_clients_on_another_node(
    api: Api, subscriber: PythonSdk, name: str
) -> None:
    """Node B tells who is subscribed on node A."""
    assert of_kind(subscriber, "connected")
    presence = await api("presence", cent.PresenceRequest(channel=f"room:{name}"))
    assert [info.user for info in presence.presence.values()] == [name]
    stats = await api("presence_stats", cent.PresenceStatsRequest(channel=f"room:{name}"))
    assert (stats.num_clients, stats.num_users) == (1, 1)


async def test_info_tells_of_every_node(api: Api, subscriber: PythonSdk) -> None:
    """Every node of the cluster is listed, with its clients."""
    assert of_kind(subscriber, "connected")
    nodes: list[cent.Node] = []

    async def counted() -> bool:
        nodes[:] = (await api("info", cent.InfoRequest())).nodes
        return len(nodes) >= 2 and sum(node.num_clients for node in nodes) >= 1

    for _ in range(200):
        if await counted():
            break
        await asyncio.sleep(0.05)
    assert len({node.uid for node in nodes}) >= 2
    assert sum(node.num_clients for node in nodes) >= 1
    assert all(node.version and node.name for node in nodes)


async def test_subscribe_unsubscribe_and_disconnect_reach_a_client_on_another_node(
    api: Api, subscriber: PythonSdk, name: str
) -> None:
    """What the backend decides about a user is done wherever the user is."""
    await api("subscribe", cent.SubscribeRequest(user=name, channel=f"closed:{name}"))
    await eventually(lambda: of_kind(subscriber, "subscribed", f"closed:{name}"))
    await api("unsubscribe", cent.UnsubscribeRequest(user=name, channel=f"chat:{name}"))
    await eventually(lambda: of_kind(subscriber, "unsubscribed", f"chat:{name}"))
    gone = cent.Disconnect(code=4501, reason="gone")
    await api("disconnect", cent.DisconnectRequest(user=name, disconnect=gone))
    await eventually(lambda: of_kind(subscriber, "disconnected"))
    assert of_kind(subscriber, "disconnected")[0]["code"] == 4501


async def test_errors_are_those_of_the_api(api: Api, name: str) -> None:
    """An unknown channel is an error with its code, not a broken answer."""
    with pytest.raises(cent.CentApiResponseError) as unknown:
        await api("publish", cent.PublishRequest(channel=f"nowhere:{name}", data=1))
    assert unknown.value.code == 102
    with pytest.raises(cent.CentApiResponseError) as unavailable:
        await api("history", cent.HistoryRequest(channel=name, limit=1))
    assert unavailable.value.code == 108


async def test_a_wrong_key_is_refused(pair: Pair) -> None:
    """Without the key nothing is done."""
    async with cent.AsyncClient(f"{pair.a.http_url}/api", api_key="wrong") as client:
        with pytest.raises(cent.CentUnauthorizedError):
            await client.info(cent.InfoRequest())
