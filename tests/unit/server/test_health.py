"""What Kubernetes is told of a node, and why it is not ready."""

from __future__ import annotations

import pytest

from realtime_node.failures import UNFIT_AFTER, FailingLoop
from realtime_node.server.health import Readiness, readiness


def failing(loop: str, own_faults: int, own_fault_s: float = 1.0) -> FailingLoop:
    """A loop that fails."""
    return FailingLoop(
        loop=loop,
        failing_s=100.0,
        failures=100,
        error="ValueError: a bug",
        is_own_fault=own_faults > 0,
        own_faults=own_faults,
        own_fault_s=own_fault_s,
    )


@pytest.mark.parametrize(
    ("is_serving", "is_ending", "loops", "reason"),
    [
        (True, False, [], ""),
        (False, False, [], "starting or ending; Redis is away"),
        (True, True, [], "ending"),
        (True, False, [failing("inbox", UNFIT_AFTER - 1)], ""),
        (True, False, [failing("inbox", 0)], ""),
        (
            True,
            False,
            [failing("heartbeat", 0), failing("inbox", UNFIT_AFTER)],
            f"inbox has failed {UNFIT_AFTER} times in a row: ValueError: a bug",
        ),
        (
            True,
            False,
            [failing("sweep", 9, 2.0), failing("inbox", 5, 3.0)],
            "inbox has failed 5 times in a row: ValueError: a bug",
        ),
    ],
)
def test_a_node_is_ready_unless_there_is_a_reason(
    *, is_serving: bool, is_ending: bool, loops: list[FailingLoop], reason: str
) -> None:
    """The loop that has failed longest by the node's own fault is named, and nobody else's."""
    found = readiness(
        is_serving=is_serving, is_ending=is_ending, obstacles=["Redis is away"], failing=loops
    )
    assert found == Readiness(is_ready=not reason, reason=reason)
