"""Every loop, job and callback of a node, each hit once by what nobody expected: its work goes on.

A case builds the part, lets one call inside it raise, and returns once the work was done all the
same. That the exception was noted is looked at for every case. Time passes by itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final
from unittest import mock

import pytest

from realtime_node.admission.door import Door
from realtime_node.admission.token_bucket import Rate
from realtime_node.admission.waiting_room import WaitingRoom
from realtime_node.cluster.allowance import Lease
from realtime_node.cluster.backplane import EntryKind
from realtime_node.cluster.in_memory.verdicts import InMemoryVerdicts
from realtime_node.delivery.flow import BatchRule, Flow
from realtime_node.delivery.hub import Hub
from realtime_node.delivery.policies import Reason
from realtime_node.delivery.slow_clients import SlowLimits
from realtime_node.drain.drainer import Drainer
from realtime_node.drain.plan import Order
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.failures import Failures, recording
from realtime_node.protocol.json_codec import JsonCodec
from realtime_node.protocol.messages import ClientInfo, StreamPosition
from realtime_node.proxy.answers import ConnectVerdict
from realtime_node.proxy.cached import Cached
from realtime_node.proxy.keeper import Keeper
from realtime_node.session.departures import Departure, Departures
from realtime_node.supervision import guarded
from realtime_node.telemetry.loop_probe import LoopProbe
from realtime_node.telemetry.metrics import Metrics
from tests.support.fakes import (
    FakeBackplane,
    FakeClock,
    FakeNode,
    FakePresence,
    FakeSlowClients,
    entry,
    framer_of,
    settle,
)
from tests.support.looptime import run_in_virtual_time
from tests.unit.delivery.listeners import Listener

ANN: Final = ClientInfo(user="u", client="ann")
ERRORS: Final = [ValueError("a bug"), asyncio.CancelledError()]
NEVER_S: Final = 600.0
"""Of a time that takes no time."""
SESSIONS: Final[dict[str, Any]] = {
    "allow_anonymous_connect_without_token": True,
    "session": {"enabled": True},
}


class Counts:
    """Counts what is noted."""

    def __init__(self) -> None:
        self.noted: Counter[str] = Counter()

    def restarted(self, loop: str) -> None:
        """Count it."""
        self.noted[loop] += 1

    def callback_failed(self, where: str) -> None:
        """Count it."""
        self.noted[where] += 1


class Once:
    """Takes the place of a function, and raises when it is called for the first time."""

    def __init__(self, function: Callable[..., Any], error: BaseException) -> None:
        self._function = function
        self._error: BaseException | None = error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise, or call the function."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._function(*args, **kwargs)

    @property
    def is_spent(self) -> bool:
        """Whether it has raised."""
        return self._error is None


Fault = Callable[[object, str], Once]
"""Lets the method of an object raise once."""


async def comes(condition: Callable[[], object]) -> None:
    """Return when a condition is met."""
    async with asyncio.timeout(NEVER_S):
        while not condition():
            await asyncio.sleep(0.01)


def call_later(delay_s: float, call: Callable[[], object]) -> asyncio.TimerHandle:
    """Call later as the composition does for parts that take no loop."""
    return asyncio.get_running_loop().call_later(delay_s, guarded(call, where="later"))


# --- delivery -------------------------------------------------------------------------------------


def _hub(flow: Flow = Flow()) -> tuple[Hub, JsonCodec]:  # noqa: B008 - it is frozen
    codec = JsonCodec()
    slow = FakeSlowClients()
    slow.now = asyncio.get_running_loop().time
    hub = Hub(
        codec,
        Metrics().delivery,
        slow,
        framer=framer_of(),
        flow_of=lambda _channel: flow,
        on_deserted=lambda _channel: None,
        on_control=lambda _control: None,
    )
    return hub, codec


def _member(hub: Hub, channel: str = "a") -> Listener:
    member = Listener(hub, channel)
    member.join(StreamPosition())
    return member


async def entries_that_arrive(fault: Fault) -> None:
    """An entry that cannot be taken."""
    hub, codec = _hub()
    member = _member(hub)
    fault(codec, "encode_push")
    await hub.receive([entry("a", 1), entry("a", 2)])
    await comes(lambda: member.data == [2])


async def a_pass_of_the_delivery(fault: Fault) -> None:
    """A channel that cannot be served."""
    hub, codec = _hub()
    member, other = _member(hub), _member(hub, "b")
    fault(codec, "join")
    await hub.receive([entry("a", 1), entry("b", 1)])
    await hub.receive([entry("a", 2)])
    await comes(lambda: other.data == [1])
    await hub.receive([entry("a", 3)])
    await comes(lambda: member.data[-1:] == [3])


async def the_end_of_a_pass(fault: Fault) -> None:
    """What is done behind all channels of a pass."""
    hub, _ = _hub()
    member = _member(hub)
    fault(hub._rounds, "_on_pass")
    await hub.receive([entry("a", 1)])
    await comes(lambda: member.data == [1])
    await hub.receive([entry("a", 2)])
    await comes(lambda: member.data == [1, 2])


async def the_alarm_of_intervals(fault: Fault) -> None:
    """The timer for channels that wait for the clock."""
    hub, _ = _hub(Flow(batch=BatchRule(interval_s=1)))
    member = _member(hub)
    await hub.receive([entry("a", 1)])
    await comes(lambda: member.data == [1])
    await hub.receive([entry("a", 2)])
    fault(hub._rounds, "_now")
    await comes(lambda: member.data == [1, 2])


async def the_look_at_slow_clients(fault: Fault) -> None:
    """The kernel that does not say what it holds for a client."""
    hub, _ = _hub()
    slow = hub._slow
    slow._schedule = call_later
    clients = [_member(hub) for _ in range(2)]
    for each in clients:
        each.transport.stall()
        each.outbound.send(b"x" * 2000)
    fault(slow, "unsent_bytes")
    await comes(lambda: [each.ends for each in clients] == [[Reason.STALLED]] * 2)


async def the_memory_of_slow_clients(fault: Fault) -> None:
    """A client that cannot be cut off when memory is short."""
    hub, _ = _hub()
    slow = hub._slow
    slow._schedule = call_later
    clients = [_member(hub) for _ in range(3)]
    for each in clients:
        each.transport.stall()
        each.outbound.send(b"x" * 2000)
    fault(slow, "gave_up")
    slow.change(SlowLimits(client_bytes=2000, node_bytes=1, write_timeout_s=NEVER_S * 2))
    await comes(lambda: slow.budget.bytes == 0)


async def the_loop_probe(fault: Fault) -> None:
    """A sample that cannot be taken."""
    probe = LoopProbe(asyncio.get_running_loop().time, FakeClock(0))
    probe.start()
    fault(probe, "sample")
    await comes(lambda: len(probe._lags) > 2)
    probe.stop()


# --- sessions -------------------------------------------------------------------------------------


async def _departs(fault: Fault, store: str, method: str) -> None:
    stores = {"backplane": FakeBackplane(), "presence": FakePresence()}
    presence: Any = stores["presence"]
    backplane: Any = stores["backplane"]
    departures = Departures(backplane, presence)
    await presence.add("a", ANN)
    told: list[str] = []
    announce = backplane.announce

    async def announced(channel: str, kind: EntryKind, info: ClientInfo) -> None:
        told.append(channel)
        await announce(channel, kind, info)

    backplane.announce = announced
    fault(stores[store], method)
    for channel in "ab":
        departures.add(channel, Departure(ANN, has_presence=True, announces=True))
    await comes(lambda: not len(departures))
    await departures.drain()
    assert presence.present["a"] == {}
    assert sorted(told) == ["a", "b"]
    await departures.close()


async def a_departure_that_is_removed(fault: Fault) -> None:
    """A presence entry that cannot be taken out."""
    await _departs(fault, "presence", "remove")


async def a_departure_that_is_announced(fault: Fault) -> None:
    """A leave that cannot be told."""
    await _departs(fault, "backplane", "announce")


async def the_list_of_departures(fault: Fault) -> None:
    """The job itself, between two rounds."""
    presence = FakePresence()
    departures = Departures(FakeBackplane(), presence)
    await presence.add("a", ANN)
    fault(departures._chore, "_next_steps")
    departures.add("a", Departure(ANN, has_presence=True, announces=False))
    await comes(lambda: not presence.present["a"])
    await departures.drain()
    await departures.close()


async def the_end_of_a_grace(fault: Fault) -> None:
    """The timer of clients that are held."""
    presence = FakePresence()
    departures = Departures(
        FakeBackplane(),
        presence,
        monotonic=asyncio.get_running_loop().time,
    )
    await presence.add("a", ANN)
    departure = Departure(ANN, has_presence=True, announces=False)
    departures.add("a", departure, after_s=1)
    fault(departures, "_monotonic")
    await comes(lambda: not presence.present["a"])
    await departures.close()


async def _writes(fault: Fault, method: str) -> None:
    node = FakeNode(client=SESSIONS)
    client = node.client()
    reply = await client.ask(connect={"data": {"session": "new"}})
    fault(node.sessions, method)
    if method == "write":
        node.keeper.touch(client.session)
    else:
        client.session.ended()
    await comes(lambda: not len(node.keeper))
    await node.keeper.drain()
    back = node.client()
    again = await back.ask(connect={"data": {"session": reply["connect"]["data"]["session"]}})
    assert again["connect"]["data"]["resumed"]


async def a_record_that_is_written(fault: Fault) -> None:
    """The record of a session."""
    await _writes(fault, "write")


async def a_record_that_is_released(fault: Fault) -> None:
    """The record of a connection that ended."""
    await _writes(fault, "release")


async def a_claim_that_is_undone(fault: Fault) -> None:
    """A claim without an answer: its place is free again once it was undone."""
    node = FakeNode(client=SESSIONS)
    node.sessions.failing["claim"] = BackplaneUnavailableError("no answer")
    fault(node.sessions, "release")
    assert "error" in await node.client().ask(connect={"data": {"session": "new"}})
    await comes(lambda: not len(node.keeper) and not node.keeper._undoing)


async def a_connection_that_is_superseded(fault: Fault) -> None:
    """The other node, which is to be told that a session was taken over."""
    node = FakeNode(client=SESSIONS)
    reply = await node.client().ask(connect={"data": {"session": "new"}})
    other = FakeNode(beside=node)
    fault(other.sessions, "tell_superseded")
    session = reply["connect"]["data"]["session"]
    again = await other.client().ask(connect={"data": {"session": session}})
    assert again["connect"]["data"]["resumed"]
    assert not other.keeper._telling


# --- admission and drains -------------------------------------------------------------------------


class Pool:
    """Clients that can be closed, and a budget that closes them."""

    def __init__(self, count: int = 5) -> None:
        self.open = [Connection(self) for _ in range(count)]

    @property
    def num_open(self) -> int:
        """How many are left."""
        return len(self.open)

    def list_open(self) -> list[Connection]:
        """Each of them."""
        return list(self.open)

    async def lease(self, wanted: int) -> Lease:
        """Give everything that is wanted."""
        return Lease(wanted, rate_per_s=100)


class Connection:
    """One of them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def is_open(self) -> bool:
        """Whether it is still there."""
        return self in self._pool.open

    def close(self, _close: object) -> None:
        """Go."""
        self._pool.open.remove(self)


