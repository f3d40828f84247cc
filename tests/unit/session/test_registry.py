"""Control messages reach the sessions they mean; the clock wakes everybody."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from realtime_node.cluster.backplane import (
    Control,
    DisconnectUser,
    SubscribeUser,
    UnsubscribeUser,
)
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.protocol import codes
from realtime_node.protocol.messages import StreamPosition
from realtime_node.session.session import MAX_WAITING_FOR_API
from realtime_node.telemetry.metrics import total
from tests.support.failure_counts import counted_failures
from tests.support.fakes import FakeClient, FakeNode, publication, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_node.session.session import Session


class Crowd:
    """Two connections of ann, one of bob, one without a user and one that never connected."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self.clients: dict[str, FakeClient] = {}

    async def come(self) -> None:
        """Connect everybody."""
        for name, user in (("ann1", "ann"), ("ann2", "ann"), ("bob", "bob"), ("nobody", "")):
            token = self.node.trust(user) if user else ""
            self.clients[name] = await self.node.connected(token)
        self.clients["stranger"] = self.node.client()

    def id_of(self, name: str) -> str:
        """A client id."""
        return self.clients[name].session.client_id

    async def apply(self, control: Control) -> None:
        """Let a control message come in."""
        await self.node.backplane.control(control)
        await self.node.backplane.deliver()

    def closed(self) -> dict[str, tuple[int, str]]:
        """Who was closed, and how."""
        return {
            name: client.link.closes[0]
            for name, client in self.clients.items()
            if client.link.closes
        }

    def subscribed(self, channel: str) -> set[str]:
        """Who is subscribed to a channel."""
        return {
            name for name, client in self.clients.items() if channel in client.session.subscriptions
        }


@pytest.fixture
async def crowd(node: FakeNode) -> Crowd:
    """Several clients on one node."""
    crowd = Crowd(node)
    await crowd.come()
    return crowd


async def test_counts_clients_and_users(crowd: Crowd) -> None:
    """Connections count as clients once they connected; anonymous ones are one user."""
    registry = crowd.node.registry
    assert (registry.num_clients, registry.num_users) == (4, 3)
    assert (registry.connections_of("ann"), registry.connections_of("carl")) == (2, 0)
    await crowd.clients["bob"].ask(subscribe={"channel": "a"})
    assert registry.num_subscriptions == 1
    for client in crowd.clients.values():
        client.session.ended()
        client.session.ended()
    assert (registry.num_clients, registry.num_users, registry.num_subscriptions) == (0, 0, 0)


CHANNELS = [f"{namespace}:{name}" for namespace in ("seen", "kept", "both") for name in "abc"]


def do_something(node: FakeNode, clients: list[FakeClient], random: Random) -> None:
    """Let a client come, go or ask for something, or a call take something away."""
    user = f"user {random.randrange(5)}"
    some = random.sample(CHANNELS, random.randrange(4))
    what = random.choice(["come", "subscribe", "unsubscribe", "call", "go"]) if clients else "come"
    if what == "come":
        clients.append(node.client())
        clients[-1].say(connect={"token": node.trust(user, channels=tuple(some))})
    elif what == "go":
        random.choice(clients).session.ended()
    for channel in some:
        if what == "call":
            node.registry.apply(UnsubscribeUser(user=user, channel=channel))
        elif what in ("subscribe", "unsubscribe"):
            random.choice(clients).say(**{what: {"channel": channel}})


@pytest.mark.parametrize("seed", range(5))
async def test_counters_agree_with_what_there_is(node: FakeNode, seed: int) -> None:
    """However clients come and go, and whatever fails meanwhile: nobody walks them to count."""
    random = Random(seed)  # noqa: S311 - no secret
    clients: list[FakeClient] = []
    failing = BackplaneUnavailableError("no answer")
    for _ in range(100):
        node.backplane.failing = {"subscribe": failing} if random.random() < 0.2 else {}
        node.presence.failing = {"add": failing} if random.random() < 0.2 else {}
        do_something(node, clients, random)
        await settle(random.randrange(30))
        sessions = [client.session for client in clients]
        num_subscriptions = sum(len(each.subscriptions) for each in sessions)
        assert node.registry.num_subscriptions == num_subscriptions
        assert node.registry.num_clients == sum(each.is_connected for each in sessions)
    for client in clients:
        client.session.ended()
    await settle()
    assert (node.registry.num_subscriptions, node.registry.num_clients) == (0, 0)


# --- disconnect -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda _: {"user": "ann"}, {"ann1", "ann2"}),
        (lambda crowd: {"user": "ann", "client": crowd.id_of("ann2")}, {"ann2"}),
        (lambda crowd: {"user": "bob", "client": crowd.id_of("ann2")}, set()),
        (lambda crowd: {"user": "ann", "whitelist": (crowd.id_of("ann1"),)}, {"ann2"}),
        (lambda _: {"user": "carl"}, set()),
        (lambda _: {"user": ""}, {"nobody"}),
    ],
    ids=["user", "client", "client of another user", "whitelist", "unknown", "anonymous"],
)
async def test_disconnect_closes_whom_it_means(
    crowd: Crowd, make: Callable[[Crowd], dict[str, Any]], expected: set[str]
) -> None:
    """A user's connections, or one of them, or all but some; with the given code and reason."""
    await crowd.apply(DisconnectUser(code=4500, reason="go", **make(crowd)))
    assert crowd.closed() == dict.fromkeys(expected, (4500, "go"))


