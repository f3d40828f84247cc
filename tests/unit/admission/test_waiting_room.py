"""Handshakes that wait for their turn."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_node.admission.admit import REFUSALS, Reason, Refusal
from realtime_node.admission.token_bucket import Rate
from realtime_node.admission.waiting_room import MOST_TURNS, Guest, WaitingRoom
from realtime_node.cluster.allowance import Lease
from tests.support.fakes import settle
from tests.unit.admission.worlds import FakeAllowance, FakeGuest, World

RATE = Rate(10, 5)
WAIT_S = 2.0


class Room:
    """A waiting room, and the record of what it did."""

    def __init__(
        self, world: World, rate: Rate = RATE, allowance: FakeAllowance | None = None
    ) -> None:
        self.world = world
        self.waited: list[float] = []
        self.room = WaitingRoom(
            rate,
            wait_s=WAIT_S,
            monotonic=world.clock,
            call_later=world.call_later,
            on_turn=self.waited.append,
            on_late=self._late,
            allowance=allowance,
        )

    def _late(self, guest: Guest) -> None:
        guest.turn_away(Refusal(*REFUSALS[Reason.RATE], 1))

    def spend_burst(self) -> None:
        """Leave the bucket empty."""
        while self.room.take_turn():
            pass

    def join(self, count: int = 1) -> list[FakeGuest]:
        """Let guests come."""
        guests = [FakeGuest(self.world, number) for number in range(count)]
        for guest in guests:
            self.room.join(guest)
        return guests


@pytest.fixture
def world() -> World:
    """Time at its beginning."""
    return World()


def entered(guests: list[FakeGuest]) -> list[int]:
    """The names of those who are in."""
    return [guest.name for guest in guests if guest.entered_at is not None]


def test_guests_enter_in_order_at_the_rate(world: World) -> None:
    """While anybody waits, one is let in with every token and in the order they came."""
    room = Room(world)
    room.spend_burst()
    guests = room.join(15)
    world.pass_time(0.001)
    for count in range(1, 16):
        world.pass_time(0.1)
        assert entered(guests) == list(range(count))
    assert room.waited == pytest.approx([(number + 1) / 10 for number in range(15)], abs=0.003)


def test_a_room_has_one_timer(world: World) -> None:
    """However many wait, one timer runs, and none when nobody does."""
    room = Room(world)
    room.spend_burst()
    guests = room.join(10)
    assert len(world.timers) == 1
    world.pass_time(0.55)
    assert (len(entered(guests)), len(world.timers)) == (5, 1)
    world.pass_time(WAIT_S)
    assert (len(entered(guests)), world.timers) == (10, [])


def test_who_waits_too_long_is_sent_away(world: World) -> None:
    """Nobody waits longer than `wait`, whatever was expected."""
    room = Room(world, Rate(1, 1))
    room.spend_burst()
    guests = room.join(4)
    world.pass_time(WAIT_S)
    assert entered(guests) == [0, 1]
    assert [guest.refused_at and guest.refused_at - guest.came_at for guest in guests[2:]] == (
        pytest.approx([WAIT_S, WAIT_S], abs=0.003)
    )


def test_who_leaves_costs_no_token(world: World) -> None:
    """The place of a client that goes away is the next one's, and its token too."""
    room = Room(world)
    room.spend_burst()
    guests = room.join(4)
    room.room.leave(guests[0])
    guests[1].is_gone = True  # its transport is closing, and has not told yet
    world.pass_time(0.11)
    assert entered(guests) == [2]
    world.pass_time(0.1)
    assert entered(guests) == [2, 3]
    assert room.waited == pytest.approx([0.1, 0.2], abs=0.003)


def test_the_last_who_leaves_stops_the_timer(world: World) -> None:
    """An empty room waits for nothing; to leave twice is no harm."""
    room = Room(world)
    room.spend_burst()
    (guest,) = room.join()
    room.room.leave(guest)
    room.room.leave(guest)
    assert (world.timers, len(room.room)) == ([], 0)


def test_an_emptied_room_lets_nobody_in(world: World) -> None:
    """Who was taken out of the room is not its guest any more."""
    room = Room(world)
    room.spend_burst()
    guests = room.join(3)
    assert room.room.empty() == guests
    world.pass_time(WAIT_S)
    assert (entered(guests), len(room.room)) == ([], 0)


def test_a_late_ring_loses_no_turn_but_takes_few_at_once(world: World) -> None:
    """Tokens that came while the process stood still are used, in passes that let others run."""
    room = Room(world, Rate(1000, 200))
    room.spend_burst()
    guests = room.join(500)
    world.clock.advance(0.15)
    world.pass_time(0)
    assert len(entered(guests)) == MOST_TURNS
    world.pass_time(0.01)
    assert len(entered(guests)) == pytest.approx(160, abs=2)


def test_a_guest_that_breaks_does_not_hold_up_the_others(world: World) -> None:
    """An error of one guest's is not the end of the room."""
    room = Room(world)
    room.spend_burst()
    guests = room.join(2)
    guests[0].entered_at = 0.0  # entering again fails
    world.pass_time(0.11)
    world.pass_time(0.1)
    assert entered(guests) == [0, 1]


class Came(NamedTuple):
    """A guest of a random crowd: how long after the one before, and when it goes by itself."""

    after_s: float
    leaves_after_s: float | None


crowds = st.lists(
    st.builds(
        Came,
        after_s=st.one_of(st.just(0.0), st.floats(0, 1)),
        leaves_after_s=st.one_of(st.none(), st.none(), st.floats(0, 3)),
    ),
    max_size=80,
)


