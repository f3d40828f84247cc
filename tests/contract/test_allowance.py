"""The contract of the allowances, held against every implementation with several nodes."""

from __future__ import annotations

import time
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_node.cluster.allowance import Traffic, reconnect_rate
from realtime_node.cluster.arrivals import Arrivals
from realtime_node.cluster.pool import BUCKET_S, Pool
from realtime_node.errors import BackplaneUnavailableError
from tests.support.backplanes import MemoryCluster
from tests.support.conditions import eventually
from tests.support.draining import busiest_second

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_node.cluster.allowance import Allowance, Lease
    from tests.support.backplanes import Cluster, Node

PER_NODE = 100.0


class Door:
    """What a node says about its arrivals."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.accepts = accepts
        self.accepted = 0

    def traffic(self) -> Traffic:
        """See `ReconnectBudget.observe`."""
        return Traffic(self.accepts, self.accepted)


async def _node(cluster: Cluster, name: str, *, accepts: bool = True) -> tuple[Node, Door]:
    node, door = await cluster.node(name), Door(accepts=accepts)
    node.reconnects.observe(door.traffic)
    return node, door


async def _accepting(cluster: Cluster, node: Node, count: int) -> None:
    """Wait until a node knows of so many that accept."""

    def knows() -> bool:
        return node.reconnects.known().accepting == count

    if isinstance(cluster, MemoryCluster):
        assert knows()
    else:
        await eventually(knows, what=f"{count} nodes accept")


async def _spend(
    cluster: Cluster, allowances: Sequence[Allowance], wanted: int, seconds: float
) -> tuple[list[float], Lease]:
    """Lease as drains on several nodes do; when each permit was given, and the last lease."""
    clock = cluster.clock
    times: list[float] = []
    ends = clock() + seconds
    due = [(clock(), index) for index in range(len(allowances))]
    while True:
        at, index = heappop(due)
        if at > clock():
            await cluster.pass_time(at - clock())
        lease = await allowances[index].lease(wanted)
        times += [clock()] * lease.permits
        pause = lease.permits / lease.rate_per_s if lease.permits else lease.retry_after_s
        heappush(due, (clock() + pause, index))
        if due[0][0] >= ends:
            return times, lease


async def test_all_leases_of_all_nodes_stay_within_the_rate(cluster: Cluster) -> None:
    """Three nodes that want all they can get share the budget of those that accept."""
    nodes = [await _node(cluster, name) for name in "abc"]
    nodes[0][1].accepts = False
    await _accepting(cluster, nodes[1][0], 2)
    times, _ = await _spend(cluster, [node.reconnects for node, _ in nodes], 10_000, 2.0)
    rate = 2 * PER_NODE
    assert len(times) <= rate * 2.0 + rate
    assert busiest_second(times) <= 1.3 * rate
    assert len(times) >= 0.6 * rate * 2.0


async def test_a_lone_node_may_close_its_clients(cluster: Cluster) -> None:
    """Where nobody accepts the budget is one node's, so that every drain ends."""
    node, _ = await _node(cluster, "a", accepts=False)
    _, lease = await _spend(cluster, [node.reconnects], 10_000, 1.0)
    assert lease.rate_per_s == pytest.approx(PER_NODE)
    assert not lease.is_local


async def test_parts_follow_what_is_wanted(cluster: Cluster) -> None:
    """Who could use three times as much is told to expect three times as much."""
    (a, _), (b, _) = await _node(cluster, "a"), await _node(cluster, "b")
    await _accepting(cluster, a, 2)
    await a.reconnects.lease(150)
    lease = await b.reconnects.lease(50)
    assert lease.rate_per_s == pytest.approx(2 * PER_NODE / 4)
    assert (await a.reconnects.lease(150)).rate_per_s == pytest.approx(2 * PER_NODE * 3 / 4)


