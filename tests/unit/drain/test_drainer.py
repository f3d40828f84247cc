"""The drainer on a clock of its own: clients, door and budget are fakes, the task is real."""

from __future__ import annotations

import asyncio
import gc
import weakref
from random import Random
from typing import TYPE_CHECKING

import pytest

from realtime_node.admission.door import Door
from realtime_node.cluster.allowance import Lease
from realtime_node.cluster.pool import Pool
from realtime_node.drain.drainer import Drainer
from realtime_node.drain.plan import UNLIMITED, Order
from realtime_node.protocol.codes import CloseCode
from realtime_node.telemetry.metrics import Metrics
from tests.support.draining import busiest_second, mean_rate, refusal
from tests.support.looptime import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

BUDGET_PER_S = 50.0


class FakeClient:
    """A connection that notes its end."""

    def __init__(self, crowd: FakeClients) -> None:
        self._crowd = crowd

    @property
    def is_open(self) -> bool:
        """Whether it is still there."""
        return self in self._crowd.open

    def close(self, close: CloseCode) -> None:
        """Go."""
        self._crowd.open.remove(self)
        self._crowd.closes.append((asyncio.get_running_loop().time(), close.code))


class FakeClients:
    """The connections of a node."""

    def __init__(self, count: int) -> None:
        self.open = {FakeClient(self) for _ in range(count)}
        self.closes: list[tuple[float, int]] = []

    @property
    def num_open(self) -> int:
        """How many are left."""
        return len(self.open)

    def list_open(self) -> Sequence[FakeClient]:
        """Each of them."""
        return list(self.open)

    @property
    def times(self) -> list[float]:
        """When clients were closed."""
        return [at for at, _ in self.closes]


class FakeAllowance:
    """A budget in memory that remembers what it gave."""

    def __init__(self, rate_per_s: float = BUDGET_PER_S) -> None:
        self.rate_per_s = rate_per_s
        self.leased = 0
        self.is_away = False
        self._pool = Pool()

    async def lease(self, wanted: int) -> Lease:
        """Give what there is."""
        if self.is_away:
            return Lease(0, retry_after_s=0.2, is_local=True)
        now = asyncio.get_running_loop().time()
        lease = self._pool.lease("me", wanted, self.rate_per_s, now)
        self.leased += lease.permits
        return lease


class Bench:
    """A drainer and all around it."""

    def __init__(self, clients: int = 100, *, propagation_s: float = 3.0) -> None:
        now = asyncio.get_running_loop().time
        self.now = now
        self.clients = FakeClients(clients)
        self.door = Door(now, lambda: 0.0)
        self.allowance = FakeAllowance()
        self.metrics = Metrics()
        self.drainer = Drainer(
            self.clients,
            self.door,
            self.allowance,
            self.metrics.drain,
            propagation_s=propagation_s,
            monotonic=now,
            random=Random(5).random,  # noqa: S311 - dice
        )
        self.drainer.start()

    def count(self, name: str) -> float:
        """What a metric says."""
        for line in self.metrics.expose().decode().splitlines():
            if line.startswith(f"realtime_{name} "):
                return float(line.split()[-1])
        raise AssertionError(f"there is no {name}")


def bench(test: Callable[[Bench], Awaitable[None]]) -> Callable[[], None]:
    """Run a test on a loop whose time passes by itself whenever everybody waits."""

    def run() -> None:
        async def body() -> None:
            made = Bench()
            try:
                await test(made)
            finally:
                await made.drainer.stop()

        run_in_virtual_time(body())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


DRAIN = Order(is_to_empty=True, reason="rollout")


@bench
async def test_a_drain_closes_all_at_what_the_budget_gives(at: Bench) -> None:
    """After the propagation, with 3001, at the leased rate, and never without a permit."""
    at.drainer.order(DRAIN)
    began = at.now()
    assert refusal(at.door) == "rollout"
    await asyncio.sleep(3.5)
    assert at.drainer.status().phase == "draining"
    assert at.drainer.status().rate_per_s == BUDGET_PER_S
    await asyncio.sleep(10)
    assert {code for _, code in at.clients.closes} == {3001}
    assert at.clients.times[0] - began == pytest.approx(3.0, abs=0.1)
    assert mean_rate(at.clients.times) == pytest.approx(BUDGET_PER_S, rel=0.1)
    assert busiest_second(at.clients.times) <= 1.3 * BUDGET_PER_S
    assert len(at.clients.closes) <= at.allowance.leased
    status = at.drainer.status()
    assert (status.phase, status.remaining, status.closed_total) == ("drained", 0, 100)
    assert at.door.is_cordoned
    assert at.count('drain_closes_total{cause="drain"}') == 100
    assert at.count('drain_phase{phase="drained"}') == 1
    assert at.count('drain_phase{phase="serving"}') == 0


