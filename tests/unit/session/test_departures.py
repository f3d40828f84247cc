"""Departures: told until the store has them, each once, and not at all to those who came back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from realtime_node.cluster.presence import Stay
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.protocol.messages import ClientInfo
from realtime_node.session import chore as chore_module
from realtime_node.session.chore import CONCURRENCY
from realtime_node.session.departures import MOST_RELEASED, Departure, Departures
from tests.support.conditions import NEVER_S
from tests.support.fakes import FakeBackplane, FakeClock, FakePresence, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ANN = ClientInfo(user="u", client="ann")
DOWN = BackplaneUnavailableError("no answer")


class Watched:
    """Departures and the stores that they are told to."""

    def __init__(self) -> None:
        self.backplane = FakeBackplane()
        self.presence = FakePresence()
        self.departures = Departures(self.backplane, self.presence)

    def leaves(self, channel: str = "a", *, present: bool = True, announces: bool = True) -> None:
        """Ann goes."""
        self.departures.add(channel, Departure(ANN, present, announces))

    @property
    def calls(self) -> list[str]:
        """What was asked of both stores."""
        return [call for call, _ in self.presence.calls + self.backplane.calls]


@pytest.fixture
async def watched(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    """Departures that try again at once."""
    monkeypatch.setattr(chore_module, "RETRY_AFTER", 0)
    watched = Watched()
    yield watched
    await watched.departures.close()


async def test_departure_removes_and_announces(watched: Watched) -> None:
    """The entry goes first, then the channel is told."""
    await watched.presence.add("a", ANN)
    watched.leaves()
    assert len(watched.departures) == 1
    await watched.departures.drain()
    assert watched.calls == ["add", "remove", "announce LEAVE"]
    assert (len(watched.departures), watched.presence.present["a"]) == (0, {})


async def test_only_what_is_left_is_told(watched: Watched) -> None:
    """A client without presence is only announced, one without announcements only removed."""
    watched.leaves("a", present=False)
    watched.leaves("b", announces=False)
    await watched.departures.drain()
    assert watched.presence.calls == [("remove", "b")]
    assert watched.backplane.calls == [("announce LEAVE", "a")]


async def test_departure_is_repeated_until_the_store_has_it(watched: Watched) -> None:
    """An outage loses no departure; the leave is announced once."""
    watched.presence.failing["remove"] = DOWN
    watched.leaves()
    await settle(100)
    assert watched.presence.calls.count(("remove", "a")) > 1
    assert len(watched.departures) == 1
    watched.presence.failing.clear()
    await watched.departures.drain()
    assert watched.backplane.calls == [("announce LEAVE", "a")]


async def test_returned_client_is_not_told_away(watched: Watched) -> None:
    """A revoked departure is neither repeated nor announced."""
    watched.presence.failing["remove"] = DOWN
    watched.leaves()
    await settle()
    watched.departures.revoke("a", "ann")
    watched.presence.failing.clear()
    await watched.departures.drain()
    await watched.presence.add("a", ANN)
    await settle()
    assert watched.presence.present["a"] == {"ann": ANN}
    assert watched.backplane.calls == []


async def test_return_during_the_removal_is_no_leave(watched: Watched) -> None:
    """Who comes back while the store is asked is not announced as gone."""
    with watched.presence.hold("remove"):
        watched.leaves()
        await settle()
        watched.departures.revoke("a", "ann")
        await watched.presence.add("a", ANN)
    await watched.departures.drain()
    assert watched.presence.present["a"] == {"ann": ANN}
    assert watched.backplane.calls == []


async def test_second_departure_is_not_taken_for_the_first(watched: Watched) -> None:
    """Who comes back and leaves again during the first removal is removed again."""
    with watched.presence.hold("remove"):
        watched.leaves()
        await settle()
        watched.departures.revoke("a", "ann")
        await watched.presence.add("a", ANN)
        watched.leaves()
    await watched.departures.drain()
    assert watched.presence.present["a"] == {}
    assert watched.backplane.calls == [("announce LEAVE", "a")]


async def test_bounded_number_is_told_at_once(watched: Watched) -> None:
    """A node that loses all its clients does not flood the store."""
    with watched.presence.hold("remove"):
        for number in range(3 * CONCURRENCY):
            watched.leaves(f"channel {number}")
        await settle(300)
        assert len(watched.presence.calls) == CONCURRENCY
    await watched.departures.drain()
    assert len(watched.presence.calls) == 3 * CONCURRENCY


async def test_what_a_store_refuses_keeps_nothing_else_back(watched: Watched) -> None:
    """Where a part of the store is away, departures of the others are told all the same."""
    watched.presence.failing["remove"] = DOWN
    for number in range(2 * CONCURRENCY):
        watched.leaves(f"channel {number}")
    watched.leaves("last", present=False)
    await settle(300)
    assert watched.backplane.calls == [("announce LEAVE", "last")]


async def test_close_stops_working(watched: Watched) -> None:
    """A node that ends does not wait for a store that is gone."""
    watched.presence.failing["remove"] = DOWN
    watched.leaves()
    await settle()
    async with asyncio.timeout(NEVER_S):
        await watched.departures.close()
    asked = len(watched.presence.calls)
    await settle(50)
    assert len(watched.presence.calls) == asked


async def test_nothing_to_drain_is_no_wait(watched: Watched) -> None:
    """Draining and closing an idle one returns at once."""
    await watched.departures.drain()
    await watched.departures.close()


class Held:
    """Departures of clients that may come back, and the clock."""

    def __init__(self, max_held: int = 10) -> None:
        self.clock = FakeClock()
        self.backplane = FakeBackplane()
        self.presence = FakePresence()
        self.departures = Departures(
            self.backplane, self.presence, max_held=max_held, monotonic=self.clock
        )

    async def leaves(self, channel: str, after_s: float = 10) -> None:
        """Ann, who is present, goes and may come back."""
        await self.presence.add(channel, ANN, Stay(1))
        departure = Departure(ANN, has_presence=True, announces=True, token=1)
        self.departures.add(channel, departure, after_s=after_s)

    async def pass_time(self, seconds: float) -> list[str]:
        """Let time pass; the channels that were told of a leave until then."""
        self.clock.advance(seconds)
        self.departures.release_due()
        await self.departures.drain()
        return [channel for _, channel in self.backplane.calls]


async def test_a_held_departure_waits_for_its_end() -> None:
    """Each channel has its own end, in whatever order they were noted."""
    held = Held()
    for channel, after_s in (("long", 20), ("short", 5), ("middle", 10)):
        await held.leaves(channel, after_s)
    assert await held.pass_time(4) == []
    assert await held.pass_time(2) == ["short"]
    assert await held.pass_time(15) == ["short", "middle", "long"]
    assert held.departures.num_held == 0
    await held.departures.close()


async def test_a_held_departure_begins_anew_with_the_next() -> None:
    """Who came back and went again has the whole grace from then on."""
    held = Held()
    await held.leaves("a")
    await held.pass_time(6)
    held.departures.revoke("a", ANN.client)
    await held.leaves("a")
    assert await held.pass_time(6) == []
    assert await held.pass_time(5) == ["a"]
    await held.departures.close()


async def test_who_is_present_elsewhere_has_not_left() -> None:
    """A later connection's entry stays, and no leave is told."""
    held = Held()
    await held.leaves("a")
    await held.presence.add("a", ANN, Stay(2))
    assert await held.pass_time(11) == []
    assert held.presence.present["a"].keys() == {ANN.client}
    await held.departures.close()


async def test_those_that_come_and_go_do_not_pile_up() -> None:
    """What is remembered is bounded by who is away, however often they were."""
    held = Held()
    for _ in range(5000):
        await held.leaves("a")
        held.departures.revoke("a", ANN.client)
    assert len(held.departures._ends) <= 1001
    assert await held.pass_time(11) == []
    await held.departures.close()


async def test_many_whose_grace_ends_at_once_are_released_in_parts(watched: Watched) -> None:
    """No step of the loop notes more than a thousand of them; the timer brings the others."""
    clock = FakeClock()
    departures = Departures(watched.backplane, watched.presence, monotonic=clock)
    for number in range(2 * MOST_RELEASED + 1):
        departures.add(str(number), Departure(ANN, has_presence=False, announces=True), after_s=9)
    clock.advance(9)
    left = [departures.num_held]
    while departures.num_held:
        departures.release_due()
        left.append(departures.num_held)
    assert left == [2 * MOST_RELEASED + 1, MOST_RELEASED + 1, 1, 0]
    await departures.close()
