"""What became of a RealtimeCluster: counts, a line per node, and conditions that say why."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from realtime_operator.crd.model import Part


class Condition(Part):
    """One aspect of the cluster, as Kubernetes tells it."""

    type: str
    """Available, Progressing, Degraded, MetricsAvailable, ScalingLimited, Draining or Paused."""

    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""

    reason: str
    """Why, in one word for programs."""

    message: str = ""
    """Why, for people."""

    observed_generation: int = 0
    """The generation of the spec that this is about."""

    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] = ""
    """When `status` last changed."""


class ConnectionsStatus(Part):
    """Connections of all nodes."""

    total: int = 0
    """Clients connected to nodes that answer."""

    capacity: int = 0
    """What the accepting nodes carry."""

    utilization: str = ""
    """Share of the capacity that is used, e.g. `42%`."""


class MetricsStatus(Part):
    """How much the operator knows."""

    fresh: int = 0
    """Nodes that answered in this round."""

    missing: int = 0
    """Nodes that should have answered and did not."""


class NodeDrainStatus(Part):
    """A drain as it goes."""

    reason: str = ""
    """Why the node has to go."""

    remaining: int = 0
    """Clients that are still connected."""

    eta_seconds: int | None = None
    """When the last of them will be gone, by the node's own estimate."""


class NodeEntry(Part):
    """One node."""

    name: str
    """Name of its Pod."""

    state: str
    """Pending, Warming, Active, Cordoned, Draining, Forcing, Drained or Terminating."""

    revision: str = ""
    """Revision of the spec that it was made of."""

    connections: int | None = None
    """Clients connected; absent if the node does not answer."""

    drain: NodeDrainStatus | None = None


class RealtimeClusterStatus(Part):
    """What is there."""

    observed_generation: int = 0
    """The generation of the spec that was last acted upon."""

    selector: str = ""
    """Label selector of the cluster's Pods."""

    desired_replicas: int = 0
    """Nodes that should take clients."""

    replicas: int = 0
    """Pods that are there, those that drain included."""

    ready_replicas: int = 0
    """Pods that are ready."""

    accepting_replicas: int = 0
    """Nodes that take new clients."""

    draining_replicas: int = 0
    """Nodes that are on their way out."""

    updated_replicas: int = 0
    """Pods of the newest revision."""

    revision: str = ""
    """Revision of the spec."""

    current_revision: str = ""
    """Revision that was last rolled out completely."""

    connections: ConnectionsStatus = ConnectionsStatus()

    metrics: MetricsStatus = MetricsStatus()

    nodes: Annotated[
        list[NodeEntry],
        Field(
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            }
        ),
    ] = []  # noqa: RUF012 - pydantic copies it
    """Every node."""

    conditions: Annotated[
        list[Condition],
        Field(
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            }
        ),
    ] = []  # noqa: RUF012 - pydantic copies it
    """What holds of the cluster, and why."""