class Drain:
    """A drainer, and what it drains."""

    def __init__(self) -> None:
        self.pool = Pool()
        now = asyncio.get_running_loop().time
        self.drainer = Drainer(
            self.pool,
            Door(now, lambda: 0.0),
            self.pool,
            Metrics().drain,
            propagation_s=1.0,
            monotonic=now,
            random=Random(5).random,  # noqa: S311 - dice
        )
        self.drainer.start()

    async def runs(self) -> None:
        """Drain the node and see everybody go."""
        self.drainer.order(Order(is_to_empty=True, reason="rollout"))
        await comes(lambda: not self.pool.num_open)
        await self.drainer.stop()


async def a_drain_without_permits(fault: Fault) -> None:
    """The budget of a drain."""
    drain = Drain()
    fault(drain.pool, "lease")
    await drain.runs()


async def a_client_that_is_drained(fault: Fault) -> None:
    """A client that cannot be closed."""
    drain = Drain()
    fault(drain.pool.open[0], "close")
    await drain.runs()


async def the_last_step_of_a_drain(fault: Fault) -> None:
    """What follows from being drained: the node ends all the same."""
    drain = Drain()
    drain.drainer.end(30)
    fault(drain.drainer._closer, "forget")
    await asyncio.wait_for(drain.drainer.wait_emptied(), NEVER_S)
    assert not drain.pool.num_open
    await drain.drainer.stop()


