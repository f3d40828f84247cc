"""When a node that fails by its own fault ends itself: the whole table."""

from __future__ import annotations

from typing import Any

import pytest

from realtime_node.cluster.backplane import NodeInfo
from realtime_node.drain.self_restart import (
    Action,
    Decision,
    Facts,
    Peers,
    Reason,
    count_peers,
    decide,
)
from realtime_node.failures import FailingLoop

FAILING = FailingLoop(
    loop="inbox",
    failing_s=70.0,
    failures=40,
    error="ValueError: a bug",
    is_own_fault=True,
    own_faults=40,
    own_fault_s=60.0,
)
STAY, ASK, CLAIM, END = Action.STAY, Action.ASK_PEERS, Action.CLAIM, Action.END


def facts(**changed: Any) -> Facts:
    """A node that has failed for long enough, among two others that are ready, and may end."""
    found = Facts(
        unfit=FAILING,
        failing_after_s=60.0,
        is_ending=False,
        peers=Peers(total=2, ready=2),
        has_claim=True,
    )
    return found._replace(**changed)


@pytest.mark.parametrize(
    ("known", "decision"),
    [
        (facts(), Decision(END, Reason.FAILING)),
        (facts(unfit=None), Decision(STAY, Reason.WELL)),
        (facts(failing_after_s=0.0), Decision(STAY, Reason.OFF)),
        (facts(is_ending=True), Decision(STAY, Reason.ENDING)),
        (facts(failing_after_s=60.1), Decision(STAY, Reason.TOO_EARLY)),
        (facts(is_store_available=False), Decision(STAY, Reason.STORE_UNAVAILABLE)),
        (facts(peers=None, has_claim=None), Decision(ASK, Reason.FAILING)),
        (facts(has_claim=None), Decision(CLAIM, Reason.FAILING)),
        (facts(has_claim=False), Decision(STAY, Reason.ANOTHER_RESTARTED)),
        (facts(peers=Peers(0, 0)), Decision(END, Reason.FAILING)),
        (facts(peers=Peers(1, 0)), Decision(STAY, Reason.PEERS_NOT_READY)),
        (facts(peers=Peers(1, 1)), Decision(END, Reason.FAILING)),
        (facts(peers=Peers(2, 1)), Decision(STAY, Reason.PEERS_NOT_READY)),
        (facts(peers=Peers(3, 2)), Decision(END, Reason.FAILING)),
        (facts(peers=Peers(4, 2)), Decision(STAY, Reason.PEERS_NOT_READY)),
        # Nothing is claimed by a node that would not end.
        (facts(peers=Peers(2, 0), has_claim=None), Decision(STAY, Reason.PEERS_NOT_READY)),
        # The store is asked by nobody that has not failed for long enough.
        (facts(failing_after_s=61.0, peers=None), Decision(STAY, Reason.TOO_EARLY)),
    ],
)
def test_the_table(known: Facts, decision: Decision) -> None:
    """Each fact decides as it is told to."""
    assert decide(known) == decision


def test_a_node_is_not_its_own_peer() -> None:
    """The others are counted, and how many of them are ready."""
    nodes = [
        NodeInfo(uid="a", name="a", version="1", ready=False),
        NodeInfo(uid="b", name="b", version="1", ready=True),
        NodeInfo(uid="c", name="c", version="1", ready=False),
    ]
    assert count_peers(nodes, "a") == Peers(total=2, ready=1)
    assert count_peers(nodes[:1], "a") == Peers(total=0, ready=0)
