"""The life of a node as a table: from Pending to Terminating, and how a drain goes.

`TABLE` says which signal leads where; `signal_of` reads the signal off a Pod, its node and the
time. A drain's state stands in the Pod's annotations (`DrainRecord`), the rest follows from the Pod
itself (`state_of`: Warming is a Pod that is ready, Terminating one that is deleted), so an operator
that starts in the middle of anything goes on where the last one stopped.

    Pending ⇄ Warming → Active → Cordoned → Draining → Forcing → Drained → Terminating
                          ↑         │          │
                          └─────────┴──────────┘  the reason was withdrawn

A node nobody was sent to yet skips the drain. A container that restarted has lost its clients: they
are elsewhere by now, and nothing is left to drain.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final, NamedTuple

from msgspec import Struct

from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec
from realtime_operator.decide.snapshot import RECORDED, NodeState, Pod

QUIET_S: Final = 5.0
"""A cordoned node that let nobody in for so long has left every load balancer."""

FORCING_GRACE_S: Final = 60.0
"""How long a node may take to force its clients; then its Pod goes anyway, and SIGTERM tells it."""


class Signal(Enum):
    """What can happen to a node."""

    SETTLED = auto()
    """Ready for long enough to be sent clients."""
    WANTED = auto()
    """It has to go, and may be cordoned now."""
    WITHDRAWN = auto()
    """It does not have to go any more."""
    ADMITTED = auto()
    """It has left the load balancers, and its clients have somewhere to go."""
    EMPTY = auto()
    """Nobody is left on it."""
    DEADLINE = auto()
    """Time is up for those who are left."""
    EXTENDED = auto()
    """Time is up, and they get as long again."""
    GIVEN_UP = auto()
    """It does nothing of what it is told: its Pod goes, and SIGTERM tells it."""


_S = NodeState
TABLE: Final[Mapping[tuple[NodeState, Signal], NodeState]] = {
    (_S.PENDING, Signal.WANTED): _S.DRAINED,
    (_S.WARMING, Signal.SETTLED): _S.ACTIVE,
    (_S.WARMING, Signal.WANTED): _S.DRAINED,
    (_S.ACTIVE, Signal.WANTED): _S.CORDONED,
    (_S.CORDONED, Signal.WITHDRAWN): _S.ACTIVE,
    (_S.CORDONED, Signal.ADMITTED): _S.DRAINING,
    (_S.CORDONED, Signal.EMPTY): _S.DRAINED,
    (_S.DRAINING, Signal.WITHDRAWN): _S.ACTIVE,
    (_S.DRAINING, Signal.EMPTY): _S.DRAINED,
    (_S.DRAINING, Signal.DEADLINE): _S.FORCING,
    (_S.DRAINING, Signal.EXTENDED): _S.DRAINING,
    (_S.DRAINING, Signal.GIVEN_UP): _S.DRAINED,
    (_S.FORCING, Signal.EMPTY): _S.DRAINED,
    (_S.FORCING, Signal.GIVEN_UP): _S.DRAINED,
}

MOVING: Final = frozenset({_S.DRAINING, _S.FORCING})
"""Clients are being sent away."""

MOVING_PHASES: Final = ("draining", "forcing")
"""The same in the words of a node."""

LEAVING: Final = RECORDED
"""On the way out, as its record says."""


class Wish(NamedTuple):
    """What the rest of the decision wants of one node."""

    is_wanted_away: bool = False
    may_cordon: bool = False
    may_drain: bool = False
    reason: str = ""


class Step(Struct, frozen=True):
    """A transition, and why."""

    before: NodeState
    after: NodeState
    signal: Signal | None
    reason: str


def state_of(pod: Pod) -> NodeState:
    """Where a node is, before anything is decided."""
    if pod.is_deleted:
        return NodeState.TERMINATING
    if pod.drain:
        return pod.drain.state
    if pod.active_since is not None:
        return NodeState.ACTIVE
    if pod.clients:
        return NodeState.ACTIVE  # somebody found it before we sent anybody: treat it with care
    return NodeState.WARMING if pod.is_ready else NodeState.PENDING


def step(pod: Pod, wish: Wish, spec: RealtimeClusterSpec, now: float) -> Step:
    """What becomes of a node in this round."""
    before = state_of(pod)
    signal, reason = signal_of(pod, before, wish, spec, now)
    return Step(before, TABLE[before, signal] if signal else before, signal, reason)


def signal_of(
    pod: Pod, state: NodeState, wish: Wish, spec: RealtimeClusterSpec, now: float
) -> tuple[Signal | None, str]:
    """What has happened to a node that matters in its state, and why it is thought so."""
    match state:
        case NodeState.PENDING | NodeState.WARMING | NodeState.ACTIVE:
            return _before_a_drain(pod, state, wish, spec, now)
        case NodeState.CORDONED:
            return _cordoned(pod, wish, spec, now)
        case NodeState.DRAINING:
            return _draining(pod, wish, spec, now)
        case NodeState.FORCING:
            return _forcing(pod, now)
        case _:
            return None, ""


def has_propagated(pod: Pod, spec: RealtimeClusterSpec, now: float) -> bool:
    """Whether a cordoned node has left every load balancer: nobody comes any more.

    Quiet is what the operator has watched itself; one that has just started takes the node's word
    that it is shut, a little later.
    """
    if not pod.drain:
        return False
    waited_s = now - pod.drain.cordoned_at - spec.drain.propagation_seconds
    if waited_s < 0:
        return False
    if pod.status is None or pod.status.quiet_s >= QUIET_S:
        return True
    return waited_s >= 2 * QUIET_S and not pod.status.accepting


def takes_no_orders(pod: Pod, spec: RealtimeClusterSpec) -> bool:
    """Whether a node has been told to drain for a whole window, and has not begun.

    An operator that has just started has not told it yet.
    """
    if pod.status is None or pod.status.drain_phase not in ("serving", "cordoned"):
        return False
    return pod.status.phase_s >= spec.drain.window_seconds


def is_empty(pod: Pod) -> str:
    """Why nobody is left on a node; empty if somebody may be."""
    if pod.status is None:
        return f"its container does not run: {pod.problem}" if pod.problem else ""
    if pod.drain and pod.drain.boot_id and pod.status.boot_id != pod.drain.boot_id:
        return "its container restarted, its clients are gone"
    return "" if pod.status.num_clients else "no client is left"


def _before_a_drain(
    pod: Pod, state: NodeState, wish: Wish, spec: RealtimeClusterSpec, now: float
) -> tuple[Signal | None, str]:
    if wish.is_wanted_away and (wish.may_cordon or state != NodeState.ACTIVE):
        return Signal.WANTED, wish.reason
    if state == NodeState.WARMING:
        settled_at = pod.ready_changed_at + spec.update.min_ready_seconds
        if now >= settled_at:
            return Signal.SETTLED, f"ready for {spec.update.min_ready_seconds} s"
    return None, ""


def _cordoned(
    pod: Pod, wish: Wish, spec: RealtimeClusterSpec, now: float
) -> tuple[Signal | None, str]:
    if not wish.is_wanted_away:
        return Signal.WITHDRAWN, wish.reason
    if not has_propagated(pod, spec, now):
        return None, ""
    if empty := is_empty(pod):
        return Signal.EMPTY, empty
    if wish.may_drain:
        return Signal.ADMITTED, wish.reason
    return None, ""


def _draining(
    pod: Pod, wish: Wish, spec: RealtimeClusterSpec, now: float
) -> tuple[Signal | None, str]:
    if empty := is_empty(pod):
        return Signal.EMPTY, empty
    if not wish.is_wanted_away:
        return Signal.WITHDRAWN, wish.reason
    assert pod.drain is not None
    if pod.status and pod.status.drain_phase == "forcing":
        return Signal.DEADLINE, f"{pod.clients} clients were left, and the node forces them"
    if now < (pod.drain.deadline or now):
        return None, ""
    return _at_the_deadline(pod, spec)


def _at_the_deadline(pod: Pod, spec: RealtimeClusterSpec) -> tuple[Signal, str]:
    if takes_no_orders(pod, spec):
        return Signal.GIVEN_UP, "it takes no orders and drains itself as its Pod is deleted"
    if spec.drain.deadline_policy == "Wait" and pod.status:
        return Signal.EXTENDED, f"{pod.clients} clients are left, and drain.deadlinePolicy is Wait"
    left = "it does not answer" if pod.clients is None else f"{pod.clients} clients are left"
    return Signal.DEADLINE, left


def _forcing(pod: Pod, now: float) -> tuple[Signal | None, str]:
    if empty := is_empty(pod):
        return Signal.EMPTY, empty
    assert pod.drain is not None
    if now >= (pod.drain.deadline or now) + FORCING_GRACE_S:
        return Signal.GIVEN_UP, f"forcing took longer than {FORCING_GRACE_S:.0f} s"
    return None, ""
