"""The charts as helm renders them and as an API server understands them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.kubernetes.cluster import CHARTS, Cluster, CommandFailed

VALUES: Final = sorted(CHARTS.glob("*/ci/*.yaml"))
NOT_IN_EVERY_CLUSTER: Final = ("monitoring.coreos.com/", "gateway.networking.k8s.io/")
"""Groups whose definitions somebody has to install."""
NAMESPACE: Final = "default"


def rendered(cluster: Cluster, values: Path) -> list[dict[str, Any]]:
    """All manifests of a chart with these values."""
    chart = values.parents[1]
    text = cluster.helm("template", "demo", str(chart), "-n", NAMESPACE, "--values", str(values))
    return [each for each in yaml.safe_load_all(text) if each]


@pytest.fixture(scope="module")
def defined(cluster: Cluster) -> Cluster:
    """A cluster that knows the resource."""
    values = CHARTS / "realtime-operator/ci/default.yaml"
    for manifest in rendered(cluster, values):
        if manifest["kind"] == "CustomResourceDefinition":
            cluster.apply(manifest, "--force-conflicts")
            name = manifest["metadata"]["name"]
            cluster.wait(f"crd/{name}", "condition=Established", NAMESPACE, within_s=30)
    return cluster


@pytest.mark.parametrize("values", VALUES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_a_chart_is_lint_free(cluster: Cluster, values: Path) -> None:
    """Helm finds nothing to complain about, warnings included, with any of the values files."""
    cluster.helm("lint", "--strict", str(values.parents[1]), "--values", str(values))


@pytest.mark.parametrize("values", VALUES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_an_api_server_takes_what_a_chart_renders(defined: Cluster, values: Path) -> None:
    """Every object passes the API server's schemas and admission, and has no unknown field."""
    manifests = rendered(defined, values)
    assert manifests
    for manifest in manifests:
        if not manifest["apiVersion"].startswith(NOT_IN_EVERY_CLUSTER):
            defined.apply(manifest, "--dry-run=server", "--force-conflicts")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"valkey.enabled": "true", "drain.windowSecond": "3"}, "windowSecond"),
        ({"valkey.enabled": "true", "node.chanel.x": "1"}, "chanel"),
        ({"valkey.enabled": "true", "replica": "3"}, "replica"),
        ({"valkey.enabled": "true", "update.mode": "Fast"}, "OneReconnect"),
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


def test_no_secret_is_rendered_twice_alike(cluster: Cluster) -> None:
    """Keys that nobody gave are random."""
    values = CHARTS / "realtime-cluster/ci/trial.yaml"
    once, again = (
        next(each["data"] for each in rendered(cluster, values) if each["kind"] == "Secret")
        for _ in range(2)
    )
    assert once.keys() == again.keys() == {"api-key", "token-hmac-key"}
    assert not set(once.values()) & set(again.values())
