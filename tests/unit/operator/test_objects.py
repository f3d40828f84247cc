"""The objects of a cluster: what Kubernetes is asked for."""

from __future__ import annotations

from typing import Any

from realtime_operator.build import names
from realtime_operator.build.children import children
from realtime_operator.build.disruption_budget import disruption_budget
from realtime_operator.build.revision import revision_of
from realtime_operator.build.workload import pod
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec
from tests.support.simulated_cluster import OWNER


def make_spec(**changed: Any) -> RealtimeClusterSpec:
    """A spec with nothing but an image."""
    return RealtimeClusterSpec.model_validate({"image": "node:1", **changed})


def manifests(**changed: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """All children of a cluster, by kind and name."""
    spec = make_spec(**changed)
    made = children(OWNER, spec, "rev", pods=3, operator_namespace="operators")
    return {(each["kind"], each["metadata"]["name"]): each for each in made}


def test_the_revision_of_a_spec_never_changes() -> None:
    """Upgrading the operator rolls nothing: what a spec hashes to is pinned here.

    If this fails, every cluster of every user would be replaced by the change: mean it, and raise
    TEMPLATE_VERSION instead.
    """
    assert revision_of(make_spec()) == "293a1dad78"
    full = make_spec(
        node={"engine": {"redis": {"prefix": "x"}}, "client": {"ping_interval": "20s"}},
        template={"labels": {"team": "a"}, "resources": {"limits": {"memory": "1Gi"}}},
        secrets={"apiKeySecretRef": {"name": "s", "key": "k"}},
    )
    assert revision_of(full) == "c2223fd8b1"


def test_what_nodes_reload_makes_no_revision() -> None:
    """Namespaces, limits, keys' places, budgets and numbers leave the revision as it is."""
    same = make_spec(
        replicas=7,
        node={
            "channel": {"max_length": 9},
            "client": {"channel_limit": 9},
            "log": {},
            "websocket": {"compression": True},
        },
        drain={"windowSeconds": 9},
        reconnectBudget={"connectionsPerSecondPerNode": 9},
        capacity={"maxConnections": 9},
    )
    assert revision_of(same) == revision_of(make_spec())


def test_what_nodes_cannot_reload_makes_a_revision() -> None:
    """Image, template, secrets and the other settings each make another one."""
    reference = {"name": "s", "key": "k"}
    changes: list[dict[str, Any]] = [
        {},
        {"image": "node:2"},
        {"node": {"client": {"ping_interval": "20s"}}},
        {"node": {"websocket": {"handler_prefix": "/ws"}}},
        {"template": {"labels": {"a": "b"}}},
        {"secrets": {"apiKeySecretRef": reference}},
        {"engine": {"redis": {"addressSecretRef": reference}}},
    ]
    assert len({revision_of(make_spec(**each)) for each in changes}) == len(changes)


def test_a_pod_meets_restricted_pod_security() -> None:
    """No root, no privileges, no writable root, no token: a test of Kubernetes' own list."""
    made = pod(OWNER, make_spec(), "rev", "chat-rev-0")["spec"]
    container = made["containers"][0]
    assert made["automountServiceAccountToken"] is False
    assert made["securityContext"]["runAsNonRoot"] is True
    assert made["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & made.keys()
    assert all({"configMap", "emptyDir"} & volume.keys() for volume in made["volumes"])


def test_a_pod_has_as_long_to_end_as_its_drain_takes() -> None:
    """The grace period is propagation, window and a little."""
    spec = make_spec(drain={"propagationSeconds": 20, "windowSeconds": 100})
    made = pod(OWNER, spec, "rev", "chat-rev-0")["spec"]
    assert made["terminationGracePeriodSeconds"] == 135


def test_what_users_add_to_pods_stands_beside_ours() -> None:
    """Labels, annotations, variables and the rest are there, and the operator's own win."""
    template = {
        "labels": {"team": "a", names.CLUSTER: "stolen"},
        "annotations": {"note": "b"},
        "nodeSelector": {"disk": "fast"},
        "env": [{"name": "TZ", "value": "UTC"}],
        "tolerations": [{"key": "spot"}],
        "topologySpreadConstraints": [{"maxSkew": 3}],
        "volumes": [{"name": "certs", "secret": {"secretName": "x"}}],
        "volumeMounts": [{"name": "certs", "mountPath": "/certs"}],
    }
    made = pod(OWNER, make_spec(template=template), "rev", "chat-rev-0")
    assert made["metadata"]["labels"]["team"] == "a"
    assert made["metadata"]["labels"][names.CLUSTER] == "chat"
    assert made["metadata"]["labels"][names.ACCEPTING] == "false"
    assert made["metadata"]["annotations"]["note"] == "b"
    assert made["spec"]["nodeSelector"] == {"disk": "fast"}
    assert made["spec"]["topologySpreadConstraints"] == [{"maxSkew": 3}]
    assert {"key": "spot"} in made["spec"]["tolerations"]
    assert "affinity" not in made["spec"]
    assert made["spec"]["containers"][0]["env"][-1]["name"] == "TZ"


def test_users_say_whether_a_machine_may_be_removed() -> None:
    """It may unless they say otherwise; what the operator remembers they cannot write."""
    key = "cluster-autoscaler.kubernetes.io/safe-to-evict"
    made = pod(OWNER, make_spec(), "rev", "p")["metadata"]["annotations"]
    assert made == {key: "true"}
    given = {key: "false", names.DRAIN_STATE: "Drained", "note": "b"}
    spec = make_spec(template={"annotations": given})
    made = pod(OWNER, spec, "rev", "p")["metadata"]["annotations"]
    assert made == {key: "false", "note": "b"}


def test_secrets_reach_a_node_as_references() -> None:
    """A variable of the container names the Secret; its content is nowhere."""
    reference = {"name": "redis", "key": "url"}
    spec = make_spec(engine={"redis": {"addressSecretRef": reference}})
    env = {
        each["name"]: each for each in pod(OWNER, spec, "r", "p")["spec"]["containers"][0]["env"]
    }
    address = env["REALTIME_NODE_ENGINE__REDIS__ADDRESS"]
    assert address["valueFrom"] == {"secretKeyRef": reference}
    admin = env["REALTIME_NODE_ADMIN__KEY"]["valueFrom"]["secretKeyRef"]
    assert admin == {"name": "chat-admin", "key": "key"}


def test_clients_reach_accepting_nodes_only() -> None:
    """The public Service selects by the label that a cordon takes away; the others do not."""
    made = manifests(service={"type": "LoadBalancer", "port": 443, "annotations": {"a": "b"}})
    public = made["Service", "chat"]
    assert public["spec"]["selector"] == {names.CLUSTER: "chat", names.ACCEPTING: "true"}
    assert public["spec"]["type"] == "LoadBalancer"
    assert public["spec"]["ports"][0]["port"] == 443
    assert public["metadata"]["annotations"] == {"a": "b"}
    assert made["Service", "chat-api"]["spec"]["selector"] == {names.CLUSTER: "chat"}
    headless = made["Service", "chat-nodes"]["spec"]
    assert headless["clusterIP"] == "None"
    assert headless["publishNotReadyAddresses"] is True


def test_the_disruption_budget_is_a_number() -> None:
    """All Pods but as many as may be missing have to stay; it never gets below nothing."""
    spec = make_spec(disruptionBudget={"maxUnavailable": 2})
    assert disruption_budget(OWNER, spec, 6)["spec"]["minAvailable"] == 4
    assert disruption_budget(OWNER, spec, 1)["spec"]["minAvailable"] == 0
    assert disruption_budget(OWNER, spec, 6)["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_the_internal_port_is_for_few() -> None:
    """Everybody reaches the public port; operator, API clients and who is named the other one."""
    peer = {"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}
    made = manifests(networkPolicy={"internalFrom": [peer]})
    public, internal = made["NetworkPolicy", "chat"]["spec"]["ingress"]
    assert "from" not in public
    assert peer in internal["from"]
    assert len(internal["from"]) == 3
    assert ("NetworkPolicy", "chat") not in manifests(networkPolicy={"enabled": False})


def test_everything_belongs_to_its_cluster() -> None:
    """Every object has the controller that takes it along when it goes, and our labels."""
    for made in [*manifests().values(), pod(OWNER, make_spec(), "rev", "p")]:
        owner = made["metadata"]["ownerReferences"][0]
        assert (owner["uid"], owner["controller"]) == (OWNER.uid, True)
        assert made["metadata"]["labels"][names.CLUSTER] == "chat"
        assert made["metadata"]["namespace"] == "team"
