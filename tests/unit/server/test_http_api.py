"""The HTTP API over aiohttp's test client, on fakes of the cluster."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from msgspec import Raw
from pydantic import SecretStr

from realtime_node.cluster.backplane import (
    Control,
    DisconnectUser,
    NodeInfo,
    SubscribeUser,
    UnsubscribeUser,
)
from realtime_node.cluster.in_memory.cluster import InMemoryCluster
from realtime_node.cluster.in_memory.verdicts import InMemoryVerdicts
from realtime_node.cluster.session_store import Claimed, KeptGrant, Owner, SessionState, Verdict
from realtime_node.config import MAX_BODY_SIZE, ChannelSettings, ClientSettings
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.protocol.messages import ClientInfo, StreamPosition
from realtime_node.server.api_batch import batch
from realtime_node.server.api_cluster import Cluster
from realtime_node.server.api_messages import (
    BatchCommand,
    BatchReply,
    BatchRequest,
    BroadcastRequest,
    HistoryRequest,
    PublishRequest,
)
from realtime_node.server.api_methods import CONCURRENCY, METHODS, broadcast
from realtime_node.server.http_api import HttpApi
from realtime_node.server.shared_key import SharedKey
from realtime_node.session.channels import ChannelRules
from realtime_node.telemetry.metrics import Metrics
from tests.support.fakes import FakeBackplane, FakeClock, FakePresence, FakeSessions, settle

KEY = "the key"
CHANNELS = {
    "without_namespace": {},
    "namespaces": [
        {"name": "kept", "history_size": 10, "history_ttl": "60s"},
        {"name": "seen", "presence": True},
    ],
}


class Api:
    """The API as a backend calls it."""

    def __init__(
        self,
        *,
        key: str = KEY,
        insecure: bool = False,
        client: dict[str, Any] | None = None,
        max_body_bytes: int = MAX_BODY_SIZE,
        history_limit: int = 10_000,
    ) -> None:
        self.backplane = FakeBackplane()
        self.presence = FakePresence()
        self.metrics = Metrics()
        rules = ChannelRules(ChannelSettings.model_validate(CHANNELS))
        self.clock = FakeClock()
        self.sessions = FakeSessions(InMemoryCluster(clock=self.clock), "node-1", self.clock)
        self.verdicts = InMemoryVerdicts()
        settings = ClientSettings.model_validate(client or {})
        self.cluster = Cluster(
            rules,
            self.backplane,
            self.presence,
            self.verdicts,
            self.sessions,
            settings,
            history_limit=history_limit,
        )
        self.http = HttpApi(
            self.cluster,
            self.metrics.api,
            key=SharedKey(SecretStr(key)),
            insecure=insecure,
            max_body_bytes=max_body_bytes,
        )
        app = web.Application()
        app.add_routes(self.http.routes())
        self.client: TestClient[Any, Any] = TestClient(TestServer(app))

    async def __aenter__(self) -> Self:
        """Listen."""
        await self.client.start_server()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Listen no more."""
        await self.client.close()

    async def raw(
        self,
        method: str,
        body: bytes | str = b"{}",
        *,
        headers: dict[str, str] | None = None,
        verb: str = "POST",
    ) -> tuple[int, str]:
        """Status and text of any request."""
        headers = {"X-API-Key": KEY} if headers is None else headers
        async with self.client.request(
            verb, f"/api/{method}", data=body, headers=headers
        ) as response:
            return response.status, await response.text()

    async def call(self, method: str, **arguments: Any) -> Any:
        """What a call that was understood answers."""
        status, answer = await self.raw(method, json.dumps(arguments))
        assert status == 200, answer
        return json.loads(answer)

    async def result(self, method: str, **arguments: Any) -> Any:
        """The result of a call that succeeds."""
        answer = await self.call(method, **arguments)
        assert answer.keys() == {"result"}, answer
        return answer["result"]

    async def error(self, method: str, **arguments: Any) -> int:
        """The code of a call that fails."""
        answer = await self.call(method, **arguments)
        assert answer.keys() == {"error"}, answer
        assert answer["error"].keys() == {"code", "message"}
        code: int = answer["error"]["code"]
        return code

    def published(self) -> list[tuple[str, bytes]]:
        """Channels and data of all publications, in order."""
        return [(channel, bytes(each.data)) for channel, each in self.backplane.published]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """An API with a key."""
    async with Api() as api:
        yield api


