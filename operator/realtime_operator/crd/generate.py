"""The CustomResourceDefinition, written from the models: `realtime-operator crd` prints it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any, Final

import yaml

from realtime_operator.crd.model import Rule, rules
from realtime_operator.crd.realtime_cluster import (
    GROUP,
    KIND,
    PLURAL,
    ROOT_RULES,
    SHORT_NAME,
    VERSION,
    RealtimeClusterSpec,
)
from realtime_operator.crd.schema import Schema, structural
from realtime_operator.crd.status import RealtimeClusterStatus

NODE_SETTINGS: Final = "node_settings.json"
"""Beside this module; `make crd` writes it from the node's settings."""

_COLUMNS: Final = (
    ("Desired", "integer", ".status.desiredReplicas", 0),
    ("Ready", "integer", ".status.readyReplicas", 0),
    ("Accepting", "integer", ".status.acceptingReplicas", 0),
    ("Draining", "integer", ".status.drainingReplicas", 0),
    ("Conns", "integer", ".status.connections.total", 0),
    ("Util", "string", ".status.connections.utilization", 0),
    ("Available", "string", '.status.conditions[?(@.type=="Available")].status', 0),
    ("Revision", "string", ".status.revision", 1),
    ("Progressing", "string", '.status.conditions[?(@.type=="Progressing")].reason', 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)

_ADDRESS_RULE: Final = Rule(
    "!has(self.address) || !self.address.contains('@')",
    "everybody who may read this resource would read the password: put the address into a Secret"
    " and name it in engine.redis.addressSecretRef",
)


def node_settings_schema() -> Schema:
    """What `spec.node` may hold: the node's settings but for secrets and what the operator sets."""
    text = resources.files(__package__).joinpath(NODE_SETTINGS).read_text(encoding="utf-8")
    schema: Schema = json.loads(text)
    redis = schema["properties"]["engine"]["properties"]["redis"]
    redis.update(rules(_ADDRESS_RULE))
    redis["properties"]["address"]["maxLength"] = 2048  # bounds what checking the rule may cost
    return schema


def definition() -> dict[str, Any]:
    """The whole CustomResourceDefinition, as an object."""
    spec = structural(RealtimeClusterSpec.model_json_schema(), keep_defaults=True)
    node = spec["properties"]["node"]
    spec["properties"]["node"] = {
        **node_settings_schema(),
        "description": node["description"],
        "default": {},
    }
    status = structural(RealtimeClusterStatus.model_json_schema(), keep_defaults=False)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": [SHORT_NAME],
                "categories": ["all", "realtime"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": list(_columns()),
                    "schema": {"openAPIV3Schema": _root(spec, status)},
                }
            ],
        },
    }


class _WithoutAnchors(yaml.SafeDumper):
    """Writes what occurs twice twice: an anchor would tell a reader nothing."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  the name is PyYAML's
        """Nothing is an alias."""
        return True


def render() -> str:
    """The definition as YAML, as it is committed and installed."""
    head = "# Written by `make crd` from realtime_operator.crd: change the models, not this file.\n"
    return head + yaml.dump(
        definition(), Dumper=_WithoutAnchors, sort_keys=False, width=100, allow_unicode=True
    )


def _root(spec: Schema, status: Schema) -> Schema:
    return {
        "type": "object",
        "description": "A cluster of realtime nodes.",
        "required": ["spec"],
        **rules(*ROOT_RULES),
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }


def _columns() -> Iterator[dict[str, Any]]:
    for name, kind, path, priority in _COLUMNS:
        column = {"name": name, "type": kind, "jsonPath": path}
        yield {**column, "priority": priority} if priority else column
