"""The lab itself: a small crowd on real nodes, whose node is killed, drained, or ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import get_type_hints

import pytest

from tests.load.storm import draining, scenarios, suite
from tests.load.storm.results import Drained, Resumed, Soaked, Storm
from tests.load.storm.scene import Lab
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


@pytest.mark.load
@pytest.mark.timeout(180)
async def test_all_come_back_as_who_they_were(tmp_path: Path) -> None:
    """Sessions are resumed, the backend is not asked, and an observer is told of nobody."""
    require("redis-server", fix="apt-get install redis-server")
    result = await scenarios.storm_of_sessions(Lab(tmp_path, quick=True, clients=120, settings={}))
    assert (result.clients, result.ended, result.told, result.lost) == (120, 0, 0, 0)
    assert result.resumed >= result.returned
    assert (result.begun_anew, result.renamed, result.flaps, result.asked) == (0, 0, 0, 0)
    assert result.peak_connects_per_s <= 2 * (result.rate_per_s + 2)


@pytest.mark.load
@pytest.mark.timeout(180)
async def test_a_drained_node_ends_when_it_is_empty(tmp_path: Path) -> None:
    """All its clients are sent away at the budget's pace, and lose nothing."""
    require("redis-server", fix="apt-get install redis-server")
    result = await draining.drain(Lab(tmp_path, quick=True, clients=200, settings={}))
    assert (result.moved, result.landed, result.exit_status) == (200, 0, 0)
    assert (result.ended, result.told, result.lost) == (0, 0, 0)
    assert result.closes_per_s < 1.3 * result.budget_per_s


@pytest.mark.parametrize("result", [Resumed, Drained, Soaked])
def test_every_figure_has_a_label_of_its_own(result: type) -> None:
    """Two of the same label would be one row of the report."""
    labels = [
        each.metadata["label"] for each in dataclasses.fields(result) if "label" in each.metadata
    ]
    assert len(set(labels)) == len(labels)


def test_every_condition_is_a_figure_of_its_scenario() -> None:
    """A condition that names no figure would never be judged."""
    for name, scenario in (*suite.STORMS.items(), *suite.SOAK.items()):
        result = get_type_hints(scenario.measure)["return"]
        known = {field for each in result.__mro__ for field in getattr(each, "__annotations__", {})}
        for condition in suite.CONDITIONS[scenario.kind]:
            assert condition.figure in known, f"{name}: {condition.figure}"
