"""The lab itself: a small crowd on real nodes, whose node is killed, or ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import get_type_hints

import pytest

from tests.load.storm import scenarios, suite
from tests.load.storm.results import Storm
from tests.load.storm.scene import Lab, offers
from tests.support.prerequisites import require


@pytest.mark.load
@pytest.mark.timeout(120)
@pytest.mark.parametrize("scenario", [scenarios.killed, scenarios.plain], ids=["killed", "ended"])
async def test_all_come_back_and_nothing_is_lost(
    scenario: Callable[[Lab], Awaitable[Storm]], tmp_path: Path
) -> None:
    """Clients of a node that is gone are on the others within seconds, with all they missed."""
    require("redis-server", fix="apt-get install redis-server")
    result = await scenario(Lab(tmp_path, quick=True, clients=60, settings={}))
    assert (result.clients, result.ended, result.told) == (60, 0, 0)
    assert (result.lost, result.doubled, result.disordered, result.unchecked) == (0, 0, 0, 0)
    assert 60 / 6 < result.returned < 60 / 1.5
    assert result.recovered > 0
    assert result.attempts_per_return >= 1
    assert sum(moment.closed for moment in result.timeline) == result.returned


async def test_a_node_is_asked_what_it_offers(tmp_path: Path) -> None:
    """Settings that a node does not know leave a scenario out, and the report names them."""
    assert await offers({"client": {"insecure": True}}, tmp_path)
    assert not await offers({"no_such_feature": {}}, tmp_path)
    needs: dict[str, object] = {"no_such_feature": {}}
    wanted = {
        "here": suite.StormScenario("", scenarios.killed, {}, "gone"),
        "not here": suite.StormScenario("", scenarios.killed, needs, "gone"),
    }
    can, cannot = await suite.offered(wanted, tmp_path)
    assert list(can) == ["here"]
    assert cannot == ["not here left out: this node does not know no_such_feature"]


def test_every_condition_is_a_figure_of_its_scenario() -> None:
    """A condition that names no figure would never be judged."""
    for name, scenario in (*suite.STORMS.items(), *suite.SOAK.items()):
        result = get_type_hints(scenario.measure)["return"]
        known = {field for each in result.__mro__ for field in getattr(each, "__annotations__", {})}
        for figure, _, _ in suite.CONDITIONS[scenario.kind]:
            assert figure in known, f"{name}: {figure}"
