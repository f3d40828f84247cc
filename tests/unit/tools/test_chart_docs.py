"""Schema and README of a chart follow from the comments of its values."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.chart_docs import ChartError, Key, json_schema, read_keys, readme, schema_of

SPEC = {
    "properties": {
        "drain": {
            "type": "object",
            "properties": {"windowSeconds": {"type": "integer", "minimum": 1, "default": 300}},
        }
    }
}
VALUES = """
# Nodes that take clients.
# schema: {minimum: 1}
replicas: 2

image:
  # Where the image is,
  # and nothing else.
  repository: realtime-node

# How clients are moved.
# crd: drain
drain: {}
"""


def keys_of(tmp_path: Path, values: str) -> list[Key]:
    """The keys of a values.yaml."""
    path = tmp_path / "values.yaml"
    path.write_text(values, encoding="utf-8")
    return list(read_keys(path, SPEC))


def test_a_key_has_the_comment_above_it_and_the_type_of_its_default(tmp_path: Path) -> None:
    """Comments are joined, directives add to the type, and groups are only looked into."""
    replicas, repository, drain = keys_of(tmp_path, VALUES)
    assert replicas == (
        ("replicas",),
        2,
        "Nodes that take clients.",
        {"type": "integer", "minimum": 1},
    )
    assert repository.path == ("image", "repository")
    assert repository.meaning == "Where the image is, and nothing else."
    assert drain.schema["properties"] == {"windowSeconds": {"type": "integer", "minimum": 1}}


def test_nothing_else_is_let_in_at_any_depth(tmp_path: Path) -> None:
    """Every object of the schema refuses what it does not name, but `global`, which helm sets."""
    schema = schema_of(keys_of(tmp_path, VALUES))
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {"global", "replicas", "image", "drain"}
    assert schema["properties"]["image"]["additionalProperties"] is False
    assert schema["properties"]["drain"]["additionalProperties"] is False


def test_what_a_resource_leaves_open_stays_open() -> None:
    """Kubernetes' own objects and maps within a resource are not closed."""
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    labels = {"type": "object", "additionalProperties": {"type": "string"}}
    part = {"type": "object", "properties": {"resources": free, "labels": labels}}
    schema = json_schema(part)
    assert schema["properties"]["resources"]["additionalProperties"] is True
    assert schema["properties"]["labels"]["additionalProperties"] == {"type": "string"}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("replicas: 2\n", "write a comment above it"),
        ("# Settings.\nnode: {}\n", "say what it may hold"),
        ("# Settings.\n# crd: nodes\nnode: {}\n", "a RealtimeCluster has no spec.nodes"),
    ],
)
def test_values_that_say_too_little_are_refused(tmp_path: Path, values: str, told: str) -> None:
    """A key without a comment, or an object without a schema, is an error with its line."""
    with pytest.raises(ChartError, match=told) as refused:
        keys_of(tmp_path, values)
    assert "values.yaml:" in str(refused.value)


def test_the_readme_lists_every_key_with_its_default(tmp_path: Path) -> None:
    """A row tells path, default and meaning."""
    about = {"name": "chart", "description": "A chart"}
    text = readme(about, "Introduction.", keys_of(tmp_path, VALUES))
    assert (
        '| `image.repository` | `"realtime-node"` | Where the image is, and nothing else. |' in text
    )