# --- who may call, and what is no call --------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-API-Key": KEY}, 200),
        ({"X-API-Key": f" {KEY} "}, 200),
        ({"Authorization": f"apikey {KEY}"}, 200),
        ({"Authorization": f"ApiKey  {KEY}"}, 200),
        ({}, 401),
        ({"X-API-Key": ""}, 401),
        ({"X-API-Key": "wrong"}, 401),
        ({"X-API-Key": "ключ"}, 401),
        ({"Authorization": KEY}, 401),
        ({"Authorization": f"Bearer {KEY}"}, 401),
        ({"Authorization": "apikey"}, 401),
        ({"X-API-Key": "wrong", "Authorization": f"apikey {KEY}"}, 401),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("method", ["info", "batch"])
async def test_key_is_asked_for(
    api: Api, method: str, headers: dict[str, str], status: int
) -> None:
    """The key comes in one of two headers; without it nothing is done, batch or not."""
    assert (await api.raw(method, headers=headers))[0] == status


async def test_key_of_any_bytes_is_refused(api: Api) -> None:
    """Header bytes that are no UTF-8 fit no key, and break nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.client.port)
    request = b"POST /api/info HTTP/1.1\r\nHost: node\r\nX-API-Key: \xff\r\nContent-Length: 0"
    writer.write(request + b"\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"
    writer.close()
    await writer.wait_closed()


async def test_node_without_a_key_refuses_everybody() -> None:
    """No key set means no key fits, not even the empty one."""
    async with Api(key="") as api:
        assert (await api.raw("info", headers={"X-API-Key": ""}))[0] == 401
        assert (await api.raw("info", headers={"Authorization": "apikey "}))[0] == 401


async def test_insecure_node_asks_for_no_key() -> None:
    """Where it is set so, everybody may call."""
    async with Api(key="", insecure=True) as api:
        assert (await api.raw("info", headers={}))[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        "null",
        '{"channel": 1}',
        '{"channel": "a", "data": }',
        '{"channel": "a", "data": 1,}',
        '{"channel": "a", "data": 1, "tags": {"a": 1}}',
        '{"channel": "a", "data": 1, "idempotency_key": "' + "x" * 256 + '"}',
        '{"channel": "\xff", "data": 1}'.encode("latin-1"),
        '{"x": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
    ids=lambda body: repr(body[:30] + body[-5:]),
)
async def test_broken_body_is_a_bad_request(api: Api, body: str | bytes) -> None:
    """A body that is no request of this method is status 400, with the reason."""
    status, reason = await api.raw("publish", body)
    assert (status, reason.startswith("malformed request: ")) == (400, True)
    status, reason = await api.raw("batch", b'{"commands": [{"publish": %b}]}' % as_bytes(body))
    assert (status, reason.startswith("malformed request: ")) == (400, True) or body == "null"
    assert api.published() == []


def as_bytes(body: str | bytes) -> bytes:
    """A body on the wire."""
    return body.encode() if isinstance(body, str) else body


async def test_other_verbs_and_methods_are_not_there(api: Api) -> None:
    """An unknown method is 404, any verb but POST 405."""
    assert (await api.raw("nothing"))[0] == 404
    assert (await api.raw("publish", b"", verb="GET"))[0] == 405
    assert (await api.raw("batch", b"", verb="GET"))[0] == 405


async def test_empty_body_is_an_empty_request(api: Api) -> None:
    """A call without parameters needs no body."""
    assert (await api.raw("info", b""))[0] == 200


async def test_calls_are_counted(api: Api) -> None:
    """Every call that was understood is counted by its method and error."""
    await api.call("publish", channel="a", data=1)
    await api.call("publish", channel="unknown:a", data=1)
    await api.call("batch", commands=[])
    exposed = api.metrics.expose().decode()
    for labels in (
        'error="0",method="publish"',
        'error="102",method="publish"',
        'error="0",method="batch"',
    ):
        assert f"realtime_api_requests_total{{{labels}}} 1.0" in exposed


# --- publish ----------------------------------------------------------------------------------


async def test_publish_tells_the_place_in_the_stream(api: Api) -> None:
    """With history a publication has an offset and an epoch, without it has neither."""
    assert await api.result("publish", channel="kept:a", data={"x": 1}) == {
        "offset": 1,
        "epoch": "e1",
    }
    assert await api.result("publish", channel="a", data=None) == {}
    assert api.published() == [("kept:a", b'{"x": 1}'), ("a", b"null")]


async def test_publish_can_skip_the_history(api: Api) -> None:
    """`skip_history` delivers without a place in the stream."""
    assert await api.result("publish", channel="kept:a", data=1, skip_history=True) == {}
    assert (await api.result("history", channel="kept:a"))["offset"] == 0


async def test_publish_carries_tags(api: Api) -> None:
    """Tags travel with the publication, and no publication has empty ones."""
    await api.result("publish", channel="a", data=1, tags={"k": "v"})
    await api.result("publish", channel="a", data=1, tags={})
    assert [each.tags for _, each in api.backplane.published] == [{"k": "v"}, None]


async def test_same_idempotency_key_publishes_once(api: Api) -> None:
    """A repeated call answers the first result."""
    for _ in range(2):
        result = await api.result("publish", channel="kept:a", data=1, idempotency_key="k")
        assert result["offset"] == 1
    assert len(api.published()) == 1


async def test_data_may_come_in_base64(api: Api) -> None:
    """`b64data` is decoded, and goes before `data`."""
    encoded = base64.b64encode(b'{"x": [1]}').decode()
    await api.result("publish", channel="a", b64data=encoded, data=2)
    assert api.published() == [("a", b'{"x": [1]}')]


async def test_data_becomes_one_line(api: Api) -> None:
    """JSON of several lines would break the frames it is copied into."""
    await api.raw("publish", b'{"channel": "a", "data": {\n "x":\r\n 1 }}')
    encoded = base64.b64encode(b"[\n1]").decode()
    await api.result("publish", channel="a", b64data=encoded)
    assert api.published() == [("a", b'{"x":1}'), ("a", b"[1]")]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"channel": "a"}, 107),
        ({"data": 1}, 107),
        ({"channel": "x" * 256, "data": 1}, 107),
        ({"channel": "unknown:a", "data": 1}, 102),
        ({"channel": "a", "b64data": "no base64!"}, 107),
        ({"channel": "a", "b64data": base64.b64encode(b"no JSON").decode()}, 107),
        ({"channel": "a", "b64data": base64.b64encode(b'"\xff"').decode()}, 107),
        ({"channel": "a", "b64data": base64.b64encode(b"[" * 5000).decode()}, 107),
    ],
    ids=lambda case: str(case)[:40],
)
async def test_publish_is_refused_with_its_error(
    api: Api, arguments: dict[str, Any], code: int
) -> None:
    """What cannot be published is an error of the call, and nothing is published."""
    assert await api.error("publish", **arguments) == code
    assert api.published() == []


async def test_data_that_is_not_utf8_is_refused(api: Api) -> None:
    """Bytes that no browser could read never reach one."""
    status, answer = await api.raw("publish", b'{"channel": "a", "data": "\xff"}')
    assert (status, json.loads(answer)["error"]["code"]) == (200, 107)


async def test_outage_is_an_internal_error_without_details(api: Api) -> None:
    """A store that does not answer is error 100; what it said stays in the log."""
    api.backplane.failing["publish"] = BackplaneUnavailableError("redis://secret")
    answer = await api.call("publish", channel="a", data=1)
    assert answer == {"error": {"code": 100, "message": "internal server error"}}


async def test_broadcast_answers_per_channel_in_order(api: Api) -> None:
    """Each channel has its own result or error."""
    result = await api.result("broadcast", channels=["kept:a", "unknown:a", "b", ""], data=1)
    assert [each.get("error", {}).get("code") for each in result["responses"]] == [
        None,
        102,
        None,
        107,
    ]
    assert result["responses"][0]["result"] == {"offset": 1, "epoch": "e1"}
    assert result["responses"][2] == {"result": {}}
    assert api.published() == [("kept:a", b"1"), ("b", b"1")]


async def test_broadcast_needs_channels_and_data(api: Api) -> None:
    """Without either the whole call is refused."""
    assert await api.error("broadcast", channels=[], data=1) == 107
    assert await api.error("broadcast", channels=["a"]) == 107


async def test_broadcast_is_sent_in_bounded_parts(api: Api) -> None:
    """A broadcast to thousands does not put them all on their way at once."""
    channels = [str(number) for number in range(CONCURRENCY + 10)]
    request = BroadcastRequest(channels=channels, data=Raw(b"1"))
    with api.backplane.hold("publish"):
        call = asyncio.create_task(broadcast(api.cluster, request))
        await settle()
        assert len(api.published()) == CONCURRENCY
    assert len((await call).responses) == len(channels)
    assert [channel for channel, _ in api.published()] == channels


# --- streams and presence ---------------------------------------------------------------------


async def test_history_is_always_complete(api: Api) -> None:
    """Publications, offset and epoch are there even when they are empty."""
    empty = {"publications": [], "offset": 0, "epoch": "e1"}
    assert await api.result("history", channel="kept:a", limit=-1) == empty
    for number in (1, 2, 3):
        await api.result("publish", channel="kept:a", data=number)
    position = {"publications": [], "offset": 3, "epoch": "e1"}
    assert await api.result("history", channel="kept:a") == position
    page = await api.result(
        "history", channel="kept:a", limit=10, since={"offset": 1, "epoch": "e1"}
    )
    assert page["publications"] == [{"data": 2, "offset": 2}, {"data": 3, "offset": 3}]


@pytest.mark.parametrize("limit", [-1, 5])
async def test_history_returns_no_more_than_one_call_may(limit: int) -> None:
    """The caller sees by the offset that there is more, and reads on."""
    async with Api(history_limit=2) as api:
        for number in (1, 2, 3):
            await api.result("publish", channel="kept:a", data=number)
        page = await api.result("history", channel="kept:a", limit=limit)
        assert [each["offset"] for each in page["publications"]] == [1, 2]
        assert page["offset"] == 3
        since = {"offset": 2, "epoch": "e1"}
        page = await api.result("history", channel="kept:a", limit=limit, since=since)
        assert [each["offset"] for each in page["publications"]] == [3]


async def test_a_body_is_no_larger_than_the_settings_say() -> None:
    """It is refused unread, with the limit, and the next call is answered."""
    async with Api(max_body_bytes=1_024) as api:
        for method in ("publish", "batch"):
            body = b'{"channel": "a", "data": "' + b"x" * 2_000 + b'"}'
            status, text = await api.raw(method, body)
            assert status == 413
            assert "1024 bytes" in text
        await api.result("publish", channel="a", data=1)


@pytest.mark.parametrize(
    ("method", "arguments", "code"),
    [
        ("history", {"channel": "a"}, 108),
        ("history", {"channel": "unknown:a"}, 102),
        ("history", {"channel": ""}, 107),
        ("history", {"channel": "kept:a", "since": {"offset": 1, "epoch": "x"}}, 112),
        ("history_remove", {"channel": "a"}, 108),
        ("presence", {"channel": "a"}, 108),
        ("presence_stats", {"channel": "a"}, 108),
        ("presence", {"channel": "unknown:a"}, 102),
        ("subscribe", {"user": "ann", "channel": "unknown:a"}, 102),
        ("subscribe", {"user": "ann"}, 107),
        ("subscribe", {"user": "ann", "channel": "a", "b64info": "!"}, 107),
        ("unsubscribe", {"user": "ann", "channel": "unknown:a"}, 102),
    ],
    ids=lambda case: str(case)[:60],
)
async def test_what_cannot_be_done_is_an_error(
    api: Api, method: str, arguments: dict[str, Any], code: int
) -> None:
    """Each refusal has its code, in a response of status 200."""
    assert await api.error(method, **arguments) == code
    assert api.backplane.controls == []


async def test_limit_that_no_store_knows_is_a_bad_request(api: Api) -> None:
    """A limit has 32 bits; a larger one never reaches the store."""
    assert (await api.raw("history", '{"channel": "kept:a", "limit": 1%s}' % ("0" * 30)))[0] == 400


async def test_history_is_removed(api: Api) -> None:
    """The store is asked to forget the channel."""
    assert await api.result("history_remove", channel="kept:a") == {}
    assert api.backplane.calls == [("remove_history", "kept:a")]


async def test_presence_lists_and_counts(api: Api) -> None:
    """Clients by id with their empty values written out, and the numbers of both kinds."""
    assert await api.result("presence", channel="seen:a") == {"presence": {}}
    assert await api.result("presence_stats", channel="seen:a") == {
        "num_clients": 0,
        "num_users": 0,
    }
    for client in ("c1", "c2"):
        await api.presence.add("seen:a", ClientInfo(client=client, chan_info=Raw(b"[1]")))
    listed = (await api.result("presence", channel="seen:a"))["presence"]
    assert listed["c1"] == {"user": "", "client": "c1", "chan_info": [1]}
    stats = await api.result("presence_stats", channel="seen:a")
    assert stats == {"num_clients": 2, "num_users": 1}


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("publish", '{"channel":"kept:a","data":1,"b64data":null,"tags":null,"skip_history":null}'),
        ("broadcast", '{"channels":["kept:a"],"data":1,"idempotency_key":null}'),
        ("subscribe", '{"user":"ann","channel":"kept:a","info":null,"b64info":null,"data":null}'),
        ("unsubscribe", '{"user":"ann","channel":null,"client":null,"session":null}'),
        ("disconnect", '{"user":"ann","whitelist":null,"disconnect":{"code":3000,"reason":null}}'),
        ("history", '{"channel":"kept:a","limit":null,"since":null,"reverse":null}'),
        (
            "batch",
            '{"commands":[{"publish":{"channel":"a","data":1,"tags":null}}],"parallel":null}',
        ),
        ("publish", '{"channel":"kept:a","data":{"text":"Ann \\ud83d"},"tags":{"a":"\\ud83d"}}'),
        ("disconnect", '{"user":"Ann \\ud83d"}'),
    ],
)
async def test_what_serializers_of_other_languages_write_is_taken(
    api: Api, method: str, body: str
) -> None:
    """`null` for what was not set, and a text that was cut within an emoji."""
    status, text = await api.raw(method, body)
    assert (status, "error" in json.loads(text)) == (200, False), text


async def test_null_is_no_info_of_a_subscription(api: Api) -> None:
    """Others would be shown it."""
    await api.raw("subscribe", '{"user":"ann","channel":"kept:a","info":null,"data":null}')
    (wish,) = api.backplane.controls
    assert isinstance(wish, SubscribeUser)
    assert (wish.chan_info, wish.data) == (None, None)


async def test_info_lists_the_nodes(api: Api) -> None:
    """Every node with its numbers."""
    api.backplane.infos = [NodeInfo(uid="u", name="n", version="v", num_clients=3)]
    (node,) = (await api.result("info"))["nodes"]
    assert node == {
        "uid": "u",
        "name": "n",
        "version": "v",
        "num_clients": 3,
        "num_users": 0,
        "num_subs": 0,
        "num_channels": 0,
        "uptime": 0,
        "ready": True,
    }


# --- actions on clients -----------------------------------------------------------------------


async def test_subscribe_goes_to_all_nodes(api: Api) -> None:
    """What was asked is handed to the cluster, its JSON cleaned."""
    result = await api.result(
        "subscribe",
        user="ann",
        channel="a",
        client="c",
        info={"a": 1},
        b64data=base64.b64encode(b"[\n2]").decode(),
        recover_since={"offset": 3, "epoch": "e"},
    )
    assert result == {}
    assert api.backplane.controls == [
        SubscribeUser(
            user="ann",
            channel="a",
            client="c",
            chan_info=b'{"a": 1}',
            data=b"[2]",
            recover_since=StreamPosition(offset=3, epoch="e"),
        )
    ]


async def test_unsubscribe_goes_to_all_nodes(api: Api) -> None:
    """One channel, or all of them."""
    assert await api.result("unsubscribe", user="ann", channel="a", client="c") == {}
    assert await api.result("unsubscribe", user="ann") == {}
    assert api.backplane.controls == [
        UnsubscribeUser(user="ann", channel="a", client="c"),
        UnsubscribeUser(user="ann", channel=""),
    ]


async def test_disconnect_goes_to_all_nodes(api: Api) -> None:
    """With its code, reason and whitelist; by default for good."""
    assert await api.result("disconnect", user="ann", whitelist=["c"]) == {}
    assert (
        await api.result("disconnect", user="ann", disconnect={"code": 4000, "reason": "r"}) == {}
    )
    assert api.backplane.controls == [
        DisconnectUser(user="ann", whitelist=("c",), code=3503, reason="force disconnect"),
        DisconnectUser(user="ann", code=4000, reason="r"),
    ]


@pytest.mark.parametrize("method", ["disconnect", "unsubscribe"])
async def test_what_the_team_said_of_a_user_is_dropped_first(api: Api, method: str) -> None:
    """Before any node hears of it, so nobody comes back by what was said; no other user's is."""
    for user in ("ann", "bob"):
        await api.verdicts.keep(user.encode(), b"yes", user=user, stamp=0, ttl_ms=60_000)
    seen: list[bytes | None] = []
    control = api.backplane.control

    async def look_first(message: Control) -> None:
        seen.append((await api.verdicts.find(b"ann")).verdict)
        await control(message)

    api.backplane.control = look_first  # type: ignore[method-assign]
    assert await api.result(method, user="ann") == {}
    assert seen == [None]
    assert (await api.verdicts.find(b"bob")).verdict == b"yes"


