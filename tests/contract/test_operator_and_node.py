"""What the operator reads of a node is what a node says."""

from __future__ import annotations

import typing

import msgspec
from pydantic import BaseModel

from realtime_node.server.health import Status
from realtime_operator.observe.node_status import ReportedStatus

OF_NEWER_NODES = {"drain", "budget"}
"""What a node says only if it can drain; the operator has defaults for it."""


def test_every_field_is_one_that_nodes_have() -> None:
    """The operator reads no field that a node's description does not know."""
    known = {field.name for field in msgspec.structs.fields(Status)}
    assert set(ReportedStatus.model_fields) - OF_NEWER_NODES <= known
    for name, field in ReportedStatus.model_fields.items():
        assert not field.is_required() or name in known


def test_types_agree() -> None:
    """A field has the same type on both sides, and so has what is in its sections."""
    _compare(typing.get_type_hints(Status), ReportedStatus)


def _compare(theirs: dict[str, object], ours: type[BaseModel]) -> None:
    for name, field in ours.model_fields.items():
        if name not in theirs:
            assert name in OF_NEWER_NODES
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            _compare(typing.get_type_hints(theirs[name]), field.annotation)
        else:
            accepted = {field.annotation, *typing.get_args(field.annotation)}
            assert theirs[name] in accepted, name


def test_what_a_node_says_is_understood() -> None:
    """A status as a node writes it is read, what the operator has no use for is passed over."""
    samples: dict[object, object] = {str: "text", bool: True, int: 7, float: 1.5}
    hints = typing.get_type_hints(Status)
    said = {name: samples[hint] for name, hint in hints.items() if hint in samples}
    report = ReportedStatus.model_validate_json(msgspec.json.encode(said))
    assert report.num_clients == 7
    assert report.boot_id == "text"
    assert report.accepting