async def test_no_more_than_wanted_is_given(cluster: Cluster) -> None:
    """A single permit may be had as well."""
    node, _ = await _node(cluster, "a")
    assert (await node.reconnects.lease(1)).permits == 1


async def test_a_used_up_budget_says_when_to_come_back(cluster: Cluster) -> None:
    """Who asks without end gets nothing for a moment, and something after it."""
    node, _ = await _node(cluster, "a")
    lease = await node.reconnects.lease(10_000)
    for _ in range(100):
        if lease.permits:
            lease = await node.reconnects.lease(10_000)
    assert not lease.permits
    assert 0 < lease.retry_after_s <= 1 / PER_NODE + 0.001
    await cluster.pass_time(lease.retry_after_s + 0.001)
    assert (await node.reconnects.lease(10_000)).permits


async def test_arrivals_lower_what_may_be_leased(cluster: Cluster) -> None:
    """Clients that come by themselves are subtracted, down to a tenth of the budget."""
    (a, _), (_, door) = await _node(cluster, "a"), await _node(cluster, "b")
    await _accepting(cluster, a, 2)
    full = 2 * PER_NODE

    async def rate_under(arrivals_per_s: int) -> float:
        await a.reconnects.lease(1)
        for _ in range(9):  # two measurements, the second with these arrivals alone
            door.accepted += arrivals_per_s // 4
            await cluster.pass_time(0.25)
        return (await a.reconnects.lease(10_000)).rate_per_s

    assert (await a.reconnects.lease(1)).rate_per_s == pytest.approx(full)
    assert await rate_under(100) == pytest.approx(full - 100, rel=0.25)
    assert await rate_under(10_000) == pytest.approx(full / 10)


async def test_a_drains_own_reconnects_are_not_held_against_it(cluster: Cluster) -> None:
    """Arrivals that leases explain lower nothing."""
    (a, _), (_, door) = await _node(cluster, "a"), await _node(cluster, "b")
    await _accepting(cluster, a, 2)
    rates: list[float] = []
    for _ in range(16):
        times, lease = await _spend(cluster, [a.reconnects], 10_000, 0.25)
        door.accepted += len(times)
        rates.append(lease.rate_per_s)
    assert min(rates) >= 0.9 * 2 * PER_NODE


async def test_a_change_reaches_every_node_and_the_last_one_counts(cluster: Cluster) -> None:
    """Whatever the settings of a node say that starts later."""
    (a, _), (b, _) = await _node(cluster, "a"), await _node(cluster, "b")
    await _accepting(cluster, a, 2)
    assert (await a.reconnects.change(50)).version == 1
    assert (await b.reconnects.change(20)).version == 2
    await eventually(lambda: a.reconnects.known().per_node == 20)
    late, _ = await _node(cluster, "late")
    await eventually(lambda: late.reconnects.known().per_node == 20)
    await eventually(lambda: late.reconnects.known().version == 2)
    await _accepting(cluster, late, 3)
    assert (await late.reconnects.lease(10_000)).rate_per_s == pytest.approx(60)


async def test_a_repeated_change_changes_nothing(cluster: Cluster) -> None:
    """The version stays, whichever node is asked."""
    (a, _), (b, _) = await _node(cluster, "a"), await _node(cluster, "b")
    versions = [(await node.reconnects.change(50)).version for node in (a, b, a)]
    assert versions == [1, 1, 1]


async def test_who_has_left_gets_nothing(cluster: Cluster) -> None:
    """A closed node leases no permit and changes no budget, and others have it all."""
    (a, _), (b, _) = await _node(cluster, "a"), await _node(cluster, "b")
    await b.backplane.close()
    assert (await b.reconnects.lease(10)).permits == 0
    with pytest.raises(BackplaneUnavailableError):
        await b.reconnects.change(7)
    await _accepting(cluster, a, 1)


