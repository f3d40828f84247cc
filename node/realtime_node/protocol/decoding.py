"""Decodes the JSON of clients, backends and administrators into messages, as lenient for each.

Two things that serializers of other languages write are taken as what they mean:

- Half of a surrogate pair, which JavaScript writes as an escape when a text was cut within an
  emoji, is JSON that msgspec refuses. It becomes U+FFFD, as Go's does: the cut text is taken, and
  its author is not refused for it.
- `null` for an optional field, as C# and Java write what was not set, counts as left out.

Both cost nothing where they do not occur.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Raw, inspect

T = TypeVar("T")

_ESCAPES: Final = re.compile(
    rb"""\\(?:
        u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}  # a pair
        | (?P<half> u[dD][89a-fA-F][0-9a-fA-F]{2} )
        | . )""",
    re.VERBOSE | re.DOTALL,
)


def with_whole_characters(data: bytes) -> bytes:
    """Return JSON in which half a surrogate pair is U+FFFD."""
    if b"\\ud" not in data and b"\\uD" not in data:
        return data
    return _ESCAPES.sub(lambda escape: rb"\ufffd" if escape["half"] else escape[0], data)


class MessageDecoder(Generic[T]):
    """Decodes one kind of message."""

    def __init__(self, kind: type[T]) -> None:
        """Prepare to decode `kind`, a msgspec Struct."""
        self._kind = kind
        self._clean: _Clean | None = None
        self._decode = msgspec.json.Decoder(kind).decode

    def decode(self, data: bytes) -> T:
        """Return the message; raises `MsgspecError`, `UnicodeDecodeError` or `RecursionError`."""
        data = with_whole_characters(data)
        try:
            return self._decode(data)
        except msgspec.ValidationError:
            if b"null" not in data:
                raise
            self._clean = self._clean or _cleaner_of(inspect.type_info(self._kind))
            assert self._clean is not None, "a Struct has fields"
            return self._decode(self._clean(Raw(data)))


_Clean = Callable[[Raw], Raw]
"""Drops `null` from the optional fields of a value; returns anything else as it is."""


def _cleaner_of(info: inspect.Type) -> _Clean | None:
    """Return what cleans values of a type; None: they have no fields."""
    match info:
        case inspect.StructType(fields=fields):
            optional = {field.encode_name for field in fields if not field.required}
            optional -= {field.encode_name for field in fields if _may_be_null(field.type)}
            inner = {field.encode_name: _cleaner_of(field.type) for field in fields}
            return partial(_clean_fields, optional, {k: v for k, v in inner.items() if v})
        case inspect.UnionType(types=types):
            return next(filter(None, map(_cleaner_of, types)), None)
        case inspect.ListType(item_type=item):
            clean = _cleaner_of(item)
            return clean and partial(_clean_items, clean)
        case inspect.DictType(value_type=value):
            clean = _cleaner_of(value)
            return clean and partial(_clean_values, clean)
    return None


def _may_be_null(info: inspect.Type) -> bool:
    if isinstance(info, inspect.UnionType):
        return any(map(_may_be_null, info.types))
    return isinstance(info, inspect.NoneType | inspect.RawType)


def _clean_fields(optional: set[str], inner: dict[str, _Clean], data: Raw) -> Raw:
    members = _decoded(data, dict[str, Raw])
    if members is None:
        return data
    return _encoded(
        {
            name: inner[name](value) if name in inner else value
            for name, value in members.items()
            if name not in optional or bytes(value) != b"null"
        }
    )


def _clean_items(clean: _Clean, data: Raw) -> Raw:
    items = _decoded(data, list[Raw])
    return data if items is None else _encoded([clean(item) for item in items])


def _clean_values(clean: _Clean, data: Raw) -> Raw:
    members = _decoded(data, dict[str, Raw])
    if members is None:
        return data
    return _encoded({name: clean(value) for name, value in members.items()})


def _decoded(data: Raw, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        return None  # the message is refused for it in the end


def _encoded(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))
