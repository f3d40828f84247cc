"""`realtime-operator explain`: why a cluster has so many nodes, told from its status alone.

The operator writes its last decisions there, each with what it was made on and every limit that
applied, so that whoever may read the resource may ask; nothing is asked of the operator itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from realtime_operator.apply.kube_client import KubeClient
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec
from realtime_operator.crd.status import (
    AutoscalingStatus,
    NodeEntry,
    RealtimeClusterStatus,
    ScalingDecision,
)
from realtime_operator.errors import MissingClusterError, SpecError


async def explain(namespace: str, name: str) -> str:
    """Read a RealtimeCluster and tell its decisions.

    Raises `MissingClusterError` if there is none, `SpecError` if it cannot be understood, and
    `ApiServerError`.
    """
    kube = await KubeClient.connect()
    try:
        resource = await kube.read_cluster(namespace, name)
    finally:
        await kube.close()
    if resource is None:
        raise MissingClusterError(
            f"there is no RealtimeCluster {namespace}/{name}: look with `kubectl get"
            " realtimeclusters --all-namespaces`, and name its namespace with -n"
        )
    return explained(resource)


def explained(resource: Mapping[str, Any]) -> str:
    """What there is to tell about a RealtimeCluster as the API server sends it.

    Raises `SpecError` if it cannot be understood.
    """
    metadata = resource["metadata"]
    place = f"{metadata['namespace']}/{metadata['name']}"
    try:
        spec = RealtimeClusterSpec.model_validate(resource["spec"])
        status = RealtimeClusterStatus.model_validate(resource.get("status", {}))
    except ValidationError as error:
        raise SpecError(f"{place} is not of this operator's version: {error}") from None
    if not status.observed_generation:
        return f"{place}: no operator has looked at it yet\n"
    lines = [f"{place}: {_summary(spec, status)}"]
    if status.observed_generation < metadata.get("generation", 0):
        lines.append("The spec has changed since the last decision.")
    lines += _conditions(status)
    lines += _going(status)
    lines += _decisions(spec, status.autoscaling)
    return "\n".join(lines) + "\n"


def _summary(spec: RealtimeClusterSpec, status: RealtimeClusterStatus) -> str:
    connections = status.connections
    clients = f"{connections.total:,} clients"
    if connections.utilization:
        clients += f", {connections.utilization} of what they hold"
    return (
        f"autoscaling {spec.autoscaling.mode}; {status.desired_replicas} nodes wanted,"
        f" {status.accepting_replicas} accept clients; {clients}"
    )


def _conditions(status: RealtimeClusterStatus) -> Iterator[str]:
    """Those that speak of something that is going on, or wrong."""
    fine = {"Available": "True", "Progressing": "True", "MetricsAvailable": "True"}
    for each in status.conditions:
        if each.status != fine.get(each.type, "False") and each.type != "ScalingActive":
            yield f"{each.type} {each.status}: {each.reason} {each.message}".rstrip()


def _going(status: RealtimeClusterStatus) -> Iterator[str]:
    leaving = [node for node in status.nodes if node.drain is not None]
    if leaving:
        yield ""
        yield "On their way out:"
        yield from (f"  {_drain(node)}" for node in leaving)
    if status.rebalance.is_active:
        yield ""
        yield f"Rebalance: {status.rebalance.shedding} nodes shed: {status.rebalance.reason}"


def _drain(node: NodeEntry) -> str:
    assert node.drain is not None
    eta_s = node.drain.eta_seconds
    left = f"{node.drain.remaining:,} clients left"
    if eta_s is not None:
        left += f", about {eta_s} s"
    return f"{node.name}: {node.state}, {node.drain.reason}, {left}"


def _decisions(spec: RealtimeClusterSpec, scaling: AutoscalingStatus | None) -> Iterator[str]:
    yield ""
    if scaling is None or not scaling.decisions:
        if spec.autoscaling.mode == "Disabled":
            yield f"No decisions: with autoscaling.mode Disabled replicas counts, {spec.replicas}."
        else:
            yield "No decisions yet."
        return
    yield f"The last {len(scaling.decisions)} decisions, the newest last:"
    for decision in scaling.decisions:
        yield ""
        yield from _decision(decision)


def _decision(decision: ScalingDecision) -> Iterator[str]:
    before, after = decision.previous, decision.desired
    number = f"{before} to {after} nodes" if before != after else f"{after} nodes"
    asked = "" if decision.raw_desired == after else f", {decision.raw_desired} asked for"
    yield f"  {decision.time}  {number}{asked}: {decision.reason}"
    for limit in decision.limits:
        yield f"    {limit.limit}: {limit.reason}"
    told = decision.inputs
    yield (
        f"    made on {told.nodes} accepting nodes, {told.connections:,} clients,"
        f" {told.growth_per_second:+,.1f} per s, looked {told.lead_seconds} s ahead:"
        f" {told.demand:,}; {told.deliveries_per_second:,} deliveries per s; loops"
        f" {told.loop_busy_percent} % busy in all; answers: {told.fresh} fresh, {told.stale} stale,"
        f" {told.missing} missing"
    )
