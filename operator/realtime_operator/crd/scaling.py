"""How many nodes a RealtimeCluster gets, and how clients are spread over those that are new."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from realtime_operator.crd.model import Part, Percent, Rule, Seconds

MAX_REPLICAS: Final = 1000


RULES: Final = (
    Rule(
        "self.autoscaling.minReplicas <= self.autoscaling.maxReplicas",
        "there is no number of nodes between autoscaling.minReplicas and a lower maxReplicas: raise"
        " maxReplicas, or lower minReplicas",
    ),
    Rule(
        "self.autoscaling.minReplicas > self.autoscaling.headroomNodes",
        "autoscaling.headroomNodes are nodes that may be lost, and somebody has to be left: set"
        " minReplicas above headroomNodes",
    ),
    Rule(
        "self.autoscaling.scaleDown.maxUtilizationPercent"
        " < self.autoscaling.targetConnectionPercent",
        "a node would be taken away and added again in turn: set"
        " autoscaling.scaleDown.maxUtilizationPercent below targetConnectionPercent",
    ),
    Rule(
        "self.autoscaling.metrics.timeoutSeconds < self.autoscaling.metrics.intervalSeconds",
        "a round would not be over before the next: set autoscaling.metrics.timeoutSeconds below"
        " metrics.intervalSeconds",
    ),
    Rule(
        "self.autoscaling.metrics.staleAfterSeconds >= self.autoscaling.metrics.intervalSeconds",
        "every answer would be too old by the next round: set"
        " autoscaling.metrics.staleAfterSeconds to at least metrics.intervalSeconds",
    ),
)
"""Rules of the whole spec: the API server checks those of a section against its bare default, which
is empty."""


class PredictionSpec(Part):
    """Whether the growth of the moment is counted on."""

    enabled: bool = True
    """Count clients that will have come by the time that another node could serve them."""

    horizon_seconds: Annotated[Seconds, Field(le=3600)] = 60
    """How far growth is looked ahead. Longer where the cluster's nodes have taken longer to
    start."""


class ScaleUpSpec(Part):
    """How fast nodes are added. Where nodes are nearly full, the cluster may double instead."""

    max_nodes: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = 4
    """Nodes that are added within `periodSeconds`."""

    period_seconds: Annotated[Seconds, Field(ge=1, le=3600)] = 60
    """A period begins with the first node that is added in it."""


class ScaleDownSpec(Part):
    """When a node may go."""

    stabilization_seconds: Annotated[Seconds, Field(le=21_600)] = 600
    """How long fewer nodes have to have been enough, in mode Internal. An operator that has just
    started watches anew."""

    max_utilization_percent: Percent = 55
    """How full the nodes that stay may be, those of `headroomNodes` aside. The distance to
    `targetConnectionPercent` keeps the number of nodes from swinging; deliveries and the loop's
    work are held to the same share of their targets."""


class ScrapeSpec(Part):
    """How nodes are asked for their load."""

    interval_seconds: Annotated[Seconds, Field(ge=2, le=300)] = 10
    """How often. Nodes that are needed are decided on within this time."""

    timeout_seconds: Annotated[Seconds, Field(ge=1, le=60)] = 2
    """How long a node may take to answer."""

    stale_after_seconds: Annotated[Seconds, Field(ge=2, le=3600)] = 30
    """After how long without an answer a node's load counts as unknown. What it had last is
    counted on; no node is taken away meanwhile."""


class AutoscalingSpec(Part):
    """Who says how many nodes there are."""

    mode: Literal["Disabled", "Internal", "External"] = "Disabled"
    """`Disabled`: as many nodes as `replicas` says. `Internal`: the operator finds the number, and
    `replicas` is ignored. `External`: as `replicas` says, which a HorizontalPodAutoscaler, KEDA or
    `kubectl scale` set; nodes are only taken away when that is safe."""

    min_replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = 2
    """Fewest nodes in modes Internal and External."""

    max_replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = 20
    """Most nodes in modes Internal and External."""

    target_connection_percent: Percent = 70
    """How full nodes are to be, of `capacity.maxConnections`."""

    target_deliveries_per_second: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Publications that one node is to write to its clients per second. If left out, 70 % of
    `capacity.maxDeliveriesPerSecond`; without that either, deliveries do not count."""

    target_loop_busy_percent: Percent = 60
    """How much of its time a node's event loop is to work."""

    headroom_nodes: Annotated[int, Field(ge=0, le=100)] = 1
    """Nodes beyond those that the load needs: so many may be lost at once."""

    prediction: PredictionSpec = PredictionSpec()

    scale_up: ScaleUpSpec = ScaleUpSpec()

    scale_down: ScaleDownSpec = ScaleDownSpec()

    metrics: ScrapeSpec = ScrapeSpec()


class RebalanceSpec(Part):
    """How clients move to nodes that were added, or the old ones would stay full."""

    enabled: bool = True
    """Send clients of nodes that have many more than the others elsewhere, and of all that have
    more than the average where a node has many fewer."""

    threshold_percent: Percent = 20
    """How far above or below the average a node has to be. Small numbers differ by chance: a node
    has to be beyond that as well."""

    shed_percent_per_minute: Annotated[int, Field(ge=1, le=600)] = 10
    """Clients that such a node sends elsewhere each minute, of the average node's; all within
    `reconnectBudget`."""

    min_node_age_seconds: Seconds = 120
    """How long the youngest node has to have taken clients: new clients may even things out by
    themselves."""
