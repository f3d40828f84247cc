"""What a user sees after `helm install` of both charts."""

from __future__ import annotations

import pytest

from tests.support.kubernetes.cluster import CommandFailed
from tests.support.kubernetes.installation import (
    AVAILABLE_S,
    NAMESPACE,
    OPERATOR,
    OPERATOR_NAMESPACE,
    Installed,
    operator_values,
)

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def test_clients_can_connect_within_a_minute(installed: Installed) -> None:
    """From the first `helm install` to the condition Available it takes at most a minute."""
    assert installed.available_after_s <= AVAILABLE_S


@pytest.mark.parametrize(
    ("release", "namespace"), [("demo", NAMESPACE), (OPERATOR, OPERATOR_NAMESPACE)]
)
def test_helm_test_passes(installed: Installed, release: str, namespace: str) -> None:
    """`helm test` of both releases succeeds: a client receives what a backend publishes."""
    said = installed.cluster.helm("test", release, "--namespace", namespace, "--timeout=90s")
    assert "Succeeded" in said


def test_kubectl_get_tells_how_a_cluster_is(installed: Installed) -> None:
    """`kubectl get rtc` shows nodes, clients and whether it is available, in one line."""
    cluster = installed.cluster
    columns = ("Desired", "Ready", "Accepting", "Draining", "Conns", "Util", "Available", "Age")
    header, line = cluster.kubectl("get", "rtc", "--namespace", NAMESPACE).splitlines()
    assert header.split() == ["NAME", *(name.upper() for name in columns)]
    assert line.split()[:5] == ["demo", "2", "2", "2", "0"]
    assert line.split()[-2] == "True"


def test_nodes_have_no_token_of_the_api_server(installed: Installed) -> None:
    """No node's Pod mounts a service account's token."""
    pods = installed.nodes()
    assert len(pods) == 2
    for pod in pods:
        assert pod["spec"]["automountServiceAccountToken"] is False
        sources = [volume for volume in pod["spec"]["volumes"] if "projected" in volume]
        assert sources == []
        look = ("exec", pod["metadata"]["name"], "-n", NAMESPACE, "--", "ls", ACCOUNT)
        with pytest.raises(CommandFailed, match="No such file"):
            installed.cluster.kubectl(*look)


def test_a_node_cannot_write_to_its_image(installed: Installed) -> None:
    """The root file system is read-only, and the process is nobody in particular."""
    pod = installed.nodes()[0]["metadata"]["name"]
    run = ("exec", pod, "--namespace", NAMESPACE, "--")
    assert installed.cluster.kubectl(*run, "id", "-u").strip() == "65532"
    with pytest.raises(CommandFailed, match="Read-only file system"):
        installed.cluster.kubectl(*run, "touch", "/opt/realtime/x")


def test_restricted_pod_security_is_enforced(installed: Installed) -> None:
    """The namespaces refuse a Pod that is not restricted, so ours are."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "loose", "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "loose", "image": installed.cluster.images.node}]},
    }
    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        installed.cluster.apply(manifest, "--dry-run=server")


def test_one_replica_of_the_operator_holds_the_lease(installed: Installed) -> None:
    """Both replicas are ready, and the lease names one of them."""
    cluster = installed.cluster
    cluster.wait(
        "deployment/realtime-operator", "condition=Available", OPERATOR_NAMESPACE, within_s=60
    )
    pods = cluster.find("pods", OPERATOR_NAMESPACE, "app.kubernetes.io/component=operator")
    lease = cluster.get("lease", "realtime-operator", OPERATOR_NAMESPACE)
    assert len(pods) == 2
    assert lease["spec"]["holderIdentity"] in {pod["metadata"]["name"] for pod in pods}


def test_upgrading_the_operator_replaces_no_node(installed: Installed) -> None:
    """After another roll-out of the operator the nodes are the same Pods, and not restarted."""
    cluster = installed.cluster

    def nodes() -> set[tuple[str, int]]:
        return {
            (
                pod["metadata"]["uid"],
                sum(s["restartCount"] for s in pod["status"]["containerStatuses"]),
            )
            for pod in installed.nodes()
        }

    before = nodes()
    upgraded = operator_values(cluster, podAnnotations={"example.com/release": "2"})
    cluster.install(OPERATOR, "realtime-operator", OPERATOR_NAMESPACE, upgraded)
    rollout = ("rollout", "status", "deployment/realtime-operator", "--timeout=60s")
    cluster.kubectl(*rollout, "--namespace", OPERATOR_NAMESPACE, within_s=70)
    # The new leader has acted when it has taken over a change of the spec.
    cluster.kubectl(
        "patch",
        "rtc",
        "demo",
        "-n",
        NAMESPACE,
        "--type=merge",
        '--patch={"spec": {"capacity": {"softLimitPercent": 80}}}',
    )
    generation = cluster.get("rtc", "demo", NAMESPACE)["metadata"]["generation"]
    cluster.wait(
        "rtc/demo", f"jsonpath={{.status.observedGeneration}}={generation}", NAMESPACE, within_s=60
    )
    assert nodes() == before