@given(
    crowds, st.sampled_from([(1, 1), (5, 1), (10, 5), (200, 20), (2000, 200)]), st.floats(0, 0.05)
)
def test_any_crowd_is_let_in_fairly(
    crowd: list[Came], rate: tuple[int, int], lateness_s: float
) -> None:
    """No window sees more than rate x t + burst enter; order holds; nobody waits beyond `wait`.

    Whether or not clients go away meanwhile, and however late the loop rings.
    """
    world = World()
    room = Room(world, Rate(*rate))
    guests: list[FakeGuest] = []
    for number, came in enumerate(crowd):
        world.pass_time(came.after_s)
        world.clock.advance(lateness_s)
        guest = FakeGuest(world, number)
        if len(room.room) == 0 and room.room.take_turn():
            guest.enter()
        else:
            room.room.join(guest)
            if came.leaves_after_s is not None:
                world.call_later(came.leaves_after_s, lambda gone=guest: room.room.leave(gone))  # type: ignore[misc]
        guests.append(guest)
    world.pass_time(10)
    assert len(room.room) == 0
    times = [guest.entered_at for guest in guests if guest.entered_at is not None]
    assert times == sorted(times)
    per_second, burst = rate
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            assert last - first + 1 <= burst + per_second * (times[last] - start) + 0.01
    for guest in guests:
        if guest.entered_at is not None:
            assert guest.entered_at - guest.came_at <= WAIT_S + 1e-5
        if guest.refused_at is not None:
            assert guest.refused_at - guest.came_at >= WAIT_S - 1e-5


# --- the cluster's limit --------------------------------------------------------------------------


async def test_who_waits_needs_a_permit_of_the_cluster_too(world: World) -> None:
    """Permits are leased for as many as wait; who has one enters with its token."""
    allowance = FakeAllowance()
    allowance.leases = [Lease(2, rate_per_s=20)]
    room = Room(world, allowance=allowance)
    assert (room.room.take_turn(), room.room.turn_wait_s()) == (False, None)
    guests = room.join(3)
    await settle()
    assert (allowance.asked, entered(guests)) == ([3], [0, 1])


@pytest.mark.parametrize(("rate_per_s", "asks_per_s"), [(20, 10), (0, 50), (5000, 50)])
async def test_permits_are_asked_for_at_a_pace(
    world: World, rate_per_s: float, asks_per_s: float
) -> None:
    """A node asks again when its part of the rate has made up for its lease, and not faster."""
    allowance = FakeAllowance()
    allowance.leases = [Lease(2, rate_per_s=rate_per_s) for _ in range(60)]
    room = Room(world, Rate(1000, 100), allowance=allowance)
    guests = room.join(200)
    for _ in range(1000):
        await settle(5)
        world.pass_time(0.001)
    assert len(allowance.asked) == pytest.approx(asks_per_s, rel=0.1)
    assert len(entered(guests)) == pytest.approx(2 * asks_per_s, rel=0.1)


async def test_no_more_permits_are_asked_for_than_can_be_used(world: World) -> None:
    """A node with many guests and a low rate of its own leaves the permits to others."""
    allowance = FakeAllowance()
    room = Room(world, Rate(10, 5), allowance=allowance)
    room.join(60)
    await settle()
    assert allowance.asked == [10]


async def test_no_permits_are_asked_for_again(world: World) -> None:
    """A lease of nothing says when to ask again; who has waited too long meanwhile is sent away."""
    allowance = FakeAllowance()
    allowance.leases = [Lease(0, retry_after_s=0.5), Lease(1)]
    room = Room(world, allowance=allowance)
    guests = room.join(2)
    await settle()
    world.pass_time(0.4)
    await settle()
    assert entered(guests) == []
    world.pass_time(0.1)
    await settle()
    assert entered(guests) == [0]
    world.pass_time(WAIT_S)
    await settle()
    assert guests[1].refused_at is not None


async def test_a_lease_that_is_not_used_expires(world: World) -> None:
    """Permits cannot be saved up: after their life the next guest needs new ones."""
    allowance = FakeAllowance()
    allowance.leases = [Lease(2, life_s=1.0, rate_per_s=10)]
    room = Room(world, allowance=allowance)
    room.join()
    await settle()
    assert room.room.turn_wait_s() == 0
    world.pass_time(1.0)
    assert not room.room.take_turn()
    assert room.room.turn_wait_s() == pytest.approx(0.1)


async def test_a_slow_store_is_asked_once(world: World) -> None:
    """While a lease is under way nothing more is asked; guests are sent away when time is up."""
    allowance = FakeAllowance()
    allowance.answers.clear()
    room = Room(world, allowance=allowance)
    guests = room.join(3)
    await settle()
    world.pass_time(WAIT_S + 0.1)
    assert [guest.refused_at is not None for guest in guests] == [True] * 3
    guests = room.join(1)
    await settle()
    assert allowance.asked == [3]
    allowance.leases = [Lease(1, life_s=5)]
    allowance.answers.set()
    await settle()
    assert entered(guests) == [0]


async def test_a_closed_room_asks_for_nothing(world: World) -> None:
    """Closing ends the question that is under way."""
    allowance = FakeAllowance()
    allowance.answers.clear()
    room = Room(world, allowance=allowance)
    room.join()
    await settle()
    room.room.empty()
    room.room.close()
    await settle()
    assert (len(allowance.asked), world.timers) == (1, [])
