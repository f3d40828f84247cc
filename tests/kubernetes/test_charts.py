"""The charts as helm renders them and as an API server understands them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.kubernetes.cluster import CHARTS, Cluster, CommandFailed
from tests.support.kubernetes.installation import Installed

VALUES: Final = sorted(CHARTS.glob("*/ci/*.yaml"))
NOT_IN_EVERY_CLUSTER: Final = ("monitoring.coreos.com/", "gateway.networking.k8s.io/")
"""Groups whose definitions somebody has to install."""
NAMESPACE: Final = "realtime-charts"


def rendered(cluster: Cluster, values: Path) -> list[dict[str, Any]]:
    """All manifests of a chart with these values."""
    chart = values.parents[1]
    text = cluster.helm("template", "demo", str(chart), "-n", NAMESPACE, "--values", str(values))
    return [each for each in yaml.safe_load_all(text) if each]


@pytest.fixture(scope="module")
def namespace(installed: Installed) -> Iterator[str]:
    """A restricted namespace, in a cluster that knows the resource."""
    installed.cluster.make_namespace(NAMESPACE)
    yield NAMESPACE
    installed.cluster.kubectl("delete", "namespace", NAMESPACE, within_s=60)


@pytest.mark.parametrize("values", VALUES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_a_chart_is_lint_free(cluster: Cluster, values: Path) -> None:
    """Helm finds nothing to complain about, warnings included, with any of the values files."""
    cluster.helm("lint", "--strict", str(values.parents[1]), "--values", str(values))


@pytest.mark.parametrize("values", VALUES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_an_api_server_takes_what_a_chart_renders(
    cluster: Cluster, namespace: str, values: Path
) -> None:
    """Every object passes the API server's schemas and admission, and has no unknown field."""
    manifests = rendered(cluster, values)
    assert {each["metadata"].get("namespace") for each in manifests} >= {namespace}
    for manifest in sorted(manifests, key=lambda each: each["kind"] != "ServiceAccount"):
        if manifest["kind"] == "ServiceAccount":  # Pods are refused where theirs is not there
            cluster.apply(manifest)
        elif not manifest["apiVersion"].startswith(NOT_IN_EVERY_CLUSTER):
            cluster.apply(manifest, "--dry-run=server", "--force-conflicts")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"valkey.enabled": "true", "drain.windowSecond": "3"}, "windowSecond"),
        ({"valkey.enabled": "true", "node.chanel.x": "1"}, "chanel"),
        ({"valkey.enabled": "true", "replica": "3"}, "replica"),
        ({"valkey.enabled": "true", "update.mode": "Fast"}, "OneReconnect"),
        ({"valkey.enabled": "true", "autoscaling.mode": "Sometimes"}, "External"),
        ({"valkey.enabled": "true", "rebalance.treshold": "3"}, "treshold"),
        ({}, "say where Redis is"),
        (
            {"valkey.enabled": "true", "redis.address": "redis://other"},
            "valkey.enabled is for trials",
        ),
        ({"valkey.enabled": "true", "name": "9lives"}, "name"),
        ({"valkey.enabled": "true", "ingress.enabled": "true"}, "ingress.hosts"),
        ({"valkey.enabled": "true", "gateway.enabled": "true"}, "gateway.parentRefs"),
    ],
)
def test_wrong_values_are_refused(cluster: Cluster, values: dict[str, str], told: str) -> None:
    """Helm refuses a typo or a contradiction, and names the key."""
    options = [f"--set={key}={value}" for key, value in values.items()]
    with pytest.raises(CommandFailed, match=told):
        cluster.helm("template", "demo", str(CHARTS / "realtime-cluster"), *options)


@pytest.mark.parametrize("mode", ["Disabled", "Internal", "External"])
def test_replicas_are_left_to_who_finds_them(cluster: Cluster, mode: str) -> None:
    """An upgrade of the chart takes back no number that an autoscaler or the operator has found."""
    chart, given = str(CHARTS / "realtime-cluster"), f"autoscaling.mode={mode},valkey.enabled=true"
    text = cluster.helm("template", "demo", chart, "--set", given)
    [spec] = [
        each["spec"]
        for each in yaml.safe_load_all(text)
        if each and each["kind"] == "RealtimeCluster"
    ]
    assert spec.get("replicas") == (2 if mode == "Disabled" else None)
    assert spec["autoscaling"] == {"mode": mode}


def test_no_secret_is_rendered_twice_alike(cluster: Cluster) -> None:
    """Keys that nobody gave are random."""
    values = CHARTS / "realtime-cluster/ci/trial.yaml"
    once, again = (
        next(each["data"] for each in rendered(cluster, values) if each["kind"] == "Secret")
        for _ in range(2)
    )
    assert once.keys() == again.keys() == {"api-key", "token-hmac-key"}
    assert not set(once.values()) & set(again.values())