# --- unsubscribe ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda _: {"user": "ann", "channel": "a"}, {"ann1": {"b"}, "ann2": {"b"}}),
        (
            lambda crowd: {"user": "ann", "channel": "a", "client": crowd.id_of("ann1")},
            {"ann1": {"b"}, "ann2": {"a", "b"}},
        ),
        (lambda _: {"user": "ann", "channel": ""}, {"ann1": set(), "ann2": set()}),
        (lambda _: {"user": "ann", "channel": "c"}, {"ann1": {"a", "b"}, "ann2": {"a", "b"}}),
    ],
    ids=["user", "client", "all channels", "not subscribed"],
)
async def test_unsubscribe_ends_whose_it_means(
    crowd: Crowd, make: Callable[[Crowd], dict[str, Any]], expected: dict[str, set[str]]
) -> None:
    """One channel or all, of all connections of a user or of one; each is told with code 2000."""
    for name in ("ann1", "ann2", "bob"):
        for channel in ("a", "b"):
            await crowd.clients[name].ask(subscribe={"channel": channel})
    await crowd.apply(UnsubscribeUser(**make(crowd)))
    left = {name: set(crowd.clients[name].session.subscriptions) for name in ("ann1", "ann2")}
    assert left == expected
    for name, channels in expected.items():
        pushes = crowd.clients[name].pushes("unsubscribe")
        assert pushes == [{"code": 2000, "reason": "server unsubscribe"}] * (2 - len(channels))
    assert crowd.clients["bob"].session.subscriptions.keys() == {"a", "b"}
    assert crowd.closed() == {}


# --- subscribe --------------------------------------------------------------------------------


async def test_subscribe_makes_server_side_subscriptions(crowd: Crowd) -> None:
    """Each connection of the user is told by a push, and then gets the channel."""
    await crowd.apply(SubscribeUser(user="ann", channel="closed:a", data=b"[1]", chan_info=b"2"))
    assert crowd.subscribed("closed:a") == {"ann1", "ann2"}
    await crowd.node.backplane.publish(
        "closed:a", publication(5), crowd.node.services.rules.rule("closed:a").stream
    )
    await crowd.node.backplane.deliver()
    for name in ("ann1", "ann2"):
        assert crowd.clients[name].pushes("subscribe") == [{"data": [1]}]
        assert crowd.clients[name].pushes() == [{"data": 5}]
        held = crowd.clients[name].session.subscriptions["closed:a"]
        assert held.server_side


async def test_subscribe_can_recover(crowd: Crowd) -> None:
    """A push of the position asked for is followed by what was missed since."""
    stream = crowd.node.services.rules.rule("kept:a").stream
    for number in (1, 2, 3):
        await crowd.node.backplane.publish("kept:a", publication(number), stream)
    since = StreamPosition(offset=1, epoch="e1")
    await crowd.apply(SubscribeUser(user="bob", channel="kept:a", recover_since=since))
    bob = crowd.clients["bob"]
    assert bob.pushes("subscribe") == [
        {"recoverable": True, "positioned": True, "epoch": "e1", "offset": 1}
    ]
    assert [each["offset"] for each in bob.pushes()] == [2, 3]


async def test_subscribe_takes_its_turn(crowd: Crowd) -> None:
    """What the server asks for waits for the client's own commands, and the other way round."""
    bob = crowd.clients["bob"]
    with crowd.node.backplane.hold("publish"):
        bob.say(publish={"channel": "a", "data": 1})
        await settle()
        await crowd.apply(SubscribeUser(user="bob", channel="a"))
        bob.say(subscribe={"channel": "a"})
        await settle()
    await settle()
    assert bob.transport.messages[-1]["error"]["code"] == 105


@pytest.mark.parametrize("failing", ["unknown namespace", "twice", "outage"])
async def test_subscribe_that_fails_harms_nobody(crowd: Crowd, failing: str) -> None:
    """A subscription that cannot be made is logged; the client stays connected."""
    channel = "unknown:a" if failing == "unknown namespace" else "a"
    if failing == "twice":
        await crowd.clients["bob"].ask(subscribe={"channel": "a"})
    if failing == "outage":
        crowd.node.backplane.failing["subscribe"] = BackplaneUnavailableError("no answer")
    await crowd.apply(SubscribeUser(user="bob", channel=channel))
    assert crowd.clients["bob"].pushes("subscribe") == []
    assert crowd.closed() == {}
    assert "ping" in await crowd.clients["bob"].ask(ping={})


# --- everybody --------------------------------------------------------------------------------


async def test_close_all_closes_those_too_who_never_connected(crowd: Crowd) -> None:
    """A node that ends leaves no WebSocket open."""
    await crowd.node.registry.close_all(codes.SHUTDOWN)
    assert crowd.closed() == dict.fromkeys(crowd.clients, (3001, "shutdown"))