class Guest:
    """A handshake that waits."""

    is_gone = False

    def __init__(self) -> None:
        self.has_entered = False

    def enter(self) -> None:
        """Come in."""
        self.has_entered = True

    def turn_away(self, _refusal: object) -> None:
        """Never."""
        raise AssertionError("nobody waits so long")


def _room(pool: Pool | None = None) -> WaitingRoom:
    loop = asyncio.get_running_loop()
    return WaitingRoom(
        Rate(10, 1),
        wait_s=NEVER_S,
        monotonic=loop.time,
        call_later=call_later,
        on_turn=lambda _waited_s: None,
        on_late=lambda _guest: None,
        allowance=pool,
    )


async def the_permits_of_arrivals(fault: Fault) -> None:
    """The budget of those who come."""
    pool = Pool()
    fault(pool, "lease")
    room = _room(pool)
    guests = [Guest() for _ in range(3)]
    for guest in guests:
        room.join(guest)
    await comes(lambda: all(guest.has_entered for guest in guests))
    room.close()


async def a_guest_whose_turn_comes(fault: Fault) -> None:
    """A handshake that cannot be let in."""
    room = _room()
    guests = [Guest() for _ in range(3)]
    fault(guests[0], "enter")
    for guest in guests:
        room.join(guest)
    await comes(lambda: all(guest.has_entered for guest in guests[1:]))
    assert not len(room)
    room.close()


