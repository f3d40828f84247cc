"""Writes the schema of `spec.node` from the node's settings; `make crd` runs it.

Left out are secrets, which a resource may only refer to, and what the operator sets itself because
Pods, Services and probes depend on it. Of a private key the path of a file may be given, which is
mounted from a Secret. Defaults stay with the node: an image knows its own.
"""

from __future__ import annotations

import json
import sys
from typing import Final

from realtime_node.config import Settings
from realtime_node.config.section import MICROSECONDS
from realtime_operator.crd.schema import Schema, structural

OWNED: Final = ("http_server", "node", "shutdown", "drain", "reconnect_budget", "admin")
"""Sections that the operator fills."""

PEM: Final = "_pem"

DURATION_PATTERN: Final = r"^(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(" + "|".join(MICROSECONDS) + r"))+)$"


def node_settings_schema() -> Schema:
    """The structural schema of what users may set of a node."""
    schema = structural(Settings.model_json_schema(), keep_defaults=False)
    _settle(schema)
    for section in OWNED:
        schema["properties"].pop(section, None)
    schema.pop("description", None)
    return schema


def render() -> str:
    """The schema as it is committed."""
    return json.dumps(node_settings_schema(), indent=1, ensure_ascii=False) + "\n"


def _settle(schema: Schema) -> None:
    """Drop secrets, and say what text a duration is."""
    properties: dict[str, Schema] = schema.get("properties", {})
    for name, inner in list(properties.items()):
        if inner.get("format") == "password" and name.endswith(PEM):
            properties[name] = {
                "type": "string",
                "description": f"{inner['description']} Here the path of a file, from a Secret.",
                "pattern": "^/[^\n]+$",
            }
        elif _is_secret(inner):
            del properties[name]
        elif inner.get("format") == "duration":
            kept: Schema = {"type": "string", "description": inner["description"]}
            properties[name] = {**kept, "pattern": DURATION_PATTERN, "maxLength": 64}
        else:
            _settle(inner)
    if "items" in schema:
        _settle(schema["items"])


def _is_secret(schema: Schema) -> bool:
    """Whether a value is secret, or each of an object's values is."""
    return "password" in (
        schema.get("format"),
        schema.get("additionalProperties", {}).get("format"),
    )


if __name__ == "__main__":
    sys.stdout.write(render())