async def test_a_dead_node_accepts_nobody(cluster: Cluster) -> None:
    """Its part of the budget goes with its lease."""
    (a, _), (b, _) = await _node(cluster, "a"), await _node(cluster, "b")
    await _accepting(cluster, a, 2)
    await b.kill()
    assert (await b.reconnects.lease(10)).permits == 0
    await cluster.pass_time(cluster.lease_s + 0.2)
    await _accepting(cluster, a, 1)
    assert (await a.reconnects.lease(10_000)).rate_per_s == pytest.approx(PER_NODE)


async def test_connects_share_one_rate(cluster: Cluster) -> None:
    """Arrivals of the whole cluster stay within a rate that does not grow with it."""
    nodes = [(await _node(cluster, name))[0] for name in "abc"]
    allowances = [node.connects(60) for node in nodes]
    times, _ = await _spend(cluster, allowances, 10_000, 2.0)
    assert 0.6 * 120 <= len(times) <= 120 + 60
    assert busiest_second(times) <= 1.3 * 60


# --- the arithmetic, without a store ----------------------------------------------------------


@given(
    rate=st.floats(0.5, 500),
    asks=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 1000), st.floats(0, 2)),
        min_size=1,
        max_size=100,
    ),
)
def test_no_way_of_asking_gets_more_than_the_rate(
    rate: float, asks: list[tuple[str, int, float]]
) -> None:
    """Over any time: the rate, and a fifth of a second of it or one permit at once."""
    pool, now = Pool(), 100.0
    given_at: list[tuple[float, int]] = []
    for asker, wanted, pause in asks:
        lease = pool.lease(asker, wanted, rate, now)
        assert 0 <= lease.permits <= wanted
        assert 0 < lease.rate_per_s <= rate * 1.000001
        given_at.append((now, lease.permits))
        now += pause
    for index, (since, _) in enumerate(given_at):
        for until, _ in given_at[index:]:
            total = sum(permits for at, permits in given_at if since <= at <= until)
            assert total <= rate * (until - since) + max(1, rate * BUCKET_S) + 1e-6


def test_a_share_is_free_again_when_its_asker_is_gone() -> None:
    """Two seconds after it asked last."""
    pool = Pool()
    pool.lease("a", 100, 100, 10.0)
    assert pool.lease("b", 100, 100, 11.0).rate_per_s == 50
    assert pool.lease("b", 100, 100, 12.0).rate_per_s == 100


def test_the_busiest_of_the_last_seconds_explains_arrivals() -> None:
    """For ten seconds, as long as clients that were sent away may take to come back."""
    pool = Pool()
    for tenth in range(10):  # over the edge of a second
        pool.lease("a", 100, 80, 19.5 + tenth / 10)
    busy = pool.explained_per_s(20.5)
    assert 70 <= busy <= 96
    assert pool.explained_per_s(29.4) == busy
    assert pool.explained_per_s(30.6) == 0


@pytest.mark.parametrize(
    ("arrivals", "explained", "rate"),
    [(0, 0, 300), (100, 0, 200), (100, 100, 300), (50, 100, 300), (290, 0, 30), (900, 300, 30)],
)
def test_the_formula(arrivals: float, explained: float, rate: float) -> None:
    """What nobody explains is subtracted, and a tenth is always left."""
    assert reconnect_rate(300, arrivals, explained) == rate


def test_arrivals_are_measured_between_two_looks() -> None:
    """The first look measures nothing, and looks that follow at once change nothing."""
    arrivals = Arrivals()
    assert arrivals.per_s(1000, 10.0) == 0
    assert arrivals.per_s(1030, 10.5) == 0
    assert arrivals.per_s(1060, 12.0) == 30
    assert arrivals.per_s(1100, 12.1) == 30


async def test_time_passes_in_every_cluster(cluster: Cluster) -> None:
    """The clock that these tests go by is the store's, or runs as fast."""
    before, real = cluster.clock(), time.monotonic()
    await cluster.pass_time(0.2)
    assert cluster.clock() - before >= min(0.2, time.monotonic() - real)
