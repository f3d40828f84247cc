"""A loss is told in bounded steps, in order, to everybody who followed the stream."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from realtime_node.delivery import rounds as rounds_module
from realtime_node.delivery.hub import Hub
from realtime_node.protocol.json_codec import JsonCodec
from realtime_node.protocol.messages import StreamPosition
from realtime_node.telemetry.metrics import Metrics, total
from tests.support.fakes import FakeSlowClients, entry, framer_of, plain_flow, settle
from tests.unit.delivery.listeners import Listener

MEMBERS = 50_000
MOST_A_STEP = 1_000


def at(offset: int) -> StreamPosition:
    """A position."""
    return StreamPosition(offset=offset, epoch="e")


@pytest.fixture
def metrics() -> Metrics:
    """What is counted."""
    return Metrics()


@pytest.fixture
def hub(metrics: Metrics) -> Hub:
    """A hub."""
    return Hub(
        JsonCodec(),
        metrics.delivery,
        FakeSlowClients(),
        framer=framer_of(),
        flow_of=plain_flow,
        on_deserted=lambda _channel: None,
        on_control=lambda _control: None,
    )


class Light:
    """One of very many members: they share a transport."""

    def __init__(self, hub: Hub, told: list[Light], shared: Listener) -> None:
        self.outbound = shared.outbound
        self._hub = hub
        self._told = told

    def lose_position(self, channel: str) -> bool:
        """Note it, and leave as a session does."""
        self._told.append(self)
        self._hub.leave(channel, self)
        return True


async def publish(hub: Hub, *offsets: int) -> None:
    """Publish, and let no pass of the loop begin."""
    await hub.receive([entry("a", each, sequence=each, offset=each, epoch="e") for each in offsets])


@pytest.mark.parametrize("cause", ["lost", "hole"])
@pytest.mark.parametrize("are_joining", [False, True])
async def test_a_loss_is_told_to_many_in_bounded_steps(
    hub: Hub, metrics: Metrics, cause: str, *, are_joining: bool
) -> None:
    """None of the loop's steps tells more than a thousand members or joiners, and all are told."""
    told: list[Light] = []
    shared = Listener(hub, "elsewhere")
    lights = [Light(hub, told, shared) for _ in range(MEMBERS)]
    first = Listener(hub, follows_stream=True)
    first.join(at(0))
    for light in lights:
        joiner = hub.begin_join("a", light, follows_stream=True, wants_join_leave=False)
        hub.finish_join("a", joiner, at(9 if are_joining else 0))
    if cause == "lost":
        hub.lost(0, ["a"])
    else:
        await publish(hub, 11)
    progress = [len(told)]
    while len(told) < len(lights) and len(progress) < MEMBERS:
        await asyncio.sleep(0)
        progress.append(len(told))
    assert progress[0] == 0
    assert max(later - earlier for earlier, later in pairwise(progress)) <= MOST_A_STEP
    assert len(set(told)) == len(told) == len(lights)
    await settle()
    assert first.losses == 1
    assert hub.num_channels == 0
    assert total(metrics.delivery.positions_lost) == len(lights) + 1


async def test_nothing_later_reaches_who_has_not_been_told(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was on its way before a loss arrives, then it is told, and who is back goes on."""
    monkeypatch.setattr(rounds_module, "WRITES_PER_PASS", 2)
    members = [Listener(hub, follows_stream=True) for _ in range(7)]
    for each in members:
        each.join(at(0))
    ahead = Listener(hub, follows_stream=True)
    ahead.join(at(3))
    asking = Listener(hub, follows_stream=True)
    joiner = asking.ask()
    await publish(hub, 1)
    for _ in range(2):
        await asyncio.sleep(0)
    assert 0 < sum(len(each.frames) for each in members) < 7
    hub.lost(0, ["a"])
    assert joiner.is_incomplete
    await publish(hub, 5)
    while not members[0].losses:
        await asyncio.sleep(0)
    back = Listener(hub, follows_stream=True)
    back.join(at(5))
    assert not members[-1].losses
    await publish(hub, 6)
    await settle(40)
    assert [each.offsets for each in members] == [[1]] * 7
    assert [each.losses for each in [*members, ahead]] == [1] * 8
    assert ahead.offsets == []
    hub.finish_join("a", joiner, at(4))
    assert (asking.losses, asking.offsets) == (1, [])
    assert (back.losses, back.offsets) == (0, [6])


async def test_who_comes_behind_a_loss_is_not_told(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While many are told, those who are back already, or new, follow the stream."""
    monkeypatch.setattr(rounds_module, "WRITES_PER_PASS", 1)
    members = [Listener(hub, follows_stream=True) for _ in range(5)]
    for each in members:
        each.join(at(0))
    hub.lost(0, ["a"])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    new = Listener(hub, follows_stream=True)
    new.join(at(2))
    early = next(each for each in members if each.losses)
    early.join(at(2))
    await publish(hub, 3)
    await settle(40)
    assert [each.losses for each in members] == [1] * 5
    assert (new.losses, new.offsets, early.offsets) == (0, [3], [3])


async def test_a_hole_is_told_before_the_rest_goes_on(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch behind a hole reaches those without a position once everybody else was told."""
    monkeypatch.setattr(rounds_module, "WRITES_PER_PASS", 1)
    members = [Listener(hub, follows_stream=True) for _ in range(3)]
    for each in members:
        each.join(at(0))
    loose = Listener(hub)
    loose.join(StreamPosition())
    await publish(hub, 1, 3)
    await settle(40)
    assert [(each.losses, each.offsets) for each in members] == [(1, [])] * 3
    assert loose.offsets == [1, 3]
    assert hub.backlog == 0