@bench
async def test_a_drain_is_never_faster_than_asked(at: Bench) -> None:
    """A rate below the budget is kept, and tells when it will be over."""
    at.drainer.order(Order(is_to_empty=True, rate_per_s=10))
    await asyncio.sleep(8)
    status = at.drainer.status()
    assert status.rate_per_s == 10
    assert status.eta_s == pytest.approx(status.remaining / 10)
    await asyncio.sleep(6)
    assert mean_rate(at.clients.times) == pytest.approx(10, rel=0.05)
    assert busiest_second(at.clients.times) <= 12


@bench
async def test_a_window_is_filled(at: Bench) -> None:
    """A drain that has time takes it: the last goes at its end."""
    at.drainer.order(Order(is_to_empty=True, window_s=20))
    await asyncio.sleep(3 + 21)
    assert len(at.clients.closes) == 100
    assert at.clients.times[-1] - at.clients.times[0] == pytest.approx(20, abs=1.0)


@bench
async def test_an_abort_stops_at_once(at: Bench) -> None:
    """Nobody is closed after it, and the door is open."""
    at.drainer.order(DRAIN)
    await asyncio.sleep(4)
    assert at.drainer.abort()
    closed = len(at.clients.closes)
    assert 0 < closed < 100
    await asyncio.sleep(60)
    assert len(at.clients.closes) == closed
    assert refusal(at.door) == ""
    status = at.drainer.status()
    assert (status.phase, status.id, status.reason, status.remaining) == ("serving", "", "", 0)


@bench
async def test_each_drain_has_an_id_of_its_own(at: Bench) -> None:
    """The same while it is repeated or changed, another after an abort."""
    ids = []
    for _ in range(2):
        at.drainer.order(DRAIN)
        ids.append(at.drainer.status().id)
        at.drainer.order(Order(is_to_empty=True, rate_per_s=1))
        assert at.drainer.status().id == ids[-1]
        at.drainer.abort()
    assert ids[0]
    assert ids[0] != ids[1]


@bench
async def test_a_deadline_is_moved_when_the_budget_is_short(at: Bench) -> None:
    """It is counted and shown, and the budget is kept."""
    at.allowance.rate_per_s = 5
    at.drainer.order(Order(is_to_empty=True, deadline_s=10))
    await asyncio.sleep(11)
    left = at.drainer.status().deadline_in_s
    assert left is not None
    assert left > 5
    assert at.count("drain_deadline_extensions_total") == 1
    await asyncio.sleep(20)
    assert at.drainer.status().phase == "drained"
    assert busiest_second(at.clients.times) <= 7


@bench
async def test_a_signal_ends_within_its_grace_whatever_the_budget_says(at: Bench) -> None:
    """What the budget does not allow is forced, spread, before the goodbyes."""
    at.allowance.is_away = True
    began = at.now()
    at.drainer.end(30)
    await at.drainer.wait_emptied()
    assert at.now() - began <= 24
    assert at.clients.times[0] - began >= 19
    assert busiest_second(at.clients.times) <= 40
    assert at.drainer.exit_at == began + 30
    assert at.count('drain_closes_total{cause="forced"}') == 100


@bench
async def test_a_signal_with_a_budget_forces_nobody(at: Bench) -> None:
    """It closes as fast as the budget allows and is done then."""
    began = at.now()
    at.drainer.end(30)
    await at.drainer.wait_emptied()
    assert at.now() - began == pytest.approx(3 + 2, abs=0.3)
    assert at.count('drain_closes_total{cause="forced"}') == 0


@bench
async def test_without_clients_a_signal_ends_at_once(at: Bench) -> None:
    """No propagation is waited for."""
    at.clients.open.clear()
    began = at.now()
    at.drainer.end(30)
    await at.drainer.wait_emptied()
    assert at.now() - began < 0.01


