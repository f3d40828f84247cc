"""What is committed of the operator's resource is what its models and the node's settings give."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from realtime_node.config import reload
from realtime_node.config.loading import variable
from realtime_node.config.section import parse_duration
from realtime_node.config.settings import Settings
from realtime_node.config.tree import Kind, all_keys
from realtime_operator.build.node_settings import (
    ADMIN_KEY_VARIABLE,
    NEEDS_RESTART,
    secret_variables,
    settings_document,
)
from realtime_operator.crd import generate
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec, SecretKeyRef
from tools import node_settings_schema

ROOT = Path(__file__).parents[2]
CRD = ROOT / "charts/realtime-operator/files/realtimeclusters.realtimecluster.dev.yaml"


def test_the_definition_is_what_the_models_say() -> None:
    """The committed CustomResourceDefinition is the generated one."""
    assert CRD.read_text(encoding="utf-8") == generate.render(), "run make crd"
    assert yaml.safe_load(CRD.read_text(encoding="utf-8")) == generate.definition()


def test_the_nodes_part_is_what_the_node_accepts() -> None:
    """The committed schema of spec.node is the one that the node's settings give."""
    committed = resources.files("realtime_operator.crd").joinpath(generate.NODE_SETTINGS)
    rendered = node_settings_schema.render()
    assert committed.read_text(encoding="utf-8") == rendered, "run make crd"


def _schemas(schema: dict[str, Any], place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield place, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _schemas(inner, f"{place}.{name}")
    if "items" in schema:
        yield from _schemas(schema["items"], f"{place}[]")


def test_the_schema_is_structural() -> None:
    """Every part has one type, and nothing that Kubernetes refuses in a structural schema."""
    version = generate.definition()["spec"]["versions"][0]
    for place, schema in _schemas(version["schema"]["openAPIV3Schema"]):
        assert "type" in schema, place
        assert not {"$ref", "anyOf", "allOf", "title", "$defs"} & schema.keys(), place
        assert schema["type"] != "array" or "items" in schema, place
        if "properties" in schema:
            assert "additionalProperties" not in schema, place
        for bound in ("exclusiveMinimum", "exclusiveMaximum"):
            assert isinstance(schema.get(bound, True), bool), place


def test_no_rule_leans_on_what_an_empty_default_lacks() -> None:
    """The API server checks a section's rules against its default, with no field filled in yet."""
    spec = generate.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for place, schema in _schemas(spec["properties"]["spec"]):
        if "default" in schema:
            for rule in schema.get("x-kubernetes-validations", ()):
                assert "!has(self." in rule["rule"], place


def test_every_field_says_what_it_means() -> None:
    """`kubectl explain` has words for every field of spec and status."""
    properties = generate.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for part in ("spec", "status"):
        for place, schema in _schemas(properties["properties"][part], part):
            assert schema.get("description") or place.endswith("[]"), place


def test_every_rule_says_what_to_do() -> None:
    """A rule of the API server comes with a message."""
    found = [
        rule
        for _, schema in _schemas(
            generate.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        )
        for rule in schema.get("x-kubernetes-validations", ())
    ]
    assert len(found) >= 5
    assert all(re.search(r"[a-z]{3}.*: ", rule["message"]) for rule in found)


def test_no_secret_stands_in_the_resource() -> None:
    """Every secret of the node's settings is left out of spec.node and has a reference instead."""
    ref = SecretKeyRef(name="secret", key="key")
    every = {f"{part}SecretRef": ref for part in ("apiKey", "adminKey", "tokenHmac")}
    for part in ("tokenHmacPrevious", "subscriptionTokenHmac", "subscriptionTokenHmacPrevious"):
        every[f"{part}SecretRef"] = ref
    redis = {f"{part}SecretRef": ref for part in ("address", "password", "sentinelPassword")}
    spec = RealtimeClusterSpec.model_validate(
        {"image": "node", "secrets": every, "engine": {"redis": redis}}
    )
    hidden = [key.path for key in all_keys().values() if key.kind is Kind.HIDDEN_TEXT]
    keys = {variable(path) for path in hidden if path[-1] != "key_pem"}
    address = "REALTIME_NODE_ENGINE__REDIS__ADDRESS"  # may hold a password
    assert set(secret_variables("chat", spec)) == keys | {address}
    assert ADMIN_KEY_VARIABLE in keys
    schemas = dict(_schemas(node_settings_schema.node_settings_schema()))
    for path in hidden:
        place = "".join(part if part == "[]" else f".{part}" for part in map(str, path))
        assert place not in schemas or schemas[place]["pattern"] == "^/[^\n]+$", place
    assert not [place for place in schemas if place.endswith("static_headers")]


def test_what_the_node_reloads_makes_no_revision() -> None:
    """Of what users may set, exactly what a running node does not take over makes another one."""
    of_users = {
        key for key in reload.NEEDS_RESTART if key.split(".")[0] not in node_settings_schema.OWNED
    }
    assert set(NEEDS_RESTART) == of_users


def test_the_node_accepts_what_the_operator_writes() -> None:
    """The file made of a spec is a valid file of settings, and the user's part stands in it."""
    channel = {"namespaces": [{"name": "chat", "history_size": 10, "history_ttl": "60s"}]}
    spec = RealtimeClusterSpec(image="node", node={"channel": channel, "log": {"level": "debug"}})
    secrets = {"http_api": {"key": "k"}, "client": {"token": {"hmac_secret_key": "k" * 32}}}
    settings = Settings.model_validate({**secrets, **settings_document(spec)})
    assert settings.engine.type == "redis"
    assert settings.channel.namespaces[0].name == "chat"
    assert settings.log.level == "debug"
    assert settings.http_server.internal_port == 9000
    assert settings.drain.propagation.total_seconds() == spec.drain.propagation_seconds
    assert settings.admission.max_connections == spec.capacity.max_connections
    assert list(settings.warnings()) == []
    needed_s = spec.drain.propagation_seconds + spec.drain.window_seconds
    assert settings.shutdown.timeout.total_seconds() > needed_s


@pytest.mark.parametrize(
    "text", ["0", "300s", "1h30m", "500ms", "1.5s", ".5h", "", "5", "s", "1 s", "-1s", "1d", "1s "]
)
def test_durations_are_the_same_to_both(text: str) -> None:
    """The API server's pattern takes a duration if and only if the node does."""
    try:
        parse_duration(text)
        is_duration = True
    except ValueError:
        is_duration = False
    assert bool(re.search(node_settings_schema.DURATION_PATTERN, text)) == is_duration
