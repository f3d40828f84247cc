"""Departures: told until the store has them, each once, and not at all to those who came back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from realtime_node.errors import BackplaneUnavailableError
from realtime_node.protocol.messages import ClientInfo
from realtime_node.session import departures as departures_module
from realtime_node.session.departures import CONCURRENCY, Departure, Departures
from tests.support.fakes import FakeBackplane, FakePresence, settle

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
    monkeypatch.setattr(departures_module, "RETRY_AFTER", 0)
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


async def test_close_stops_working(watched: Watched) -> None:
    """A node that ends does not wait for a store that is gone."""
    watched.presence.failing["remove"] = DOWN
    watched.leaves()
    await settle()
    async with asyncio.timeout(5):
        await watched.departures.close()
    asked = len(watched.presence.calls)
    await settle(50)
    assert len(watched.presence.calls) == asked


async def test_nothing_to_drain_is_no_wait(watched: Watched) -> None:
    """Draining and closing an idle one returns at once."""
    await watched.departures.drain()
    await watched.departures.close()
