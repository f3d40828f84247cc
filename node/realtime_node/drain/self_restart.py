"""Whether a node that fails by its own fault ends itself, to be started anew. Pure.

A loop that raises again and again by a bug in this process is not mended by waiting; a new process
may be. Clients of the node go elsewhere for that, so it must be neither hasty nor contagious:

- The loop has failed for a while (`shutdown.failing_after`), by nothing but the node's own fault.
- Most of the other nodes are ready. If they fail too, a restart would mend nothing, and nobody
  would be there for the clients. A node that has no others is not ready anyway, and ends.
- No node of the cluster has ended itself within the last ten minutes. The store tells; if it cannot
  be asked, the node stays.

`decide` is asked with what is known, cheap facts first: it says what to find out next, or what to
do, and why.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, StrEnum
from typing import Final, NamedTuple

from realtime_node.cluster.backplane import NodeInfo
from realtime_node.failures import FailingLoop

PERIOD_S: Final = 600.0
"""At most one node of a cluster ends itself within this time."""


class Action(Enum):
    """What a node does now."""

    STAY = "stay"
    ASK_PEERS = "ask peers"
    """Find out how the other nodes are."""
    CLAIM = "claim"
    """Find out whether it is this node's turn."""
    END = "end"


class Reason(StrEnum):
    """Why; a label of `realtime_self_restart_decisions_total`."""

    WELL = "well"
    OFF = "off"
    ENDING = "ending"
    TOO_EARLY = "too_early"
    FAILING = "failing"
    STORE_UNAVAILABLE = "store_unavailable"
    PEERS_NOT_READY = "peers_not_ready"
    ANOTHER_RESTARTED = "another_restarted"


class Peers(NamedTuple):
    """The other nodes of the cluster."""

    total: int
    ready: int


class Facts(NamedTuple):
    """What is known by now; None: not asked yet."""

    unfit: FailingLoop | None
    """The loop that makes the node not ready."""
    failing_after_s: float
    """How long it may; 0: for ever."""
    is_ending: bool
    peers: Peers | None = None
    has_claim: bool | None = None
    is_store_available: bool = True


class Decision(NamedTuple):
    """What to do, and why."""

    action: Action
    reason: Reason


def decide(facts: Facts) -> Decision:
    """Return what the node does next."""
    if reason := _reason_not_to_ask(facts):
        return Decision(Action.STAY, reason)
    if facts.peers is None:
        return Decision(Action.ASK_PEERS, Reason.FAILING)
    if facts.peers.total and 2 * facts.peers.ready <= facts.peers.total:
        return Decision(Action.STAY, Reason.PEERS_NOT_READY)
    if facts.has_claim is None:
        return Decision(Action.CLAIM, Reason.FAILING)
    if not facts.has_claim:
        return Decision(Action.STAY, Reason.ANOTHER_RESTARTED)
    return Decision(Action.END, Reason.FAILING)


def _reason_not_to_ask(facts: Facts) -> Reason | None:
    if facts.unfit is None:
        return Reason.WELL
    if not facts.failing_after_s:
        return Reason.OFF
    if facts.is_ending:
        return Reason.ENDING
    if facts.unfit.own_fault_s < facts.failing_after_s:
        return Reason.TOO_EARLY
    return None if facts.is_store_available else Reason.STORE_UNAVAILABLE


def count_peers(nodes: Iterable[NodeInfo], own_id: str) -> Peers:
    """Count the nodes beside the one with this id."""
    peers = [node for node in nodes if node.uid != own_id]
    return Peers(len(peers), sum(node.ready for node in peers))
