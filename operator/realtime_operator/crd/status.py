"""What became of a RealtimeCluster: counts, a line per node, and conditions that say why."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from realtime_operator.crd.model import Part


class Condition(Part):
    """One aspect of the cluster, as Kubernetes tells it."""

    type: str
    """Available, Progressing, Degraded, MetricsAvailable, ScalingActive, ScalingLimited, Draining,
    Contested or Paused."""

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

    growth_per_second: float | None = None
    """Clients that come more than go, per second, those aside whom our own drains sent; absent
    while it is not known."""


class MessagesStatus(Part):
    """What the nodes write to their clients."""

    deliveries_per_second: int | None = None
    """Publications written to clients per second; absent while it is not known."""


class MetricsStatus(Part):
    """How much the operator knows."""

    fresh: int = 0
    """Nodes that answered in this round."""

    stale: int = 0
    """Nodes that did not, but lately."""

    missing: int = 0
    """Nodes that should have answered and have not for longer, or never."""


class ScalingInputs(Part):
    """What a decision about the number of nodes was made on."""

    nodes: int = 0
    """Nodes that accepted clients."""

    connections: int = 0
    """Clients connected, to draining nodes as well."""

    growth_per_second: float = 0.0
    """Clients that came more than went."""

    lead_seconds: int = 0
    """How far growth was looked ahead."""

    demand: int = 0
    """Clients that were reckoned with."""

    deliveries_per_second: int = 0
    """Publications written to clients."""

    loop_busy_percent: int = 0
    """Work of all event loops together; 100 is one of them that never rests."""

    fresh: int = 0
    """Nodes that had answered."""

    stale: int = 0
    """Nodes that had answered before."""

    missing: int = 0
    """Nodes whose load was not known."""


class ScalingLimit(Part):
    """What kept the number of nodes from being what the load or `replicas` ask for."""

    limit: str
    """Its name, in one word for programs."""

    reason: str = ""
    """Why it applied."""


class ScalingDecision(Part):
    """One decision about the number of nodes."""

    time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] = ""
    """When it was first made."""

    previous: int = 0
    """Nodes wanted before."""

    desired: int = 0
    """Nodes wanted from then on."""

    raw_desired: int = 0
    """Nodes that the load or `replicas` asked for, before any limit."""

    reason: str = ""
    """Why so many."""

    limited_by: str = ""
    """The first limit that applied; empty if none did."""

    limits: list[ScalingLimit] = []  # noqa: RUF012 - pydantic copies it
    """All limits that applied."""

    inputs: ScalingInputs = ScalingInputs()


class ScaleUpStatus(Part):
    """The period in which nodes are added at the moment."""

    since: Annotated[str, Field(json_schema_extra={"format": "date-time"})] = ""
    """When the first of them was."""

    replicas_before: int = 0
    """Nodes wanted before that."""


class AutoscalingStatus(Part):
    """How the number of nodes was found, in modes Internal and External."""

    mode: str = ""
    """The mode that it was found in."""

    desired: int = 0
    """Nodes wanted. The operator goes on from this number after a restart."""

    raw_desired: int = 0
    """Nodes that the load or `replicas` ask for, before any limit."""

    limited_by: str = ""
    """What keeps `desired` from being `rawDesired`; empty if nothing does."""

    reason: str = ""
    """Why so many."""

    last_scale_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When `desired` last changed."""

    scale_up: ScaleUpStatus | None = None

    decisions: list[ScalingDecision] = []  # noqa: RUF012 - pydantic copies it
    """The last ten decisions that differed from the one before in number or limit, the newest
    last. The newest tells the numbers as they were when the status was written."""


class RebalanceStatus(Part):
    """Whether clients are being spread anew."""

    is_active: bool = False
    """Whether nodes send clients elsewhere."""

    shedding: int = 0
    """Nodes that do."""

    spread_percent: int = 0
    """How far the fullest node is above the average."""

    reason: str = ""
    """Why, or why not."""


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

    messages: MessagesStatus = MessagesStatus()

    metrics: MetricsStatus = MetricsStatus()

    autoscaling: AutoscalingStatus | None = None

    rebalance: RebalanceStatus = RebalanceStatus()

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
