"""Proxies that replace others in a running node: what clients hold lives on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec import UNSET

from realtime_node.cluster.in_memory.verdicts import InMemoryVerdicts
from realtime_node.config import Settings
from realtime_node.proxy import keeper
from realtime_node.proxy.building import Surroundings, build_proxies
from realtime_node.proxy.proxies import Caller, Proxies
from realtime_node.telemetry.metrics import Metrics
from tests.support.conditions import eventually
from tests.support.fakes import UNIX_START, FakeClock, settle
from tests.support.team import FakeTeam

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_node.cluster.verdicts import Prolongation
    from realtime_node.proxy.holding import Hold

ANN: Final = Caller("client of ann", "ann")
LIFE_S: Final = 90


class Recording(InMemoryVerdicts):
    """A store that counts what it prolonged."""

    num_prolonged = 0

    async def prolong(self, prolongations: Sequence[Prolongation]) -> None:
        """See `VerdictStore.prolong`."""
        await super().prolong(prolongations)
        self.num_prolonged += len(prolongations)


class World:
    """A node's proxies, which the test replaces, and the backend that they ask."""

    def __init__(self) -> None:
        """Begin without proxies."""
        self.clock = FakeClock()
        self.team = FakeTeam()
        self.verdicts = Recording(clock=self.clock)
        self.proxies = Proxies()

    async def reload(self, **subscribe: Any) -> None:
        """Ask by other settings, and close what asked before."""
        proxy = {"endpoint": "http://team/subscribe", "cache_ttl": "60s", **subscribe}
        namespace = {"name": "chat", "subscribe_proxy_enabled": True}
        channel = {"proxy": {"subscribe": proxy}, "namespaces": [namespace]}
        around = Surroundings(
            self.verdicts,
            Metrics().proxy,
            monotonic=self.clock,
            wall_clock=lambda: UNIX_START + self.clock(),
            open_backend=self.team.open,
        )
        proxies = build_proxies(Settings.model_validate({"channel": channel}), around)
        proxies.take_over(self.proxies)
        proxies.start()
        await self.proxies.close()
        self.proxies = proxies

    async def subscribe(self) -> Hold:
        """Let a client subscribe."""
        _, hold = await self.proxies.subscribe("default", ANN, "chat:a", UNSET)
        assert hold is not None
        return hold

    async def prolonged_beyond(self, count: int) -> None:
        """Wait until more than so many prolongations were made."""
        await eventually(lambda: self.verdicts.num_prolonged > count)

    async def pass_lives(self, count: int) -> None:
        """Let so many lives of a verdict pass, and it be prolonged in each."""
        for _ in range(2 * count):
            before = self.verdicts.num_prolonged
            self.clock.advance(LIFE_S / 2)
            await self.prolonged_beyond(before)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Keepers that look all the time."""
    monkeypatch.setattr(keeper, "TICK_S", 0)
    return World()


@pytest.mark.parametrize("changed", [{"timeout": "3s"}, {"cache_ttl": "40s"}], ids=str)
async def test_what_clients_hold_is_prolonged_on(world: World, changed: dict[str, str]) -> None:
    """A client that comes back long after a reload is let in by what was said of it before."""
    await world.reload()
    hold = await world.subscribe()
    for _ in range(3):
        await world.reload(**changed)
        await world.pass_lives(2)
    (await world.subscribe()).release()
    assert len(world.team.questions) == 1
    hold.release()
    for _ in range(4):
        world.clock.advance(LIFE_S / 2)
        await settle()
    await world.subscribe()
    assert len(world.team.questions) == 2, "what nobody holds any more ends"
    await world.proxies.close()


async def test_what_another_backend_said_is_not_prolonged(world: World) -> None:
    """Nobody would look for it: another endpoint is another question."""
    await world.reload()
    await world.subscribe()
    await eventually(lambda: world.verdicts.num_prolonged == 1)
    await world.reload(endpoint="http://team/elsewhere")
    world.clock.advance(LIFE_S / 2)
    await world.subscribe()
    assert [each.path for each in world.team.questions] == ["/subscribe", "/elsewhere"]
    await eventually(lambda: world.verdicts.num_prolonged == 2)
    world.clock.advance(LIFE_S / 2)
    await eventually(lambda: world.verdicts.num_prolonged == 3)
    await world.proxies.close()
