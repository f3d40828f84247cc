"""From JSON schemas as pydantic writes them to the structural schemas that Kubernetes accepts.

Structural means: references inlined, no `anyOf` with null, no `additionalProperties: false` beside
properties, exclusive bounds as flags. Unknown keys are dropped by the API server, or refused where
the client asks for it, as kubectl and helm do by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Schema = dict[str, Any]

_DROPPED: Final = ("title", "$defs", "writeOnly", "additionalProperties")


def structural(schema: Mapping[str, Any], *, keep_defaults: bool) -> Schema:
    """The structural form of a schema; `keep_defaults` lets the API server fill in defaults."""
    return _Converter(schema.get("$defs", {}), keep_defaults=keep_defaults).convert(schema)


class _Converter:
    def __init__(self, definitions: Mapping[str, Any], *, keep_defaults: bool) -> None:
        self._definitions = definitions
        self._keep_defaults = keep_defaults

    def convert(self, schema: Mapping[str, Any]) -> Schema:
        merged = self._without_references(schema)
        result = {key: value for key, value in merged.items() if key not in _DROPPED}
        if "description" in result:
            result["description"] = " ".join(result["description"].split())
        if "properties" in merged:
            result["properties"] = {
                name: self.convert(inner) for name, inner in merged["properties"].items()
            }
        if "items" in merged:
            result["items"] = self.convert(merged["items"])
        if isinstance(merged.get("additionalProperties"), Mapping):
            result["additionalProperties"] = self.convert(merged["additionalProperties"])
        for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if exclusive in result:
                result[bound], result[exclusive] = result[exclusive], True
        self._settle_default(result)
        return result

    def _without_references(self, schema: Mapping[str, Any]) -> Schema:
        """Inline `$ref`, and take the only alternative to null."""
        merged = dict(schema)
        choices = [each for each in merged.pop("anyOf", ()) if each.get("type") != "null"]
        assert len(choices) <= 1, f"Kubernetes has no alternatives between types: {schema}"
        for choice in choices:
            merged = {**choice, **merged}
        if "$ref" in merged:
            name = merged.pop("$ref").rpartition("/")[2]
            merged = {**self._without_references(self._definitions[name]), **merged}
        return merged

    def _settle_default(self, result: Schema) -> None:
        """A section's default is empty: those of its fields fill it."""
        default = result.get("default")
        if default is None or not self._keep_defaults:
            result.pop("default", None)
        elif result.get("type") == "object":
            result["default"] = {}
