"""Makes README.md and values.schema.json of each chart from the comments of its values.yaml.

    python -m tools.chart_docs           write them (make charts)
    python -m tools.chart_docs --check   only tell whether they are what they should be

The comment above a key is its description. Two lines of it may say more: `# schema: {…}` adds to
the JSON schema that follows from the default, and `# crd: drain` takes the schema of that part of a
RealtimeCluster's spec. Whatever a chart does not know is refused, at any depth, so a typo is an
error before anything reaches the cluster.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

CHARTS: Final = Path(__file__).parents[1] / "charts"
CRD: Final = CHARTS / "realtime-operator/files/realtimeclusters.realtimecluster.dev.yaml"
NAMES: Final = ("realtime-operator", "realtime-cluster")

Schema = dict[str, Any]

_TYPES: Final = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
_KEPT: Final = [
    "type",
    "description",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "required",
]
"""What the schema of a resource and JSON schema mean the same by."""


class ChartError(Exception):
    """A values.yaml that cannot be understood; the message names file, line and what to do."""


class Key(NamedTuple):
    """A documented key of values.yaml."""

    path: tuple[str, ...]
    default: Any
    meaning: str
    schema: Schema


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status: 0 all is as it should be, 1 it is not."""
    parser = argparse.ArgumentParser(
        description="Make README.md and values.schema.json of the charts"
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    check: bool = parser.parse_args(arguments).check
    try:
        changed = [path for path, text in generated().items() if _read(path) != text]
        for path in changed if not check else ():
            path.write_text(generated()[path], encoding="utf-8")
    except ChartError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if check and changed:
        sys.stderr.write(f"out of date: {', '.join(map(str, changed))}; run 'make charts'\n")
    return int(check and bool(changed))


def generated() -> dict[Path, str]:
    """What every generated file should hold. Raises `ChartError`."""
    files: dict[Path, str] = {}
    spec = _spec_schema()
    for name in NAMES:
        chart = CHARTS / name
        keys = list(read_keys(chart / "values.yaml", spec))
        about = yaml.safe_load(_read(chart / "Chart.yaml"))
        files[chart / "values.schema.json"] = json.dumps(schema_of(keys), indent=1) + "\n"
        files[chart / "README.md"] = readme(about, _read(chart / "introduction.md"), keys)
    return files


def read_keys(path: Path, spec: Schema) -> Iterator[Key]:
    """The keys of a values.yaml in their order; `spec` is the schema that `crd:` refers to."""
    text = _read(path)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from _keys(path, text.splitlines(), root, (), spec)


def _keys(
    path: Path, lines: list[str], node: yaml.MappingNode, above: tuple[str, ...], spec: Schema
) -> Iterator[Key]:
    for key, value in node.value:
        line = key.start_mark.line
        words, directives = _comment(lines, line)
        place = (*above, str(key.value))
        default = yaml.safe_load(yaml.serialize(value))
        if isinstance(value, yaml.MappingNode) and value.value and not directives:
            yield from _keys(path, lines, value, place, spec)
            continue
        where = f"{path}:{line + 1}: {'.'.join(place)}"
        if not words:
            raise ChartError(f"{where}: write a comment above it that says what it is for")
        if default == {} and not directives:
            raise ChartError(f"{where}: say what it may hold, by '# schema: …' or '# crd: …'")
        yield Key(place, default, words, _schema(where, default, directives, spec))


def _comment(lines: list[str], line: int) -> tuple[str, dict[str, str]]:
    """The words and the directives above a line."""
    words: list[str] = []
    directives: dict[str, str] = {}
    first = line
    while first > 0 and lines[first - 1].lstrip().startswith("# "):
        first -= 1
    for each in lines[first:line]:
        said = each.lstrip().removeprefix("# ")
        name, colon, rest = said.partition(": ")
        if colon and name in ("schema", "crd"):
            directives[name] = rest
        else:
            words.append(said)
    return " ".join(words), directives


def _schema(where: str, default: Any, directives: Mapping[str, str], spec: Schema) -> Schema:  # noqa: ANN401 - a value
    schema: Schema = {"type": _TYPES[type(default)]}
    if "crd" in directives:
        schema = _part(where, spec, directives["crd"])
    schema |= yaml.safe_load(directives.get("schema", "{}"))
    if schema.get("type") == "object":
        schema.setdefault("additionalProperties", False)
    return schema


def _spec_schema() -> Schema:
    definition = yaml.safe_load(_read(CRD))
    schema: Schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec: Schema = schema["properties"]["spec"]
    return spec


def _part(where: str, spec: Schema, path: str) -> Schema:
    for name in path.split("."):
        if name not in spec.get("properties", {}):
            raise ChartError(f"{where}: a RealtimeCluster has no spec.{path}")
        spec = spec["properties"][name]
    return json_schema(spec)


def json_schema(part: Schema) -> Schema:
    """The JSON schema of a part of a resource: what is not in it is refused."""
    if part.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    schema: Schema = {name: part[name] for name in _KEPT if name in part}
    if "properties" in part:
        schema["properties"] = {name: json_schema(p) for name, p in part["properties"].items()}
        schema["additionalProperties"] = False
    if isinstance(part.get("additionalProperties"), dict):
        schema["additionalProperties"] = json_schema(part["additionalProperties"])
    if "items" in part:
        schema["items"] = json_schema(part["items"])
    if part.get("x-kubernetes-preserve-unknown-fields"):
        schema["additionalProperties"] = True
    return schema


def schema_of(keys: list[Key]) -> Schema:
    """The schema of all keys."""
    root: Schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        # Helm sets it for a chart that is part of another.
        "properties": {"global": {"type": "object"}},
    }
    for key in keys:
        within = root
        for name in key.path[:-1]:
            group = {"type": "object", "additionalProperties": False, "properties": {}}
            within = within["properties"].setdefault(name, group)
        within["properties"][key.path[-1]] = {"description": key.meaning, **key.schema}
        within["properties"][key.path[-1]]["description"] = key.meaning
    return root


def readme(about: Mapping[str, Any], introduction: str, keys: list[Key]) -> str:
    """The chart's README."""
    rows = [
        f"| `{'.'.join(key.path)}` | `{json.dumps(key.default)}` | {_cell(key.meaning)} |"
        for key in keys
    ]
    return "\n".join(
        [
            f"# {about['name']}",
            "",
            "<!-- Written by `make charts` from introduction.md and values.yaml: change these. -->",
            "",
            f"{about['description']}.",
            "",
            introduction.strip(),
            "",
            "## Values",
            "",
            "A key that is not listed here is refused.",
            "",
            "| key | default | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