async def test_nobody_is_disconnected_when_the_drop_fails(api: Api) -> None:
    """A store that does not answer is an error, and the caller tries again."""

    async def fail(user: str) -> None:
        raise BackplaneUnavailableError(f"no answer about {user}")

    api.verdicts.revoke = fail  # type: ignore[method-assign]
    assert await api.error("disconnect", user="ann") == 100
    assert api.backplane.controls == []


@pytest.mark.parametrize(
    "disconnect", [{"code": 2999}, {"code": 5000}, {"code": "3000"}, {"reason": "r"}], ids=str
)
async def test_close_code_has_to_be_one(api: Api, disconnect: dict[str, Any]) -> None:
    """A code that no WebSocket may send is refused before any node tries."""
    body = json.dumps({"user": "ann", "disconnect": disconnect})
    assert (await api.raw("disconnect", body))[0] == 400


async def test_reason_has_to_fit_a_close_frame(api: Api) -> None:
    """123 bytes fit, in any script; more are refused before any node tries."""
    fits = {"code": 4000, "reason": "é" * 61 + "x"}
    assert await api.result("disconnect", user="ann", disconnect=fits) == {}
    too_long = {"code": 4000, "reason": "é" * 62}
    assert await api.error("disconnect", user="ann", disconnect=too_long) == 107
    assert len(api.backplane.controls) == 1