async def a_guest_when_the_door_is_shut(fault: Fault) -> None:
    """A handshake that cannot be turned away."""
    door = Door(asyncio.get_running_loop().time, lambda: 0.0)
    guests = [mock.Mock(is_gone=False), mock.Mock(is_gone=False)]
    for guest in guests:
        door.wait(guest)
    fault(guests[0], "turn_away")
    door.cordon("drain")
    guests[1].turn_away.assert_called_once()


# --- proxies --------------------------------------------------------------------------------------


async def a_verdict_that_is_prolonged(fault: Fault) -> None:
    """The store of the answers that are kept."""
    now = asyncio.get_running_loop().time
    store = InMemoryVerdicts(clock=now)
    keeper = Keeper(store, life_s=10, interval_s=3, monotonic=now, wall_clock=now)
    await store.keep(b"k", b"v", user="u", stamp=0, ttl_ms=10_000)
    keeper.leases.hold(b"k", 0)
    fault(store, "prolong")
    keeper.start()
    await asyncio.sleep(30)
    assert (await store.find(b"k")).verdict == b"v"
    await keeper.close()


def _cached() -> tuple[Cached[ConnectVerdict], InMemoryVerdicts]:
    store = InMemoryVerdicts(clock=asyncio.get_running_loop().time)
    cached = Cached(
        ConnectVerdict,
        store,
        mock.Mock(),
        life_s=60,
        wall_clock=asyncio.get_running_loop().time,
    )
    return cached, store


async def _asks(cached: Cached[ConnectVerdict], question: Callable[[], Awaitable[Any]]) -> Any:
    return await cached.ask(b"k", question, lambda verdict: verdict.user)


async def an_answer_that_is_looked_up(fault: Fault) -> None:
    """The store of answers, when one is asked for: the backend is asked instead."""
    cached, store = _cached()
    fault(store, "find")

    async def question() -> ConnectVerdict:
        return ConnectVerdict(user="ann")

    assert (await _asks(cached, question)).user == "ann"
    await cached.close()


async def an_answer_that_is_kept(fault: Fault) -> None:
    """The store of answers, when one came: the next one is kept."""
    cached, store = _cached()
    fault(store, "keep")

    async def question() -> ConnectVerdict:
        return ConnectVerdict(user="ann")

    for _ in range(2):
        assert (await _asks(cached, question)).user == "ann"
        await settle()
    assert (await store.find(b"k")).verdict is not None
    assert not cached._tasks
    await cached.close()


CASES: Final = [
    entries_that_arrive,
    a_pass_of_the_delivery,
    the_end_of_a_pass,
    the_alarm_of_intervals,
    the_look_at_slow_clients,
    the_memory_of_slow_clients,
    the_loop_probe,
    a_departure_that_is_removed,
    a_departure_that_is_announced,
    the_list_of_departures,
    the_end_of_a_grace,
    a_record_that_is_written,
    a_record_that_is_released,
    a_claim_that_is_undone,
    a_connection_that_is_superseded,
    a_drain_without_permits,
    a_client_that_is_drained,
    the_last_step_of_a_drain,
    the_permits_of_arrivals,
    a_guest_whose_turn_comes,
    a_guest_when_the_door_is_shut,
    a_verdict_that_is_prolonged,
    an_answer_that_is_looked_up,
    an_answer_that_is_kept,
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_its_work_goes_on(case: Callable[[Fault], Awaitable[None]], error: BaseException) -> None:
    """The exception is noted once, and costs what it hit at most one turn."""
    counts = Counts()
    faults: list[Once] = []

    def fault(where: object, method: str) -> Once:
        faults.append(Once(getattr(where, method), error))
        setattr(where, method, faults[-1])
        return faults[-1]

    async def run() -> None:
        with recording(Failures(counts)):
            await case(fault)

    run_in_virtual_time(run())
    assert [each.is_spent for each in faults] == [True]
    assert sum(counts.noted.values()) == 1, counts.noted
