"""A RealtimeCluster: what users ask for. What became of it is in `status`.

`generate` turns these classes into the CustomResourceDefinition; `spec.node` is described by
`node_settings.json`, which is written from the node's own settings, so that a mistake is refused by
the API server and not by a Pod that crashes.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from realtime_operator.crd.model import Part, Passthrough, Percent, Rule, Seconds, rules
from realtime_operator.crd.scaling import MAX_REPLICAS, RULES, AutoscalingSpec, RebalanceSpec

GROUP: Final = "realtimecluster.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "RealtimeCluster"
PLURAL: Final = "realtimeclusters"
SHORT_NAME: Final = "rtc"

ROOT_RULES: Final = (
    Rule(
        "size(self.metadata.name) <= 40"
        " && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "Pods and Services are named after the cluster: choose a name of at most 40 lower-case"
        " letters, digits and hyphens that begins with a letter",
    ),
)


class SecretKeyRef(Part):
    """A key of a Secret in the cluster's namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the Secret."""

    key: Annotated[str, Field(min_length=1, max_length=253)]
    """Key within the Secret."""


class RedisSpec(Part):
    """What nodes need to reach Redis and nobody should read; the rest is in `node.engine.redis`."""

    address_secret_ref: SecretKeyRef | None = None
    """Holds the address, e.g. `rediss://user:password@redis:6379`. Where it needs no password,
    `node.engine.redis.address` does as well."""

    password_secret_ref: SecretKeyRef | None = None
    """Holds the password alone."""

    sentinel_password_secret_ref: SecretKeyRef | None = None
    """Holds the password that the Sentinels ask for."""


class EngineSpec(Part):
    """Where the cluster keeps what its nodes share."""

    redis: RedisSpec = RedisSpec()


class SecretsSpec(Part):
    """Secrets of the nodes, by reference.

    They are read when a node starts: to bring in another key, name another Secret or another key of
    it, which replaces the nodes one after another.
    """

    api_key_secret_ref: SecretKeyRef | None = None
    """Holds what backends send in `X-API-Key`. Without it the HTTP API refuses every call."""

    admin_key_secret_ref: SecretKeyRef | None = None
    """Holds the key by which the operator drains nodes. Without it the operator makes a Secret
    named after the cluster, ending in `-admin`."""

    token_hmac_secret_ref: SecretKeyRef | None = None
    """Holds the key that signs connection tokens, at least 32 bytes."""

    token_hmac_previous_secret_ref: SecretKeyRef | None = None
    """Holds the key that signed connection tokens before; they stay valid while it is named."""

    subscription_token_hmac_secret_ref: SecretKeyRef | None = None
    """Holds the key that signs subscription tokens, if they have one of their own."""

    subscription_token_hmac_previous_secret_ref: SecretKeyRef | None = None
    """Holds the key that signed subscription tokens before."""


class TemplateSpec(Part):
    """What to add to the Pods. Restricted Pod Security and the operator's own fields stay."""

    labels: dict[str, str] = Field(default_factory=dict)
    """Labels; those of the operator win."""

    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations; those of the operator, `realtimecluster.dev/…`, stay its own. Unless it is given
    here, `cluster-autoscaler.kubernetes.io/safe-to-evict` is `true`; `false` keeps the Cluster
    Autoscaler from removing a machine with a node on it."""

    resources: Passthrough = Field(default_factory=dict)
    """Requests and limits of the node's container. A node uses one core."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the Kubernetes nodes that Pods may run on."""

    tolerations: list[Passthrough] = Field(default_factory=list)
    """Taints that Pods tolerate, beside those of a Kubernetes node that went away, for 30 s."""

    affinity: Passthrough = Field(default_factory=dict)
    """Where Pods would like to run."""

    topology_spread_constraints: list[Passthrough] = Field(default_factory=list)
    """How Pods are spread. Empty: evenly over zones and Kubernetes nodes, where that is
    possible."""

    priority_class_name: str = ""
    """Priority class of the Pods."""

    runtime_class_name: str = ""
    """Runtime class of the Pods."""

    image_pull_secrets: list[Passthrough] = Field(default_factory=list)
    """Secrets to pull the image with, each `{name: …}`."""

    env: list[Passthrough] = Field(default_factory=list)
    """Further variables of the node's environment. Settings belong into `node`; those that are
    secret and have no place in this resource, such as `static_headers` of a proxy, come as
    variables `REALTIME_NODE_…` from a Secret."""

    volumes: list[Passthrough] = Field(default_factory=list)
    """Further volumes, e.g. of certificates."""

    volume_mounts: list[Passthrough] = Field(default_factory=list)
    """Where the node finds them."""


class CapacitySpec(Part):
    """What one node carries; `make capacity` measures it."""

    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Connections of one node. No node is drained into others that would exceed it."""

    soft_limit_percent: Percent = 90
    """How full nodes may get by a scale-down; the rest is for clients yet to come."""

    max_deliveries_per_second: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Publications that one node can write to its clients per second."""


