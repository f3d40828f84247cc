"""Calls of the HTTP API that come while a client is being let in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from realtime_node.cluster.backplane import DisconnectUser, SubscribeUser, UnsubscribeUser
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.session import recent_calls
from realtime_node.session import session as session_module
from realtime_node.session.recent_calls import Call, RecentCalls
from tests.support.failure_counts import counted_failures
from tests.support.fakes import FakeClient, FakeNode, settle

if TYPE_CHECKING:
    from tests.unit.session.conftest import MakeNode

PROXY: dict[str, Any] = {"connect": {"enabled": True, "endpoint": "http://team/connect"}}


def unsubscribe(user: str, channel: str, client: str = "") -> UnsubscribeUser:
    """A call."""
    return UnsubscribeUser(user=user, channel=channel, client=client)


def disconnect(user: str, client: str = "", *spared: str) -> DisconnectUser:
    """A call."""
    return DisconnectUser(user=user, client=client, whitelist=spared, code=3503, reason="out")


# --- what is remembered ---------------------------------------------------------------------------


def test_calls_about_a_client_since_a_moment_are_found() -> None:
    """In order: those about its user, and those about itself."""
    calls = RecentCalls()
    calls.add(unsubscribe("ann", "before"))
    began_at = calls.number
    wanted = [
        unsubscribe("ann", "a"),
        unsubscribe("ann", "b", client="c1"),
        unsubscribe("", "c", client="c1"),
        unsubscribe("ann", "d"),
    ]
    others: list[Call] = [
        unsubscribe("bob", "a"),
        unsubscribe("ann", "a", client="c2"),
        disconnect("bob"),
        disconnect("bob", "c1"),
    ]
    for one, other in zip(wanted, others, strict=True):
        calls.add(other)
        calls.add(one)
    assert calls.since(began_at, "ann", "c1") == wanted
    assert calls.since(calls.number, "ann", "c1") == []


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connect that began before what was forgotten is told that it cannot know."""
    monkeypatch.setattr(recent_calls, "MAX_CALLS", 3)
    calls = RecentCalls()
    assert calls.knows(0)
    for number in range(5):
        assert calls.knows(number)
        calls.add(unsubscribe(f"user {number % 2}", str(number)))
    assert len(calls) == 3
    assert [calls.knows(number) for number in range(6)] == [False, False, True, True, True, True]
    assert calls.since(2, "user 0", "") == [unsubscribe("user 0", "2"), unsubscribe("user 0", "4")]
    for number in range(3):
        calls.add(unsubscribe("user 9", str(number)))
    assert calls._about.keys() == {("user", "user 9")}


# --- what comes of it -----------------------------------------------------------------------------


class Slow:
    """A client whom a slow backend is asked about."""

    def __init__(self, make_node: MakeNode) -> None:
        """Prepare the backend."""
        self.node = make_node(proxy=PROXY)
        self.node.team.answers["/connect"] = {"result": {"user": "ann", "channels": ["a", "b"]}}
        self.client: FakeClient = self.node.client()

    async def let_in(self, *calls: Call) -> None:
        """Have calls come while the backend is asked."""
        self.node.team.gate.clear()
        self.client.say(connect={})
        await settle()
        for call in calls:
            self.node.registry.apply(call)
        self.node.team.gate.set()
        await settle()


@pytest.fixture
async def slow(make_node: MakeNode) -> Slow:
    """One of them."""
    return Slow(make_node)


async def test_what_was_taken_while_the_backend_was_asked_is_taken(slow: Slow) -> None:
    """What it answers may be older than the call: the client has it for a moment at most."""
    subscribed = SubscribeUser(user="ann", channel="c")
    await slow.let_in(unsubscribe("ann", "a"), subscribed, unsubscribe("bob", "b"))
    assert slow.client.session.subscriptions.keys() == {"b", "c"}
    assert slow.client.pushes("unsubscribe") == [{"code": 2000, "reason": "server unsubscribe"}]
    assert slow.client.link.closes == []


async def test_a_call_about_the_client_itself_counts(slow: Slow) -> None:
    """The backend knows its id from the question."""
    await slow.let_in(disconnect("", slow.client.session.client_id))
    assert slow.client.link.closes == [(3503, "out")]


async def test_who_is_spared_is_let_in(slow: Slow) -> None:
    """A later call takes nothing back of an earlier one, and the other way round."""
    spared = disconnect("ann", "", slow.client.session.client_id)
    await slow.let_in(spared)
    assert slow.client.link.closes == []
    another = Slow.__new__(Slow)
    another.node, another.client = slow.node, slow.node.client()
    await another.let_in(disconnect("ann"), disconnect("ann", "", another.client.session.client_id))
    assert another.client.link.closes == [(3503, "out")]


async def test_a_connect_that_cannot_know_is_tried_again(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More calls came than are remembered: one may have been about this client."""
    monkeypatch.setattr(recent_calls, "MAX_CALLS", 2)
    await slow.let_in(*(unsubscribe(name, "a") for name in "xyz"))
    (reply,) = slow.client.unread()
    assert reply["error"] == {"code": 100, "message": "internal server error", "temporary": True}


async def test_a_client_that_too_many_calls_close_gets_nothing(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is made for a session that is closed: nobody would ever take it out again."""
    monkeypatch.setattr(session_module, "MAX_WAITING_FOR_API", 2)
    with counted_failures() as counts:
        await slow.let_in(*(unsubscribe("ann", name) for name in "xyz"))
    assert slow.client.link.code == 3013
    assert slow.client.session.subscriptions == {}
    assert slow.node.hub.num_channels == 0
    assert (slow.node.registry.num_clients, slow.node.registry.num_open) == (0, 0)
    assert counts.errors == {}


async def test_a_client_that_is_refused_is_not_subscribed_by_a_call(node: FakeNode) -> None:
    """The call came while its own subscriptions were made, and waited for its connect."""
    client = node.client()
    node.backplane.failing["subscribe"] = BackplaneUnavailableError("no answer")
    with node.backplane.hold("subscribe"):
        client.say(connect={"token": node.trust("ann", channels=("seen:a",))})
        await settle()
        node.registry.apply(SubscribeUser(user="ann", channel="seen:b"))
        await settle()
        node.backplane.calls.clear()
    await settle()
    node.backplane.failing.clear()
    assert [each for each in node.backplane.calls if each[0] == "subscribe"] == []
    assert client.session.subscriptions == {}
    assert client.pushes("subscribe") == []