# --- batch ------------------------------------------------------------------------------------


async def test_batch_answers_without_an_envelope_in_order(api: Api) -> None:
    """Each reply carries its method's name, or an error; there is no `result` around them."""
    api.backplane.infos = []
    answer = await api.call(
        "batch",
        commands=[
            {"publish": {"channel": "kept:a", "data": 1}},
            {"publish": {"channel": "unknown:a", "data": 1}},
            {"history": {"channel": "kept:a"}},
            {"presence_stats": {"channel": "seen:a"}},
            {"info": {}},
            {"disconnect": {"user": "ann"}},
            {},
            {"publish": {"channel": "a", "data": 1}, "info": {}},
        ],
    )
    assert answer == {
        "replies": [
            {"publish": {"offset": 1, "epoch": "e1"}},
            {"error": {"code": 102, "message": "unknown channel"}},
            {"history": {"publications": [], "offset": 1, "epoch": "e1"}},
            {"presence_stats": {"num_clients": 0, "num_users": 0}},
            {"info": {"nodes": []}},
            {"disconnect": {}},
            {"error": {"code": 104, "message": "method not found"}},
            {"error": {"code": 104, "message": "method not found"}},
        ]
    }


def test_every_method_can_be_batched() -> None:
    """Whatever can be called alone has its field in a command and in a reply."""
    assert set(METHODS) == set(BatchCommand.__struct_fields__)
    assert set(METHODS) | {"error"} == set(BatchReply.__struct_fields__)


