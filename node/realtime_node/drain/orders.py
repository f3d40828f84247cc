"""How what is asked of a node changes its plan: orders of the internal API, and signals. Pure.

An order is a level: the plan becomes what it says, and asking for it again changes nothing. A
signal ends the process, which nothing takes back; a later one only brings the end nearer.
"""

from __future__ import annotations

from typing import Final

import msgspec

from realtime_node.drain.plan import TRANSITIONS, End, Event, Order, Phase, Plan

SHUTTING_DOWN: Final = "this node is shutting down"
_GOODBYE_S: Final = 6.0
"""For the clients' close frames, which may take five seconds, and for leaving the cluster; a
quarter of a shorter grace."""
_FORCING_S: Final = 5.0
"""Over which the rest is spread, before that; a sixth of a shorter grace."""
_HURRY_S: Final = 1.5


def ordered(plan: Plan, order: Order, now: float) -> Plan:
    """Return the plan with an order of the API in it; the same order again changes nothing.

    An order that differs counts from when the drain began, not from now.
    """
    if plan.order == order:
        return plan
    if plan.end is not None:
        # The process ends whatever else is asked; how fast may still be said.
        order = msgspec.structs.replace(order, is_to_empty=True)
        return msgspec.structs.replace(plan, order=order)
    if plan.phase is Phase.SERVING:
        return Plan(phase=TRANSITIONS[plan.phase, Event.CORDON], order=order, began_at=now)
    plan = msgspec.structs.replace(plan, order=order, extended_to=0.0)
    if not order.is_to_empty and (plan.phase, Event.PAUSE) in TRANSITIONS:
        return msgspec.structs.replace(plan, phase=TRANSITIONS[plan.phase, Event.PAUSE])
    return plan


def aborted(plan: Plan) -> Plan:
    """Return the plan of a node that serves again, or the same one if the process is to end."""
    if plan.end is not None or plan.phase is Phase.SERVING:
        return plan
    return Plan(phase=TRANSITIONS[plan.phase, Event.ABORT])


def ending(plan: Plan, grace_s: float, now: float, reason: str = SHUTTING_DOWN) -> Plan:
    """Return the plan of a process that is to end within a grace, or sooner if it was before.

    A drain under way goes on; its propagation counts from when it began.
    """
    tail_s = min(_GOODBYE_S, grace_s / 4)
    closed_by = now + grace_s - tail_s
    end = End(
        force_at=closed_by - min(_FORCING_S, grace_s / 6),
        closed_by=closed_by,
        exit_at=now + grace_s,
    )
    if plan.phase is Phase.SERVING:
        order = Order(is_to_empty=True, reason=reason)
        phase = TRANSITIONS[plan.phase, Event.CORDON]
        return Plan(phase=phase, order=order, began_at=now, end=end)
    assert plan.order is not None
    order = msgspec.structs.replace(plan.order, is_to_empty=True)
    return msgspec.structs.replace(plan, order=order, end=_nearer(plan.end, end))


def hurried(plan: Plan, now: float) -> Plan:
    """Return the plan of a process that is to end at once: in order, within a few seconds."""
    end = End(force_at=now, closed_by=now + _HURRY_S, exit_at=now + _HURRY_S + _GOODBYE_S / 2)
    return msgspec.structs.replace(plan, end=_nearer(plan.end, end))


def _nearer(one: End | None, other: End) -> End:
    if one is None:
        return other
    return End(
        force_at=min(one.force_at, other.force_at),
        closed_by=min(one.closed_by, other.closed_by),
        exit_at=min(one.exit_at, other.exit_at),
    )
