"""How many nodes are wanted while clients move for other reasons than their number: no more."""

from __future__ import annotations

import pytest

from realtime_operator.crd.realtime_cluster import DrainSpec, UpdateSpec
from realtime_operator.decide.decision import Plan, decide
from realtime_operator.decide.snapshot import Snapshot
from realtime_operator.simulate import rounds
from realtime_operator.simulate.run import Case, run_operator
from realtime_operator.simulate.scenarios import SCENARIOS
from realtime_operator.simulate.settings import Size, fitting_spec

NODES, SPARE = 30, 1
SIZE = Size(NODES, 10_000)


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many nodes each decision of a run wants."""
    numbers: list[int] = []

    def decided(snapshot: Snapshot, now: float) -> Plan:
        plan = decide(snapshot, now)
        numbers.append(plan.scaling.desired)
        return plan

    monkeypatch.setattr(rounds, "decide", decided)
    return numbers


def test_a_lost_zone_is_replaced_and_asks_for_no_more(wanted: list[int]) -> None:
    """Ten of thirty nodes are gone: their clients, who are elsewhere by then, count once."""
    run = run_operator(Case(SCENARIOS["zone-loss"], fitting_spec(SIZE), SIZE))
    assert min(line.accepting for line in run.lines) < NODES
    assert min(wanted) == NODES + SPARE
    assert max(wanted) <= NODES + SPARE + 1


def test_a_rollout_asks_for_no_more_nodes(wanted: list[int]) -> None:
    """What loops do for those who move, as fast as the budget lets them, is no load."""
    fast = {
        "drain": DrainSpec(window_seconds=10),
        "update": UpdateSpec(max_concurrent_drains=10),
    }
    spec = fitting_spec(SIZE).model_copy(update=fast)
    run = run_operator(Case(SCENARIOS["rollout"], spec, SIZE))
    assert run.summary.settled_at_s is not None
    assert max(line.nodes for line in run.lines) > NODES + SPARE
    assert set(wanted) == {NODES + SPARE}