@pytest.mark.parametrize("parallel", [False, True])
async def test_batch_groups_publications(api: Api, parallel: bool) -> None:
    """A run of publications is on its way together; another command waits, unless `parallel`."""
    publishes = [
        BatchCommand(publish=PublishRequest(channel="a", data=Raw(b"%d" % number)))
        for number in range(4)
    ]
    history = BatchCommand(history=HistoryRequest(channel="kept:a"))
    request = BatchRequest(commands=[*publishes[:3], history, publishes[3]], parallel=parallel)
    everything = ["publish", "publish", "publish", "history", "publish"]
    with api.backplane.hold("publish"):
        call = asyncio.create_task(batch(api.cluster, request))
        await settle()
        started = [each for each, _ in api.backplane.calls]
    assert started == (everything if parallel else everything[:3])
    replies = (await call).replies
    assert [reply.history is not None for reply in replies] == [False, False, False, True, False]
    assert [each for each, _ in api.backplane.calls] == everything
    assert [data for _, data in api.published()] == [b"0", b"1", b"2", b"3"]


async def test_batch_keeps_a_bounded_number_on_its_way(api: Api) -> None:
    """A batch of thousands is sent in parts, in order, `parallel` or not."""
    command = BatchCommand(publish=PublishRequest(channel="a", data=Raw(b"1")))
    for parallel in (False, True):
        request = BatchRequest(commands=[command] * (CONCURRENCY + 10), parallel=parallel)
        api.backplane.published.clear()
        with api.backplane.hold("publish"):
            call = asyncio.create_task(batch(api.cluster, request))
            await settle()
            assert len(api.published()) == CONCURRENCY
        assert len((await call).replies) == CONCURRENCY + 10


