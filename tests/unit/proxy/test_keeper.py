"""The keeper: what is held is prolonged in batches, in time, and no longer than it is held."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from realtime_node.cluster.in_memory.verdicts import InMemoryVerdicts
from realtime_node.cluster.verdicts import Prolongation
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.proxy.keeper import BATCH, Keeper
from tests.support.fakes import UNIX_START, FakeClock

LIFE_S = 90.0
INTERVAL_S = 30.0


class Recording(InMemoryVerdicts):
    """A store that notes what it is asked to prolong, or fails."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.batches: list[list[Prolongation]] = []
        self.is_away = False

    async def prolong(self, prolongations: Sequence[Prolongation]) -> None:
        """See `VerdictStore.prolong`."""
        if self.is_away:
            raise BackplaneUnavailableError("away")
        self.batches.append(list(prolongations))
        await super().prolong(prolongations)


@pytest.fixture
def clock() -> FakeClock:
    """The time of everything."""
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Recording:
    """Where verdicts are."""
    return Recording(clock)


@pytest.fixture
def keeper(clock: FakeClock, store: Recording) -> Keeper:
    """A keeper that the test turns."""
    return Keeper(
        store,
        life_s=LIFE_S,
        interval_s=INTERVAL_S,
        monotonic=clock,
        wall_clock=lambda: UNIX_START + clock(),
    )


def _keys(count: int) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in range(count)]


async def test_what_is_held_is_prolonged_in_time(
    keeper: Keeper, store: Recording, clock: FakeClock
) -> None:
    """At once, since it may be near its end, and again at every interval."""
    (key,) = _keys(1)
    keeper.leases.hold(key, 0)
    for _ in range(3):
        await keeper.prolong_due()
        await keeper.prolong_due()
        clock.advance(INTERVAL_S)
    assert store.batches == [[Prolongation(key, 90_000)]] * 3


async def test_many_are_prolonged_in_batches(keeper: Keeper, store: Recording) -> None:
    """Each once, and no more than a batch at a time."""
    keys = _keys(BATCH * 2 + 5)
    for key in keys:
        keeper.leases.hold(key, 0)
    await keeper.prolong_due()
    assert [len(batch) for batch in store.batches] == [BATCH, BATCH, 5]
    assert [each.key for batch in store.batches for each in batch] == keys


async def test_what_several_hold_is_kept_until_the_last_lets_go(
    keeper: Keeper, store: Recording, clock: FakeClock
) -> None:
    """Two tabs with one cookie hold one verdict."""
    (key,) = _keys(1)
    keeper.leases.hold(key, 0)
    keeper.leases.hold(key, 0)
    keeper.leases.release(key)
    assert len(keeper.leases) == 1
    keeper.leases.release(key)
    keeper.leases.release(key)
    clock.advance(INTERVAL_S)
    await keeper.prolong_due()
    assert len(keeper.leases) == 0
    assert store.batches == []


async def test_nothing_is_prolonged_beyond_its_own_end(
    keeper: Keeper, store: Recording, clock: FakeClock
) -> None:
    """The end bounds a life; after it nothing is asked for, unless it was moved."""
    (key,) = _keys(1)
    ends = UNIX_START + clock() + 40
    keeper.leases.hold(key, ends)
    await keeper.prolong_due()
    clock.advance(INTERVAL_S)
    await keeper.prolong_due()
    clock.advance(INTERVAL_S)
    await keeper.prolong_due()
    assert [batch[0].ttl_ms for batch in store.batches] == [40_000, 10_000]
    keeper.leases.extend(key, ends + 1000)
    clock.advance(INTERVAL_S)
    await keeper.prolong_due()
    assert store.batches[-1] == [Prolongation(key, 90_000)]


async def test_a_store_that_is_away_is_asked_again(
    keeper: Keeper, store: Recording, clock: FakeClock
) -> None:
    """Nothing is forgotten by a failure."""
    keys = _keys(3)
    for key in keys:
        keeper.leases.hold(key, 0)
    store.is_away = True
    with pytest.raises(BackplaneUnavailableError):
        await keeper.prolong_due()
    store.is_away = False
    await keeper.prolong_due()
    clock.advance(INTERVAL_S)
    await keeper.prolong_due()
    assert [[each.key for each in batch] for batch in store.batches] == [keys, keys]