class DrainSpec(Part):
    """How clients are moved off a node before it goes."""

    propagation_seconds: Annotated[Seconds, Field(le=600)] = 15
    """How long after a node was taken out of the Service new clients may still reach it. Load
    balancers outside of Kubernetes may need 120 s and more."""

    window_seconds: Annotated[Seconds, Field(ge=1, le=21_600)] = 300
    """Time in which a node's clients are sent elsewhere, evenly. Longer where `reconnectBudget`
    asks for it. A change counts at once for the operator's drains. Where Kubernetes ends a Pod
    (eviction, deletion) the drain takes no longer than the Pod was given when it was made: a longer
    window counts there for Pods made since."""

    deadline_policy: Literal["Force", "Wait"] = "Force"
    """What happens to clients that are left at the end: `Force` ends the Pod a minute later, and
    its node closes them, whatever the budget says, before its grace period is over. `Wait` gives
    them as long again, while the node answers."""

    on_delete: Literal["Delete", "Drain"] = "Delete"
    """When the RealtimeCluster is deleted: `Delete` ends all nodes at once, each within its grace
    period. `Drain` first sends their clients away within the window; it keeps the resource until
    then by a finalizer, which somebody has to remove by hand if the operator is gone."""


class ReconnectBudgetSpec(Part):
    """How many clients the cluster may send away at a time."""

    connections_per_second_per_node: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Clients per second that every accepting node takes in; drains of the whole cluster share it
    by the number of accepting nodes."""


class UpdateSpec(Part):
    """How nodes are replaced when what cannot be reloaded has changed."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.mode == 'Frugal' || !has(self.maxSurge)",
                "maxSurge is for mode Frugal: leave it out, OneReconnect starts all new nodes"
                " before it drains the first old one",
            ),
        )
    )

    mode: Literal["OneReconnect", "Frugal"] = "OneReconnect"
    """`OneReconnect` starts as many new nodes as there are old ones and only then drains these, so
    that a client reconnects once; it needs nearly twice the capacity for a while. `Frugal` goes on
    with `maxSurge` more nodes; a client may come to a node that is replaced later."""

    max_surge: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] | None = None
    """Nodes above `replicas` in mode Frugal; 1 if left out."""

    max_concurrent_drains: Annotated[int, Field(ge=1, le=100)] = 1
    """Nodes that are drained at the same time."""

    min_ready_seconds: Seconds = 10
    """How long a new node has to be ready before clients are sent to it."""

    progress_deadline_seconds: Annotated[Seconds, Field(ge=10)] = 600
    """After how long a new node that is not ready counts as broken: Progressing turns False."""


class DisruptionBudgetSpec(Part):
    """How many nodes may be missing."""

    max_unavailable: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 1
    """Nodes below `replicas` that may be missing among those that take new clients. One always
    stays."""


class ServiceSpec(Part):
    """The Service that clients connect to."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """How the Service is reached."""

    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port of the Service."""

    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations, e.g. for a cloud's load balancer."""


class NetworkPolicySpec(Part):
    """Who reaches the internal port: the HTTP API, metrics, and what drains nodes."""

    enabled: bool = True
    """Make a NetworkPolicy; `false` deletes the one that was made. The operator, and Pods in the
    cluster's namespace with the label `realtimecluster.dev/api-client: "true"`, always reach the
    port."""

    internal_from: list[Passthrough] = Field(default_factory=list)
    """Others that reach it, as peers of a NetworkPolicy, e.g. the namespace of Prometheus."""


class RealtimeClusterSpec(Part):
    """What is wanted."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.node.engine) || !has(self.node.engine.type)"
                " || self.node.engine.type != 'memory' || (self.autoscaling.mode == 'Disabled'"
                " ? self.replicas <= 1 : self.autoscaling.maxReplicas <= 1)",
                "with node.engine.type memory every node is a cluster by itself: set replicas to 1,"
                " or use redis; unless autoscaling.mode is Disabled, set maxReplicas to 1 instead",
            ),
            Rule(
                "has(self.engine.redis.addressSecretRef) || (has(self.node.engine)"
                " && ((has(self.node.engine.type) && self.node.engine.type == 'memory')"
                " || (has(self.node.engine.redis) && (has(self.node.engine.redis.address)"
                " || has(self.node.engine.redis.sentinel_address)"
                " || has(self.node.engine.redis.cluster_address)))))",
                "say where Redis is: set engine.redis.addressSecretRef, or"
                " node.engine.redis.address where it needs no password",
            ),
            *RULES,
        )
    )

    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 2
    """Nodes that take clients. With `autoscaling.mode: Internal` it is ignored."""

    paused: bool = False
    """Leave everything as it is: nothing is created, drained or deleted. Drains that nodes have
    begun go on, and a RealtimeCluster that is deleted goes as it would without a pause."""

    image: Annotated[str, Field(min_length=1, max_length=1024)]
    """Image of the node."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the image is pulled."""

    engine: EngineSpec = EngineSpec()

    secrets: SecretsSpec = SecretsSpec()

    node: dict[str, Any] = Field(default_factory=dict)
    """Settings of the nodes, as in docs/configuration.md. Running nodes take over most changes; one
    of a setting that is marked ↻ there replaces them."""

    template: TemplateSpec = TemplateSpec()

    capacity: CapacitySpec = CapacitySpec()

    autoscaling: AutoscalingSpec = AutoscalingSpec()

    rebalance: RebalanceSpec = RebalanceSpec()

    drain: DrainSpec = DrainSpec()

    reconnect_budget: ReconnectBudgetSpec = ReconnectBudgetSpec()

    update: UpdateSpec = UpdateSpec()

    disruption_budget: DisruptionBudgetSpec = DisruptionBudgetSpec()

    service: ServiceSpec = ServiceSpec()

    network_policy: NetworkPolicySpec = NetworkPolicySpec()
