"""The settings' classes seen as a tree of keys, each with its place, meaning and what it may hold.

Everything that speaks about settings - error messages, environment variables, the documentation -
reads this one description, and so agrees with the classes by construction.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from realtime_node.config.section import Section, format_duration
from realtime_node.config.settings import Settings

Path = tuple[str | int, ...]
"""Place of a key; `EACH` or a number stands for an item of a list."""

EACH: Final = "[]"


class Kind(Enum):
    """What sort of value a key holds."""

    SECTION = "section"
    SECTIONS = "list of sections"
    TEXTS = "list of texts"
    TEXTS_BY_NAME = "texts by name, which are never shown"
    TEXT = "text"
    HIDDEN_TEXT = "text that is never shown"
    CHOICE = "one of"
    SWITCH = "true or false"
    NUMBER = "whole number"
    DURATION = "duration"


KINDS: Final[dict[type, Kind]] = {
    str: Kind.TEXT,
    SecretStr: Kind.HIDDEN_TEXT,
    bool: Kind.SWITCH,
    int: Kind.NUMBER,
    timedelta: Kind.DURATION,
}
WORDS: Final = {
    Kind.SECTION: "a section with keys of its own",
    Kind.SECTIONS: "a list of sections with keys of their own",
    Kind.TEXTS: "a list of texts",
    Kind.TEXT: "text",
    Kind.HIDDEN_TEXT: "text",
    Kind.SWITCH: "true or false",
}


class Key(NamedTuple):
    """One key of the settings."""

    path: Path
    kind: Kind
    allowed: str
    """In words: what it may hold."""
    default: str
    """As JSON; empty if it has to be given, or is a section."""
    meaning: str
    """Its documentation, or its section's."""


def dotted(path: Path) -> str:
    """Write a path as people do: `channel.namespaces[0].name`."""
    text = ""
    for part in path:
        if part == EACH or isinstance(part, int):
            text += EACH if part == EACH else f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


@cache
def all_keys() -> dict[Path, Key]:
    """Every key there is, sections included, by path, in the order of the classes."""
    return {key.path: key for key in _walk(Settings, ())}


def find(path: Path) -> Key | None:
    """The key at a path whose items of lists are numbered."""
    return all_keys().get(tuple(EACH if isinstance(part, int) else part for part in path))


def _walk(section: type[Section], place: Path) -> Iterator[Key]:
    for name, field in section.model_fields.items():
        path = (*place, name)
        kind, inner = _classify(field)
        meaning = field.description or (inner and inner.__doc__) or ""
        yield Key(
            path, kind, _in_words(kind, field), _default(kind, field), " ".join(meaning.split())
        )
        if inner:
            yield from _walk(inner, (*path, EACH) if kind is Kind.SECTIONS else path)


def _classify(field: FieldInfo) -> tuple[Kind, type[Section] | None]:
    """The kind of a field, and the section that it leads to."""
    annotation: Any = _without_none(field.annotation)
    if get_origin(annotation) is Literal:
        return Kind.CHOICE, None
    if get_origin(annotation) is tuple:
        item = get_args(annotation)[0]
        return (Kind.SECTIONS, item) if issubclass(item, Section) else (Kind.TEXTS, None)
    if get_origin(annotation) is dict:
        return Kind.TEXTS_BY_NAME, None
    if issubclass(annotation, Section):
        return Kind.SECTION, annotation
    return KINDS[annotation], None


def _without_none(annotation: object) -> object:
    """The type in `Annotated[type, ...] | None`."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(each for each in get_args(annotation) if each is not NoneType)
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _constraints(field: FieldInfo) -> dict[str, Any]:
    """What limits a field's values, by name, e.g. {"ge": 0, "le": 65535}."""
    marks = list(field.metadata)
    for each in get_args(field.annotation):
        marks += get_args(each)[1:] if get_origin(each) is Annotated else []
    marks = [inner for mark in marks for inner in getattr(mark, "metadata", [mark])]
    names = ("ge", "gt", "le", "max_length", "unit", "form")
    return {name: getattr(mark, name) for mark in marks for name in names if hasattr(mark, name)}


def _in_words(kind: Kind, field: FieldInfo) -> str:
    limits = _constraints(field)
    match kind:
        case Kind.NUMBER:
            unit = f" of {limits['unit']}" if "unit" in limits else ""
            words = f"a whole number{unit} from {limits['ge']} to {limits['le']}"
            return f"{words}, or nothing" if field.default is None else words
        case Kind.DURATION:
            return 'a duration such as "300s" or "1h30m"' + (", above 0" if "gt" in limits else "")
        case Kind.TEXT if "max_length" in limits:
            return f"text of at most {limits['max_length']} characters"
        case Kind.CHOICE:
            return "one of " + ", ".join(f'"{choice}"' for choice in get_args(field.annotation))
        case _:
            return limits.get("form") or WORDS[kind]


def _default(kind: Kind, field: FieldInfo) -> str:
    default = field.default
    if kind is Kind.SECTION or default is PydanticUndefined:
        return ""
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, timedelta):
        default = format_duration(default)
    return "" if default is None else json.dumps(default)
