"""Conditions: what holds of a cluster, and why, in the form that `kubectl wait` understands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from realtime_operator.crd.status import Condition
from realtime_operator.decide.admission import Verdict
from realtime_operator.decide.events import why_stuck
from realtime_operator.decide.fleet import Fleet
from realtime_operator.decide.instants import timestamp
from realtime_operator.decide.rollout import Rollout, stuck
from realtime_operator.decide.snapshot import DrainReason
from realtime_operator.decide.wants import Want


class Aspect(NamedTuple):
    """A condition before it is told since when it holds."""

    type: str
    status: bool | None
    """None is Unknown."""
    reason: str
    message: str = ""


def conditions(
    fleet: Fleet, wants: Mapping[str, Want], rollout: Rollout, verdicts: Mapping[str, Verdict]
) -> list[Condition]:
    """All conditions; one that did not change keeps the time of its last change."""
    aspects = (
        _available(fleet),
        _progressing(fleet, rollout),
        _degraded(fleet),
        _metrics(fleet),
        _scaling_active(fleet),
        _limited(fleet, wants, verdicts),
        _draining(fleet),
        _contested(fleet),
        Aspect("Paused", fleet.spec.paused, "Spec", "spec.paused"),
    )
    return list(_with_times(fleet, aspects))


def _with_times(fleet: Fleet, aspects: tuple[Aspect, ...]) -> Iterator[Condition]:
    before = {each.type: each for each in fleet.snapshot.status.conditions}
    words: Mapping[bool | None, Literal["True", "False", "Unknown"]]
    words = {True: "True", False: "False", None: "Unknown"}
    for kind, holds, reason, message in aspects:
        status = words[holds]
        known = before.get(kind)
        same = known and known.status == status and known.last_transition_time
        yield Condition(
            type=kind,
            status=status,
            reason=reason,
            message=message,
            observed_generation=fleet.snapshot.generation,
            last_transition_time=same or timestamp(fleet.now),
        )


def _available(fleet: Fleet) -> Aspect:
    accepting = len(fleet.accepting)
    message = f"{accepting} nodes accept clients, {fleet.floor} have to"
    if accepting >= fleet.floor:
        return Aspect("Available", status=True, reason="EnoughNodes", message=message)
    problems = [f"{pod.name}: {pod.problem}" for pod in fleet.live if pod.problem]
    return Aspect("Available", False, "TooFewNodes", "; ".join([message, *problems[:3]]))  # noqa: FBT003 - a row


def _progressing(fleet: Fleet, rollout: Rollout) -> Aspect:
    if late := stuck(fleet):
        return Aspect("Progressing", False, "ProgressDeadlineExceeded", why_stuck(late))  # noqa: FBT003
    if fleet.is_rolling:
        reason = "Draining" if rollout.may_drain else "Surging"
        if rollout.may_cordon and not rollout.may_drain:
            reason = "Cordoning"
        left = f"{len(fleet.old)} nodes of an old revision are left"
        return Aspect("Progressing", True, reason, f"{rollout.reason}; {left}")  # noqa: FBT003
    if len(fleet.accepting) < fleet.desired.nodes:
        missing = f"{len(fleet.accepting)} of {fleet.desired.nodes} nodes accept clients"
        return Aspect("Progressing", True, "Starting", missing)  # noqa: FBT003
    return Aspect("Progressing", True, "Complete", "all nodes are as wanted")  # noqa: FBT003


def _degraded(fleet: Fleet) -> Aspect:
    for refusal in fleet.snapshot.refusals:
        return Aspect("Degraded", True, "CreateFailed", refusal)  # noqa: FBT003
    for pod in [*fleet.live, *fleet.failed]:
        if pod.problem:
            return Aspect("Degraded", True, "PodProblem", f"{pod.name}: {pod.problem}")  # noqa: FBT003
    for pod in fleet.live:
        if pod.status and not pod.status.backplane_available:
            message = f"{pod.name} cannot reach Redis"
            return Aspect("Degraded", True, "BackplaneUnavailable", message)  # noqa: FBT003
    if late := stuck(fleet):
        return Aspect("Degraded", True, "ProgressDeadlineExceeded", why_stuck(late))  # noqa: FBT003
    return Aspect("Degraded", False, "AsExpected")  # noqa: FBT003


def _metrics(fleet: Fleet) -> Aspect:
    serving = len(fleet.serving)
    if not serving:
        return Aspect("MetricsAvailable", None, "NoNodes", "no node serves")
    if fleet.silent:
        silent = ", ".join(pod.name for pod in fleet.silent[:3])
        message = f"{silent} of {serving} nodes do not answer on their port"
        return Aspect("MetricsAvailable", False, "NodesSilent", message)  # noqa: FBT003
    return Aspect("MetricsAvailable", True, "AllAnswer", f"{serving} nodes answer")  # noqa: FBT003


def _scaling_active(fleet: Fleet) -> Aspect:
    """Whether the number of nodes follows something, and nothing is in the way of knowing it."""
    mode, missing = fleet.scaling.mode, fleet.scaling.inputs.missing
    if mode == "Disabled":
        return Aspect("ScalingActive", False, "Disabled", "autoscaling.mode is Disabled")  # noqa: FBT003
    if missing:
        message = f"the load of {missing} nodes is not known: no node is taken away meanwhile"
        return Aspect("ScalingActive", False, "MetricsUnavailable", message)  # noqa: FBT003
    return Aspect("ScalingActive", True, mode, fleet.scaling.reason)  # noqa: FBT003


def _limited(fleet: Fleet, wants: Mapping[str, Want], verdicts: Mapping[str, Verdict]) -> Aspect:
    for each in fleet.scaling.limits:
        return Aspect("ScalingLimited", True, each.limit, each.reason)  # noqa: FBT003
    for name, verdict in verdicts.items():
        if wants[name].reason == DrainReason.SCALE_DOWN and not verdict.is_granted:
            return Aspect("ScalingLimited", True, "ScaleDownWaits", verdict.reason)  # noqa: FBT003
    return Aspect("ScalingLimited", False, "AsWanted")  # noqa: FBT003


def _contested(fleet: Fleet) -> Aspect:
    """Whether others undo what the operator writes."""
    if contested := fleet.snapshot.contested:
        return Aspect("Contested", True, "ChangedByOthers", "; ".join(contested[:3]))  # noqa: FBT003
    return Aspect("Contested", False, "AsWritten")  # noqa: FBT003


def _draining(fleet: Fleet) -> Aspect:
    leaving = fleet.leaving
    if not leaving and not fleet.moving:
        return Aspect("Draining", False, "NoDrain")  # noqa: FBT003
    names = [f"{pod.name} ({pod.drain.reason if pod.drain else 'Eviction'})" for pod in leaving]
    names += [pod.name for pod in fleet.moving if not fleet.is_leaving(pod)]
    return Aspect("Draining", True, "NodesLeave", ", ".join(names[:10]))  # noqa: FBT003