@bench
async def test_a_second_signal_hurries(at: Bench) -> None:
    """All are gone within a second and a half, not all at once; a third changes little."""
    at.drainer.end(30)
    await asyncio.sleep(1)
    at.drainer.end(30)
    began = at.now()
    await at.drainer.wait_emptied()
    assert at.now() - began == pytest.approx(1.5, abs=0.2)
    assert busiest_second(at.clients.times, span_s=0.2) <= 35


@bench
async def test_a_node_that_ends_itself_keeps_to_the_budget(at: Bench) -> None:
    """Its reason is told; the first signal that comes on top of it does not hurry yet."""
    began = at.now()
    at.drainer.end_itself(30, "this node fails: inbox")
    assert at.drainer.is_ending
    assert at.drainer.status().reason == "this node fails: inbox"
    await asyncio.sleep(1)
    at.drainer.end(30)
    assert at.drainer.exit_at == began + 30
    await at.drainer.wait_emptied()
    assert at.now() - began == pytest.approx(3 + 2, abs=0.3)
    assert at.count('drain_closes_total{cause="forced"}') == 0


@bench
async def test_a_drain_that_does_not_work_keeps_no_process_alive(at: Bench) -> None:
    """With its task broken, time alone ends the wait: before the goodbyes are due."""
    await at.drainer.stop()
    began = at.now()
    at.drainer.end(30)
    await at.drainer.wait_emptied()
    assert 24 <= at.now() - began <= 29
    assert at.clients.num_open == 100


@bench
async def test_clients_that_leave_by_themselves_are_not_waited_for(at: Bench) -> None:
    """A drain is over when nobody is left, whoever sent them away."""
    at.drainer.order(Order(is_to_empty=True, rate_per_s=1))
    await asyncio.sleep(5)
    at.clients.open.clear()
    await asyncio.sleep(2)
    assert at.drainer.status().phase == "drained"


# --- shed -------------------------------------------------------------------------------------


@bench
async def test_a_shed_closes_so_many_and_the_node_serves_on(at: Bench) -> None:
    """With 3011, at the asked rate, the door open."""
    assert at.drainer.shed(30, 10)
    await asyncio.sleep(1)
    assert at.drainer.shed(30, 10)
    assert refusal(at.door) == ""
    await asyncio.sleep(10)
    assert [code for _, code in at.clients.closes] == [3011] * 30
    assert mean_rate(at.clients.times) == pytest.approx(10, rel=0.1)
    assert at.drainer.shedding is None
    assert at.drainer.status().phase == "serving"
    assert at.count('drain_closes_total{cause="shed"}') == 30


@bench
async def test_a_shed_can_be_changed_and_ended(at: Bench) -> None:
    """A larger count goes on from what was closed; 0 ends it."""
    at.drainer.shed(10, 5)
    await asyncio.sleep(1.5)
    at.drainer.shed(20, UNLIMITED)
    await asyncio.sleep(3)
    assert len(at.clients.closes) == 20
    at.drainer.shed(50, 1)
    await asyncio.sleep(2.5)
    at.drainer.shed(0, UNLIMITED)
    await asyncio.sleep(60)
    assert len(at.clients.closes) < 25


@bench
async def test_a_shed_that_was_ended_holds_on_to_nobody(at: Bench) -> None:
    """Clients that go by themselves later are let go of."""
    at.drainer.shed(50, 1)
    await asyncio.sleep(2.5)
    at.drainer.shed(0, UNLIMITED)
    await asyncio.sleep(1)
    left = [weakref.ref(client) for client in at.clients.open]
    at.clients.open.clear()
    gc.collect()
    assert [client for client in left if client() is not None] == []


@bench
async def test_a_drain_takes_the_place_of_a_shed(at: Bench) -> None:
    """And while the node is to be empty there is none."""
    at.drainer.shed(50, 1)
    await asyncio.sleep(2)
    assert at.drainer.shedding
    at.drainer.order(DRAIN)
    assert not at.drainer.shed(50, 1)
    assert at.drainer.status().phase == "cordoned"
    await asyncio.sleep(6)
    assert at.count('drain_closes_total{cause="shed"}') < 5
