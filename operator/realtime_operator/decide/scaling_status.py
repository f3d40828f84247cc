"""A decision about the number of nodes as the status tells it; the next round goes on from that.

The list of decisions is short and has only those that differ from the one before in number or
limit; the last is always the present one. It explains the number to whoever may read the resource.
"""

from __future__ import annotations

from typing import Final

from realtime_operator.crd.status import (
    AutoscalingStatus,
    ScaleUpStatus,
    ScalingDecision,
    ScalingInputs,
    ScalingLimit,
)
from realtime_operator.decide.autoscaling import period_began_with
from realtime_operator.decide.fleet import Fleet
from realtime_operator.decide.instants import timestamp
from realtime_operator.decide.scaling import Inputs, Scaling

KEPT: Final = 10
"""Decisions that the status lists."""


def describe_scaling(fleet: Fleet) -> AutoscalingStatus | None:
    """What the status says of the number of nodes; nothing in mode Disabled."""
    scaling, before = fleet.scaling, fleet.snapshot.status.autoscaling
    if scaling.mode == "Disabled" or fleet.snapshot.deleted_at is not None:
        return None
    before = before or AutoscalingStatus()
    is_other = scaling.desired != before.desired
    return AutoscalingStatus(
        mode=scaling.mode,
        desired=scaling.desired,
        raw_desired=scaling.raw,
        limited_by=scaling.limited_by,
        reason=scaling.reason,
        last_scale_time=timestamp(fleet.now) if is_other else before.last_scale_time,
        scale_up=_period(fleet, before.scale_up),
        decisions=_listed(before.decisions, scaling),
    )


def _period(fleet: Fleet, before: ScaleUpStatus | None) -> ScaleUpStatus | None:
    """The period of scaleUp: it goes on until it is over, and begins with a node that is added."""
    if fleet.scaling.desired <= fleet.scaling.previous:
        return before
    if before and period_began_with(fleet) is not None:
        return before
    return ScaleUpStatus(since=timestamp(fleet.now), replicas_before=fleet.scaling.previous)


def _listed(before: list[ScalingDecision], scaling: Scaling) -> list[ScalingDecision]:
    now_is = ScalingDecision(
        time=timestamp(scaling.at),
        previous=scaling.previous,
        desired=scaling.desired,
        raw_desired=scaling.raw,
        reason=scaling.reason,
        limited_by=scaling.limited_by,
        limits=[ScalingLimit(limit=each.limit, reason=each.reason) for each in scaling.limits],
        inputs=_inputs(scaling.inputs),
    )
    last = before[-1] if before else None
    if last and (last.desired, last.limited_by) == (now_is.desired, now_is.limited_by):
        kept = now_is.model_copy(update={"time": last.time, "previous": last.previous})
        return [*before[:-1], kept]
    return [*before, now_is][-KEPT:]


def _inputs(inputs: Inputs) -> ScalingInputs:
    return ScalingInputs(
        nodes=inputs.nodes,
        connections=inputs.connections,
        growth_per_second=round(inputs.growth_per_s or 0.0, 1),
        lead_seconds=round(inputs.lead_s),
        demand=round(inputs.demand),
        deliveries_per_second=round(inputs.deliveries_per_s),
        loop_busy_percent=round(100 * inputs.busy),
        fresh=inputs.fresh,
        stale=inputs.stale,
        missing=inputs.missing,
    )