async def test_close_all_closes_the_others_of_one_that_fails(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in the end of one session is counted, and leaves nobody else behind."""
    monkeypatch.setattr(crowd.clients["ann2"].link, "close", fails)
    with counted_failures() as counts:
        await crowd.node.registry.close_all(codes.SHUTDOWN)
    assert len(crowd.closed()) == len(crowd.clients) - 1
    assert crowd.node.registry.num_open == 0
    assert counts.errors == {"session": 1}


async def test_a_bug_in_a_subscription_keeps_no_session_open(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session ends whatever its channels raise: the others are left, the client is closed."""
    bob = crowd.clients["bob"]
    for channel in ("a", "b"):
        await bob.ask(subscribe={"channel": channel})
    leave = crowd.node.hub.leave

    def leaves(channel: str, session: Session) -> None:
        if channel == "a":
            raise ValueError("a bug")
        leave(channel, session)

    monkeypatch.setattr(crowd.node.hub, "leave", leaves)
    with counted_failures() as counts:
        bob.session.close(codes.SHUTDOWN)
    assert crowd.closed()["bob"] == (3001, "shutdown")
    assert bob.session not in crowd.node.registry.list_open()
    assert list(crowd.node.hub.names()) == ["a"]
    assert counts.errors == {"session": 1}


async def test_a_control_message_reaches_the_others_of_one_that_fails(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a user's connections each is closed, whatever another raises."""
    for name in ("ann1", "ann2"):
        monkeypatch.setattr(crowd.clients[name].link, "close", fails)
    with counted_failures() as counts:
        crowd.node.registry.apply(DisconnectUser(user="ann", code=3500, reason="bye"))
    assert not any(crowd.clients[name].session.is_open for name in ("ann1", "ann2"))
    assert counts.errors == {"session": 2}


def fails(*_: object) -> None:
    """Be a bug."""
    raise ValueError("a bug")


async def test_a_bug_in_one_session_stops_no_clock(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A session that cannot be woken is closed; the pings of the others go on."""
    broken = crowd.clients["ann1"]
    broken.transport.is_broken = True
    monkeypatch.setattr(broken.session.outbound, "send", broken.transport.write)
    crowd.node.pass_time(13)
    assert crowd.closed()["ann1"] == (3004, "internal server error")
    assert "unexpected error" in caplog.text
    for name in ("ann2", "bob", "nobody"):
        assert crowd.clients[name].transport.messages[-1] == {}


async def test_a_cancellation_that_nobody_asked_for_stops_no_clock(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs the session that raised it, as any bug does."""

    def cancelled(_frame: bytes) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(crowd.clients["ann1"].session.outbound, "send", cancelled)
    with counted_failures() as counts:
        crowd.node.pass_time(13)
    assert crowd.closed()["ann1"] == (3004, "internal server error")
    assert counts.errors == {"session": 1}
    assert crowd.clients["ann2"].transport.messages[-1] == {}


# --- a pause of the process -------------------------------------------------------------------


async def _pinged_before_a_pause(node: FakeNode) -> FakeClient:
    """Return a client that was sent a ping right before the process stood still for a minute."""
    client = await node.connected(node.trust("ann"))
    while client.transport.messages[-1] != {}:
        node.pass_time(0.25)
    node.clock.advance(60)
    node.registry.wake_due()
    return client


async def test_a_pong_that_came_during_a_pause_is_in_time(node: FakeNode) -> None:
    """Nobody is closed for a pong that waits in the socket of a node that stood still."""
    client = await _pinged_before_a_pause(node)
    client.send({})
    node.pass_time(1)
    assert client.link.closes == []
    assert client.transport.messages[-1] == {}, "the next ping was overdue"


async def test_a_pong_that_never_came_is_missed_after_a_pause(node: FakeNode) -> None:
    """Who did not answer is closed with the next turn."""
    client = await _pinged_before_a_pause(node)
    assert client.link.closes == []
    node.pass_time(0.25)
    assert client.link.closes == [(3012, "no pong")]


async def test_a_node_that_is_always_late_still_judges(node: FakeNode) -> None:
    """Every other turn is held, however late the turns come."""
    client = await _pinged_before_a_pause(node)
    node.clock.advance(60)
    node.registry.wake_due()
    assert client.link.closes == [(3012, "no pong")]


async def test_calls_for_one_client_are_bounded(crowd: Crowd) -> None:
    """A client whose store is slow is closed instead of collecting what calls ask for."""
    node, client = crowd.node, crowd.clients["bob"]
    with node.backplane.hold("subscribe"):
        await crowd.apply(SubscribeUser(user="bob", channel="a"))
        await settle()
        for _ in range(MAX_WAITING_FOR_API + 1):
            assert not client.link.closes
            await crowd.apply(UnsubscribeUser(user="bob", channel="b"))
    await settle()
    assert client.link.closes == [(3013, "too many requests")]
    assert total(node.metrics.session.api_work_overflows) == 1
    assert crowd.closed().keys() == {"bob"}