async def test_batch_is_bounded(api: Api) -> None:
    """More commands than a batch may have are refused as a whole."""
    body = json.dumps({"commands": [{"info": {}}] * 10_001})
    assert (await api.raw("batch", body))[0] == 400


# --- what outlives connections --------------------------------------------------------------------

KEEPS: dict[str, Any] = {
    "api_subscriptions": {"kept": True, "limit": 2},
    "session": {"enabled": True},
}


async def _session_of(api: Api, user: str) -> Owner:
    """A session that waits for its client."""
    new = Owner(api.sessions.new_id(user, ""), user, f"connection of {user}", 120_000)
    claimed = await api.sessions.claim("", new, SessionState(client="c"))
    await api.sessions.release(claimed.owner, None, forget=False)
    return claimed.owner


async def _claim_again(api: Api, owner: Owner) -> Claimed:
    new = Owner(api.sessions.new_id(owner.user, ""), owner.user, "later", 120_000)
    return await api.sessions.claim(owner.session, new, SessionState(client="c"))


async def test_subscriptions_are_kept_where_that_is_set() -> None:
    """They are for all of a user's connections, and there are so many at most: error 106."""
    async with Api(client=KEEPS) as api:
        for channel in ("a", "b"):
            assert await api.call("subscribe", user="ann", channel=channel, data=1) == {
                "result": {}
            }
        refused = await api.call("subscribe", user="ann", channel="c")
        assert refused["error"]["code"] == 106
        assert len(api.backplane.controls) == 2
        kept = await api.sessions.user_subscriptions("ann")
        assert kept["a"] == KeptGrant(server_side=True, data=b"1")
        await api.call("unsubscribe", user="ann", channel="a")
        assert (await api.sessions.user_subscriptions("ann")).keys() == {"b"}


