"""Control messages that mean many sessions are applied in bounded passes, and in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from realtime_node.cluster.backplane import (
    Control,
    DisconnectUser,
    Entry,
    EntryKind,
    SubscribeUser,
    UnsubscribeUser,
)
from realtime_node.protocol import codes
from realtime_node.session import registry
from realtime_node.session.control_queue import EFFORT_PER_PASS, ControlQueue
from tests.support.conditions import NEVER_S
from tests.support.failure_counts import counted_failures
from tests.support.fakes import FakeClient, FakeLink, FakeNode
from tests.support.loop_steps import MOST_MEMBERS, Steps, counted_steps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MANY = 1_200


def unsubscribing(channel: str) -> UnsubscribeUser:
    """A message that is told from others by its channel."""
    return UnsubscribeUser(user="ann", channel=channel)


class Sessions:
    """Stand in for the sessions that messages mean: as many as the channel's name says."""

    def __init__(self, steps: Steps) -> None:
        self.done: list[str] = []
        self._steps = steps

    def steps_of(self, control: Control) -> Iterator[int]:
        """Apply a message."""
        assert isinstance(control, UnsubscribeUser)
        name, _, number = control.channel.partition(":")
        if not number:
            raise ValueError("a bug")
        for _ in range(int(number)):
            self.done.append(name)
            self._steps.count()
            yield 1


async def test_few_sessions_are_met_at_once() -> None:
    """Nobody has to wait for what fits into the present pass."""
    with counted_steps() as steps:
        sessions = Sessions(steps)
        assert ControlQueue(sessions.steps_of).add(unsubscribing("a:3")) is None
    assert sessions.done == ["a"] * 3


async def test_what_means_many_keeps_its_order_and_lets_the_loop_go_on() -> None:
    """A later message of one session waits behind an earlier one of a thousand."""
    with counted_steps() as steps:
        sessions = Sessions(steps)
        queue = ControlQueue(sessions.steps_of)
        applied = [queue.add(unsubscribing(f"{name}:{MANY}")) for name in "ab"]
        last = queue.add(unsubscribing("c:1"))
        assert len(sessions.done) == EFFORT_PER_PASS
        assert applied[0] is not None
        assert last is not None
        await asyncio.wait_for(last, NEVER_S)
    assert "".join(sessions.done) == "a" * MANY + "b" * MANY + "c"
    assert steps.most <= EFFORT_PER_PASS


async def test_many_messages_of_one_session_each_share_a_pass() -> None:
    """A batch of ten thousand calls is as much work as one call that means as many."""
    with counted_steps() as steps:
        sessions = Sessions(steps)
        queue = ControlQueue(sessions.steps_of)
        applied = None
        for _ in range(MANY):
            applied = queue.add(unsubscribing("a:1"))
        assert applied is not None
        await asyncio.wait_for(applied, NEVER_S)
    assert len(sessions.done) == MANY
    assert steps.most <= EFFORT_PER_PASS


async def test_a_message_that_fails_is_counted_and_holds_up_no_other() -> None:
    """A bug costs its message only, whether somebody still waits for it or not."""
    with counted_steps() as steps, counted_failures() as counts:
        sessions = Sessions(steps)
        queue = ControlQueue(sessions.steps_of)
        waiting = queue.add(unsubscribing(f"a:{MANY}"))
        queue.add(unsubscribing("broken"))
        last = queue.add(unsubscribing("b:1"))
        assert waiting is not None
        assert last is not None
        waiting.cancel()
        next_one = queue.add(unsubscribing("c:1"))
        assert next_one is not None
        await asyncio.wait_for(next_one, NEVER_S)
    assert sessions.done[-2:] == ["b", "c"]
    assert counts.errors == {"control": 1}


async def test_who_gives_up_waiting_takes_nothing_from_others() -> None:
    """The readers of several inboxes wait for the same end, and one of them may be ended."""
    with counted_steps() as steps:
        queue = ControlQueue(Sessions(steps).steps_of)
        one, other = queue.add(unsubscribing(f"a:{MANY}")), queue.add(unsubscribing("b:1"))
        assert one is not None
        assert other is not None
        one.cancel()
        await asyncio.wait_for(other, NEVER_S)


# --- what the registry does ---------------------------------------------------------------------


@pytest.fixture
async def closes(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Steps]:
    """Count the closes of all clients by passes of the loop."""
    with counted_steps() as steps:
        monkeypatch.setattr(FakeLink, "close", lambda *_: steps.count())
        yield steps


def control_entry(control: Control) -> Entry:
    """An inbox entry that brings a control message."""
    return Entry(partition=0, sequence=1, kind=EntryKind.CONTROL, control=control)


@pytest.mark.parametrize(
    "control",
    [
        DisconnectUser(user="ann", code=3500, reason="bye"),
        UnsubscribeUser(user="ann", channel="a"),
        SubscribeUser(user="ann", channel="a"),
    ],
    ids=["disconnect", "unsubscribe", "subscribe"],
)
async def test_a_call_about_all_connections_of_a_user_walks_few_in_a_pass(
    node: FakeNode, control: Control, closes: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, and the inbox is not read on before all are met."""
    for _ in range(MANY):
        FakeClient(node).session.identify("ann", None)
    monkeypatch.setattr(registry, "apply_call", lambda *_: closes.count())
    await asyncio.wait_for(node.hub.receive([control_entry(control)]), NEVER_S)
    assert closes.total == MANY
    assert closes.most <= MOST_MEMBERS


async def test_an_ending_node_closes_few_in_a_pass(node: FakeNode, closes: Steps) -> None:
    """All clients are told, and the loop goes on meanwhile."""
    for _ in range(MANY):
        FakeClient(node)
    await node.registry.close_all(codes.SHUTDOWN)
    assert closes.total == MANY
    assert closes.most <= MOST_MEMBERS


async def test_deadlines_that_come_in_one_moment_wake_few_in_a_pass(
    node: FakeNode, closes: Steps
) -> None:
    """Clients that never said anything are closed, a part of them in each pass."""
    for _ in range(MANY):
        FakeClient(node)
    node.clock.advance(60)
    node.registry.wake_due()  # the first behind a pause wakes nobody
    while node.registry.wake_due() or closes.total < MANY:
        await asyncio.sleep(0)
    assert closes.total == MANY
    assert closes.most <= MOST_MEMBERS


async def test_an_end_without_time_closes_everybody_at_once(node: FakeNode, closes: Steps) -> None:
    """A close that is cancelled midway leaves no client without a word."""
    for _ in range(MANY):
        FakeClient(node)
    ending = asyncio.create_task(node.registry.close_all(codes.SHUTDOWN))
    await asyncio.sleep(0)
    assert 0 < closes.total < MANY
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert closes.total == MANY
