"""Which pictures a report of storms has."""

from __future__ import annotations

from types import SimpleNamespace

from tests.load.storm.pictures import pictures
from tests.load.storm.suite import PLAIN, SUBJECT
from tests.load.storm.timeline import Moment


def _result() -> SimpleNamespace:
    moments = [
        Moment(
            second=second,
            here=100,
            attempts=3,
            admitted=2,
            refused=1,
            closed=0,
            admitted_by_node={"node-1": second, "node-2": 1},
            closed_by_node={},
        )
        for second in range(5)
    ]
    return SimpleNamespace(
        timeline=moments, survivors=["node-1", "node-2"], rate_per_s=4, budget_per_s=10
    )


def test_scenarios_that_were_measured_whole_are_drawn() -> None:
    """A drain without the shutdown that it is held against has no picture."""
    assert list(pictures({"storm": {SUBJECT: [_result()]}, "drain": {SUBJECT: [_result()]}})) == [
        "storm-admitted.svg",
        "storm-demand.svg",
    ]
    both = {SUBJECT: [_result()], PLAIN: [_result()]}
    assert list(pictures({"drain": both})) == ["storm-drain.svg"]