async def test_a_subscription_that_is_over_is_not_made(api: Api) -> None:
    """It would end at once, and tell the client that it may come again."""
    assert (await api.call("subscribe", user="ann", channel="a", expire_at=1))["error"] == {
        "code": 110,
        "message": "expired",
    }
    assert not api.backplane.controls


@pytest.mark.parametrize("method", ["disconnect", "unsubscribe", "subscribe"])
async def test_a_call_has_to_name_somebody(method: str) -> None:
    """The empty user is all anonymous clients: a field that was forgotten must not mean them."""
    async with Api(client=KEEPS) as api:
        channel = {} if method == "disconnect" else {"channel": "a"}
        error = (await api.call(method, **channel))["error"]
        assert error["code"] == 107
        assert "user is required" in error["message"]
        assert not api.backplane.controls
        assert await api.call(method, client="c", **channel) == {"result": {}}
        assert await api.call(method, session="s", **channel) == {"result": {}}


@pytest.mark.parametrize(
    "call",
    [{"user": "ann", "client": "c"}, {"user": "", "client": "c"}, {"user": "ann", "client": "d"}],
)
async def test_what_is_for_one_connection_is_not_kept(call: dict[str, Any]) -> None:
    """A call for one client leaves nothing behind."""
    async with Api(client=KEEPS) as api:
        assert await api.call("subscribe", channel="a", **call) == {"result": {}}
        assert await api.sessions.user_subscriptions(call["user"]) == {}


