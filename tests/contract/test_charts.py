"""The charts against what they are made from and what they install: no cluster, no helm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from realtime_node.telemetry.metrics import Metrics as NodeMetrics
from realtime_operator.apply.kube_client import _PLACES
from realtime_operator.handlers import registry
from realtime_operator.settings import PREFIX, OperatorSettings
from realtime_operator.telemetry.metrics import Metrics
from tools.chart_docs import generated

CHARTS: Final = Path(__file__).parents[2] / "charts"


@pytest.fixture
def rules() -> list[dict[str, Any]]:
    """The operator's rights in a namespace that it looks after."""
    text = (CHARTS / "realtime-operator/templates/_helpers.tpl").read_text(encoding="utf-8")
    found = re.search(r'define "realtime-operator\.rules" -}}\n(.*?){{- end }}', text, re.DOTALL)
    assert found
    parsed: list[dict[str, Any]] = yaml.safe_load(found[1])
    return parsed


def test_generated_files_are_up_to_date() -> None:
    """README.md and values.schema.json of the charts follow from their values.yaml and the CRD."""
    for path, text in generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is out of date: run 'make charts'"


def test_the_charts_have_the_packages_version() -> None:
    """Chart, image and package are of one version."""
    for package, chart in (("node", "realtime-cluster"), ("operator", "realtime-operator")):
        about = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text(encoding="utf-8"))
        code = (CHARTS.parent / package / f"realtime_{package}/__init__.py").read_text("utf-8")
        assert f'__version__ = "{about["appVersion"]}"' in code


def test_the_operator_may_watch_what_it_watches(rules: list[dict[str, Any]]) -> None:
    """Every resource that a handler watches can be listed and watched."""
    may = {
        (group, resource)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if {"list", "watch"} <= set(rule["verbs"])
    }
    handlers = registry._watching.get_all_handlers()
    selectors = [handler.selector for handler in handlers if handler.selector]
    watched = {
        ("" if s.group is None or s.group == "v1" else s.group, s.any_name or s.plural)
        for s in selectors
    }
    assert watched
    assert {name for _, name in watched} <= {name for _, name in may}


def test_the_operator_may_make_what_it_makes(rules: list[dict[str, Any]]) -> None:
    """Every kind that the client knows a place for has a rule, leases in a role of their own."""
    ruled = {
        (group, name) for rule in rules for group in rule["apiGroups"] for name in rule["resources"]
    }
    for (api_version, kind), place in _PLACES.items():
        group = api_version.partition("/")[0] if "/" in api_version else ""
        resource = place.rsplit("/", 1)[1]
        assert kind == "Lease" or (group, resource) in ruled


def test_the_deployment_sets_only_what_the_operator_reads() -> None:
    """Every variable of the Deployment is one of the operator's settings."""
    text = (CHARTS / "realtime-operator/templates/operator/deployment.yaml").read_text("utf-8")
    variables = {name.lower() for name in re.findall(rf"{PREFIX}([A-Z_]+)", text)}
    assert variables
    assert variables <= set(OperatorSettings.model_fields)


def test_alerts_ask_for_metrics_that_exist() -> None:
    """Every metric in an alert is one that the operator, or a node, tells."""
    alerts = yaml.safe_load((CHARTS / "realtime-operator/files/alerts.yaml").read_text("utf-8"))
    exposed = (Metrics().expose() + NodeMetrics().expose()).decode()
    told = set(re.findall(r"^# TYPE (\S+) ", exposed, re.MULTILINE))
    for rule in (rule for group in alerts["groups"] for rule in group["rules"]):
        asked = set(re.findall(r"realtime_[a-z_]+", rule["expr"]))
        assert asked
        assert asked <= told


def test_every_alert_says_what_to_do() -> None:
    """docs/kubernetes.md has a passage under each alert's name."""
    alerts = yaml.safe_load((CHARTS / "realtime-operator/files/alerts.yaml").read_text("utf-8"))
    book = (CHARTS.parent / "docs/kubernetes.md").read_text(encoding="utf-8")
    for rule in (rule for group in alerts["groups"] for rule in group["rules"]):
        assert f"`{rule['alert']}`" in book


@pytest.mark.parametrize("monitor", ["pod-monitor", "service-monitor"])
def test_a_clusters_labels_survive_the_scrape(monitor: str) -> None:
    """Metrics have a label `namespace`; Prometheus would put the operator's own in its place."""
    path = CHARTS / f"realtime-operator/templates/monitoring/{monitor}.yaml"
    [endpoint] = re.findall(r"- {(.*path: /metrics.*)}$", path.read_text("utf-8"), re.MULTILINE)
    assert "honorLabels: true" in endpoint


def test_a_cluster_that_never_had_a_good_round_is_told() -> None:
    """Rounds that were done are none where there is no such series, and not unknown."""
    alerts = yaml.safe_load((CHARTS / "realtime-operator/files/alerts.yaml").read_text("utf-8"))
    [rule] = [
        each
        for each in alerts["groups"][0]["rules"]
        if each["alert"] == "RealtimeClusterRoundsFail"
    ]
    assert "or 0 * sum by (namespace, cluster) (realtime_operator_rounds_total)" in rule["expr"]
