"""What is wrong with settings, in words that tell what to do.

Pure: pydantic's errors, the values and where they came from go in; a `ConfigError` that lists every
problem comes out. Each names its place, its value unless that may be a secret, what is allowed, and
for an unknown key the nearest right one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from difflib import SequenceMatcher
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from realtime_node.config.section import Section, format_duration
from realtime_node.config.tree import EACH, Key, Kind, Path, all_keys, dotted, find
from realtime_node.errors import ConfigError

NEAR: Final = 0.7
"""Similarity from which one name is taken for another misspelt: two or three letters of ten."""
SHOWN: Final = 80
"""Characters of a value that are shown."""

_SECRETIVE: Final = re.compile("secret|password|token|key", re.IGNORECASE)
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/\s]*(?=@)")
_QUERY: Final = re.compile(r"(://[^\s\"?]*\?)[^\s\"]+")
"""Of a URL, which may hold a code or a signature."""


class Problem(NamedTuple):
    """One thing that is wrong."""

    place: str
    """Key, and value where it may be shown."""
    source: str
    """File or environment variable."""
    text: str
    """What is wrong and what to do."""

    def __str__(self) -> str:
        """As a paragraph of the error."""
        return f"{self.place} ({self.source})\n    {self.text}"


def config_error(problems: Iterable[Problem]) -> ConfigError:
    """Make one error of all problems."""
    listed = list(dict.fromkeys(map(str, problems)))
    count = "one problem" if len(listed) == 1 else f"{len(listed)} problems"
    return ConfigError("\n\n  ".join([f"The settings have {count}:", *listed]))


def explain(error: ValidationError, values: object, sources: Mapping[Path, str]) -> list[Problem]:
    """Every problem that pydantic found in `values`.

    `sources` says where each part of the values came from; the longest path that fits decides.
    """
    return [
        Problem(_place(path, values), _source(path, sources), text)
        for path, text in _problems(error)
    ]


def unknown(path: Path) -> str:
    """Say that there is no such key, and which was perhaps meant."""
    if near := nearest(path):
        return f"unknown key: did you mean {dotted(near)}?"
    known = ", ".join(str(key.path[-1]) for key in _keys_in(path[:-1]))
    return f"unknown key; known here: {known}"


def nearest(path: Path) -> Path | None:
    """The key that was most likely meant, anywhere in the settings; None if none is like it.

    A name is compared with the ends of every key's path, word by word, so that `api_key` finds
    `http_api.key` and a right name in the wrong section finds its own.
    """
    name = str(path[-1]).lower()

    def likeness(key: Key) -> tuple[float, int]:
        """How alike the names are, then how much of the way to them is the same."""
        words = "_".join(str(part) for part in key.path if part != EACH).split("_")
        ends = ["_".join(words[start:]) for start in range(len(words))]
        way = zip(path, _numbered(key.path, path), strict=False)
        alike = max(SequenceMatcher(None, name, end).ratio() for end in ends)
        return alike, sum(ours == theirs for ours, theirs in way)

    best = max(all_keys().values(), key=likeness)
    return _numbered(best.path, path) if likeness(best)[0] >= NEAR else None


def shown(path: Path, value: object) -> str:
    """A value as an error may show it: shortened, secrets masked, and no inside of sections."""
    key = find(path)
    hidden = key.kind is Kind.HIDDEN_TEXT if key else _SECRETIVE.search(str(path[-1:]))
    if isinstance(value, (Mapping, Section)):
        return "{…}"
    if isinstance(value, (list, tuple)) and not all(isinstance(item, str) for item in value):
        return "[…]"
    if hidden and value not in ("", None):
        return "***"
    if isinstance(value, timedelta):
        value = format_duration(value)
    text = _CREDENTIALS.sub("***", json.dumps(value, ensure_ascii=False, default=str))
    text = _QUERY.sub(r"\1***", text)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _problems(error: ValidationError) -> Iterator[tuple[Path, str]]:
    for each in error.errors(include_url=False, include_input=False):
        path, context = each["loc"], each.get("ctx", {})
        key = find(path)
        match each["type"]:
            case "contradictions":
                for inner, problem in context["contradictions"]:
                    yield (*path, *_parsed(inner)), problem
            case "extra_forbidden":
                yield path, unknown(path)
            case "invalid_key":
                yield path, "a key is text: put it in quotes, if it is meant to be one"
            case "missing":
                yield path, f"it has to be given: {key.allowed}" if key else "it has to be given"
            case "value_error" if key:
                yield path, f"{context['error']}; allowed: {key.allowed}"
            case _ if key:
                yield path, f"allowed: {key.allowed}"
            case _:
                yield path, _item_problem(path, each["msg"])


def _item_problem(path: Path, message: str) -> str:
    """An item of a list is no key itself: an entry of `namespaces`, say, that is no section."""
    listed = find(path[:-1]) if path else None
    return f"allowed: {listed.allowed}" if listed else message


def _place(path: Path, values: object) -> str:
    value: Any = values
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return dotted(path)
    return f"{dotted(path)} = {shown(path, value)}" if path else shown(path, value)


def _source(path: Path, sources: Mapping[Path, str]) -> str:
    fitting = [start for start in sources if path[: len(start)] == start]
    return sources[max(fitting, key=len)]


def _keys_in(section: Path) -> list[Key]:
    place = tuple(EACH if isinstance(part, int) else part for part in section)
    return [key for key in all_keys().values() if key.path[:-1] == place]


def _numbered(path: Path, like: Path) -> Path:
    """Number the items of lists as `like` does, as far as both go the same way."""
    numbered = list(path)
    for index, (part, other) in enumerate(zip(path, like, strict=False)):
        if part == EACH and isinstance(other, int):
            numbered[index] = other
        elif part != other:
            break
    return tuple(numbered)


def _parsed(place: str) -> Path:
    """Read a path as `dotted` writes it."""
    parts = re.findall(r"[^.\[\]]+", place)
    return tuple(int(part) if part.isdigit() else part for part in parts)