async def test_without_the_settings_nothing_is_kept() -> None:
    """As in Centrifugo a subscription then ends with its connection, and the store is not asked."""
    async with Api() as api:
        owner = await _session_of(api, "ann")
        await api.call("subscribe", user="ann", channel="a")
        await api.call("subscribe", user="ann", channel="a", session=owner.session)
        await api.call("unsubscribe", user="ann", channel="a")
        await api.call("disconnect", user="ann")
        claimed = await _claim_again(api, owner)
        assert (claimed.verdict, claimed.subscriptions) == (Verdict.RESUMED, {})
        assert (claimed.revoked, claimed.all_revoked) == (frozenset(), False)


async def test_a_sessions_subscription_waits_for_it() -> None:
    """A session without a connection gets it with its next one, and what was taken is told."""
    async with Api(client=KEEPS) as api:
        owner = await _session_of(api, "ann")
        for channel in ("a", "b"):
            await api.call("subscribe", user="ann", channel=channel, session=owner.session)
        await api.call("unsubscribe", user="ann", channel="a", session=owner.session)
        claimed = await _claim_again(api, owner)
        assert claimed.subscriptions.keys() == {"b"}
        assert claimed.revoked == {"a"}
        assert await api.sessions.user_subscriptions("ann") == {}


@pytest.mark.parametrize(
    ("call", "resumes"),
    [
        ({"user": "ann"}, False),
        ({"user": "bob"}, True),
        ({"user": "ann", "whitelist": ["c"]}, True),
        ({"user": "ann", "disconnect": {"code": 3011, "reason": "force reconnect"}}, True),
    ],
)
async def test_a_disconnect_for_good_ends_waiting_sessions(
    call: dict[str, Any], *, resumes: bool
) -> None:
    """Who was sent away for good while away does not resume; who may reconnect does."""
    async with Api(client=KEEPS) as api:
        owner = await _session_of(api, "ann")
        await api.call("disconnect", **call)
        claimed = await _claim_again(api, owner)
        assert claimed.verdict is (Verdict.RESUMED if resumes else Verdict.REVOKED)
