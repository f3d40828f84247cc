"""From a file and the environment to `Settings`: the only place of the settings that reads a disk.

A file in JSON, YAML or TOML comes first; variables of the environment override single keys of it:
`REALTIME_NODE_HTTP_API__KEY` is `http_api.key`. Text is taken from the environment as it stands,
any other value is read as JSON. All problems are reported at once.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any, Final

import yaml
from pydantic import ValidationError

from realtime_node.config.problems import Problem, config_error, explain, nearest, shown
from realtime_node.config.settings import Settings
from realtime_node.config.tree import EACH, Key, Kind, Path, all_keys, dotted
from realtime_node.errors import ConfigError

PREFIX: Final = "REALTIME_NODE_"

# Kubernetes tells every Pod of every Service in its namespace; one may be named realtime-node-….
_SERVICE_LINK: Final = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_URL: Final = re.compile(r"(tcp|udp|sctp)://")


def load_settings(path: FilePath | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings from `path`, if there is one, and from `environ`; defaults fill the rest.

    Raises `ConfigError` that lists all problems.
    """
    values = read_file(path) if path else {}
    sources: dict[Path, str] = {(): str(path) if path else "environment"}
    _drop_empty_sections(values)
    problems = _apply_environment(values, sources, environ)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += explain(error, values, sources)
        raise config_error(problems) from None  # its text may hold secrets
    if problems:
        raise config_error(problems)
    return settings


# --- files --------------------------------------------------------------------------------------


class _Repeated(ValueError):
    """A key that stands twice in the same section: one of the two would be lost."""


def read_file(path: FilePath) -> dict[str, Any]:
    """Read a file of settings, unchecked.

    Raises `ConfigError` if there is none, or it is not what its suffix says.
    """
    parse = PARSERS.get(path.suffix.lower())
    if parse is None:
        known = ", ".join(PARSERS)
        raise ConfigError(f"{path}: the name of a file of settings has to end in one of {known}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file. Create it, name another, or name none to run with"
            f" defaults and {PREFIX}… variables; an empty one, {{}} in JSON, is enough."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        values = parse(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {_syntax_problem(error)}") from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: the file has to hold sections such as http_server, not a {_sort(values)}"
        )
    return values


def _parse_json(text: str) -> object:
    return json.loads(text, object_pairs_hook=_without_repeats)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    section = dict(pairs)
    if len(section) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise _Repeated(f'"{repeated}" stands twice in the same section')
    return section


class _YamlLoader(yaml.SafeLoader):
    """YAML without tags, whose sections name every key once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        """Make a section, and say where one of its keys is repeated."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key.value, str):
                continue  # a list or section as key: refused with all that are no text
            if key.value in seen:
                line, column = key.start_mark.line + 1, key.start_mark.column + 1
                raise _Repeated(
                    f'line {line}, column {column}: "{key.value}" stands twice in the same section'
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _parse_yaml(text: str) -> object:
    values = yaml.load(text, _YamlLoader)  # noqa: S506 - it is a SafeLoader
    return {} if values is None else values


PARSERS: Final[Mapping[str, Callable[[str], object]]] = {
    ".json": _parse_json,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".toml": tomllib.loads,
}


def _syntax_problem(error: Exception) -> str:
    match error:
        case json.JSONDecodeError():
            return f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
        case yaml.MarkedYAMLError(problem_mark=mark) if mark:
            return f"line {mark.line + 1}, column {mark.column + 1}: not YAML: {error.problem}"
        case yaml.YAMLError():
            return f"not YAML: {error}"
        case tomllib.TOMLDecodeError():
            return f"not TOML: {error}"  # its text ends in line and column
        case RecursionError():
            return "nested too deeply"
        case _:
            return str(error)


def _drop_empty_sections(values: dict[str, Any]) -> None:
    """YAML's null is what a section becomes whose keys are all commented out."""
    for key in all_keys().values():
        if key.kind is Kind.SECTION:
            *way, name = key.path
            outer: Any = values
            for part in way:
                outer = outer.get(part) if isinstance(outer, dict) else None
            if isinstance(outer, dict) and name in outer and outer[name] is None:
                del outer[name]


def _sort(value: object) -> str:
    return {list: "list", str: "text", type(None): "null"}.get(type(value), type(value).__name__)


# --- environment --------------------------------------------------------------------------------


def variable(path: Path) -> str:
    """The variable of the environment that sets a key."""
    return PREFIX + "__".join(str(part) for part in path).upper()


def _apply_environment(
    values: dict[str, Any], sources: dict[Path, str], environ: Mapping[str, str]
) -> list[Problem]:
    """Override `values` and note so in `sources`; what cannot be applied is returned."""
    keys = {variable(key.path): key for key in all_keys().values() if EACH not in key.path}
    problems = []
    for name in sorted(environ):
        rest = name.removeprefix(PREFIX)
        if rest == name or _is_service_link(rest, environ[name]):
            continue
        key = keys.get(name)
        if key is None or key.kind is Kind.SECTION:
            problems.append(_wrong_variable(name, environ[name], key))
            continue
        if _set(values, key.path, _read(key, environ[name])):
            sources[key.path] = name
    return problems


def _read(key: Key, text: str) -> object:
    """A variable's value: text as it stands, so that no secret looks like a number."""
    if key.kind in (Kind.TEXT, Kind.HIDDEN_TEXT, Kind.DURATION, Kind.CHOICE):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # the key's own check tells what is allowed


def _set(values: dict[str, Any], path: Path, value: object) -> bool:
    """Set a value; not where the file has something else than a section on the way to it."""
    section: Any = values
    for part in path[:-1]:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            return False
    section[path[-1]] = value
    return True


def _is_service_link(rest: str, value: str) -> bool:
    return bool(
        _SERVICE_LINK.fullmatch(rest) or (rest.endswith("PORT") and _SERVICE_URL.match(value))
    )


def _wrong_variable(name: str, value: str, section: Key | None) -> Problem:
    path = tuple(name.removeprefix(PREFIX).lower().split("__"))
    place = f"{name} = {shown(path, value)}"
    if section:
        inner = next(key for key in all_keys() if key[:-1] == section.path)
        return Problem(
            place,
            "environment",
            f"{dotted(section.path)} is a section: set its keys, e.g. {variable(inner)}",
        )
    near = nearest(("_".join(path),)) or nearest(path)
    hint = ""
    if near and EACH in near:
        hint = f"; {dotted(near)} is set in a file, or with all its list in {variable(near[:2])}"
    elif near:
        hint = f": did you mean {variable(near)}?"
    return Problem(
        place,
        "environment",
        f"no key has this variable{hint} (sections are joined by two underscores)",
    )
