"""What serializers of other languages write, and how it is understood."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw, inspect

from realtime_node.protocol.decoding import MessageDecoder
from realtime_node.protocol.messages import Command
from realtime_node.server.admin_api import BudgetRequest, DrainRequest, ShedRequest
from realtime_node.server.api_messages import BatchRequest
from realtime_node.server.api_methods import METHODS

KINDS: dict[str, type[Any]] = {
    "command": Command,
    "batch": BatchRequest,
    "drain": DrainRequest,
    "shed": ShedRequest,
    "budget": BudgetRequest,
    **{name: request for name, (request, _) in METHODS.items()},
}


def _value(info: inspect.Type, *, null: bool) -> Any:
    """Return a value of a type: with every optional field null, or without them."""
    match info:
        case inspect.StructType(fields=fields):
            written = {}
            for field in fields:
                if field.required or _holds_fields(field.type):
                    written[field.encode_name] = _value(field.type, null=null)
                elif null:
                    written[field.encode_name] = None
            return written
        case inspect.UnionType(types=types):
            return _value(next(filter(_holds_fields, types), types[0]), null=null)
        case inspect.ListType(item_type=item):
            return [_value(item, null=null)]
        case inspect.DictType(value_type=value):
            return {"x": _value(value, null=null)}
    return _leaf(info)


def _leaf(info: inspect.Type) -> Any:
    if isinstance(info, inspect.LiteralType):
        return info.values[0]
    return "x" if isinstance(info, inspect.StrType) else 3000


def _holds_fields(info: inspect.Type) -> bool:
    match info:
        case inspect.StructType():
            return True
        case inspect.UnionType(types=types):
            return any(map(_holds_fields, types))
        case inspect.ListType(item_type=inner) | inspect.DictType(value_type=inner):
            return _holds_fields(inner)
    return False


def _without_null_data(message: Any) -> Any:
    """Leave out what is null of what the node never looks into, which is kept as it was written."""
    builtins = msgspec.to_builtins(message, enc_hook=msgspec.json.decode)

    def stripped(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: stripped(each) for name, each in value.items() if each is not None}
        return [stripped(each) for each in value] if isinstance(value, list) else value

    return stripped(builtins)


@pytest.mark.parametrize("name", KINDS)
def test_null_counts_as_left_out(name: str) -> None:
    """At any depth of every message; serializers write it for what was not set."""
    kind = KINDS[name]
    decode = MessageDecoder(kind).decode
    info = inspect.type_info(kind)
    with_nulls, without = (_value(info, null=null) for null in (True, False))
    assert b"null" in msgspec.json.encode(with_nulls) or without == with_nulls
    read = decode(msgspec.json.encode(with_nulls))
    assert _without_null_data(read) == _without_null_data(decode(msgspec.json.encode(without)))


@pytest.mark.parametrize(
    "text",
    [
        b'{"id":1,"publish":{"channel":null,"data": {"a" : null} }}',
        b'{"id":1,"publish":{"channel":null,"data":[null, "\\n"]}}',
        b'{"id":1,"publish":{"channel":null,"data":null}}',
    ],
)
def test_null_in_data_stays(text: bytes) -> None:
    """What users publish is theirs, to the last blank."""
    read = MessageDecoder(Command).decode(text)
    assert read.publish is not None
    assert isinstance(read.publish.data, Raw)
    assert bytes(read.publish.data) in text
    assert b"null" in bytes(read.publish.data)
    assert read.publish.channel == ""


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (DrainRequest, b'{"phase":null}'),
        (BudgetRequest, b'{"connections_per_second_per_node":null}'),
        (ShedRequest, b'{"count":null,"rate_per_s":null}'),
        (Command, b'{"id":null,"publish":7}'),
        (Command, b'{"id":null,"connect":{"headers":{"a":null}}}'),
        (BatchRequest, b'{"commands":[null]}'),
        (BatchRequest, b'{"commands":[{"publish":null,"broadcast":{"channels":[null]}}]}'),
        (Command, b'{"id":null,"publish":{"channel":null}'),
        (Command, b"[null]"),
    ],
)
def test_null_where_a_value_is_needed_is_refused(kind: type[Any], text: bytes) -> None:
    """So is whatever else is wrong beside it."""
    with pytest.raises(msgspec.MsgspecError):
        MessageDecoder(kind).decode(text)


@pytest.mark.parametrize("name", KINDS)
def test_half_a_character_is_replaced(name: str) -> None:
    """In any text of any message, not only in data."""
    kind = KINDS[name]
    if name in {"shed", "budget", "info"}:
        return  # they have no text
    field, value = {
        "command": ("connect", rb'{"name":"\ud83d"}'),
        "batch": ("commands", rb'[{"publish":{"channel":"\ud83d"}}]'),
        "drain": ("reason", rb'"\ud83d"'),
        "broadcast": ("channels", rb'["\ud83d"]'),
    }.get(name, ("channel" if name != "disconnect" else "user", rb'"\ud83d"'))
    rest = b',"phase":"drain"' if name == "drain" else b""
    read = MessageDecoder(kind).decode(b'{"%b":%b%b}' % (field.encode(), value, rest))
    assert "\ufffd" in repr(read)
