"""What the operator reads of a node is what a node says."""

from __future__ import annotations

import typing

import msgspec
import pytest

from realtime_node.drain.plan import Phase
from realtime_node.server.admin_api import BudgetRequest, DrainRequest, ShedRequest
from realtime_node.server.health import Status
from realtime_operator.apply.drain_client import Order, request_of
from realtime_operator.decide.actions import (
    AbortDrain,
    CordonNode,
    DrainNode,
    SetBudget,
    ShedNode,
)
from realtime_operator.decide.drain import LEAVING
from realtime_operator.decide.moves import UNTOLD_DEADLINE_S
from realtime_operator.observe.node_status import ReportedStatus


def test_every_field_is_one_that_nodes_have() -> None:
    """The operator reads no field that a node's description does not know."""
    assert set(ReportedStatus.__struct_fields__) <= set(Status.__struct_fields__)


def test_types_agree() -> None:
    """A field has the same type on both sides, and so has what is in its sections."""
    _compare(typing.get_type_hints(Status), ReportedStatus)


def _compare(theirs: dict[str, object], ours: type[msgspec.Struct]) -> None:
    for name, annotation in typing.get_type_hints(ours).items():
        if section := _section(annotation):
            kinds = [theirs[name], *typing.get_args(theirs[name])]
            their_section = next(each for each in kinds if isinstance(each, type))
            _compare(typing.get_type_hints(their_section), section)
        else:
            accepted = {annotation, *typing.get_args(annotation)}
            assert theirs[name] in accepted, name


def _section(annotation: object) -> type[msgspec.Struct] | None:
    """The description of a section, also of one that may be missing."""
    for each in (annotation, *typing.get_args(annotation)):
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            return each
    return None


def test_what_a_node_says_is_understood() -> None:
    """A status as a node writes it is read, what the operator has no use for is passed over."""
    report = ReportedStatus.read(msgspec.json.encode(_sample(Status)))
    assert report
    assert report.num_clients == 7
    assert report.boot_id == "text"
    assert report.accepting
    assert report.drain.phase == "text"
    assert report.budget.connections_per_second_per_node == 1.5


def _sample(kind: type[object]) -> dict[str, object]:
    """Some value for each field."""
    return {name: _value(hint) for name, hint in typing.get_type_hints(kind).items()}


def _value(hint: object) -> object:
    """None where there may be none, one of each in a sequence."""
    samples: dict[object, object] = {str: "text", bool: True, int: 7, float: 1.5}
    if type(None) in typing.get_args(hint):
        return None
    if typing.get_origin(hint) in (tuple, list):
        return [_value(typing.get_args(hint)[0])]
    if hint in samples:
        return samples[hint]
    assert isinstance(hint, type)
    return _sample(hint)


@pytest.mark.parametrize(
    ("order", "request_kind"),
    [
        (CordonNode("n", "ip", "a\nb" + "c" * 300), DrainRequest),
        (DrainNode("n", "ip", "why", 100.0, 0.0, 0.0), DrainRequest),
        (DrainNode("n", "ip", "why", 100.0, 270.0, UNTOLD_DEADLINE_S), DrainRequest),
        (AbortDrain("n", "ip", "why"), DrainRequest),
        (ShedNode("n", "ip", "why", 100, 2.5), ShedRequest),
        (ShedNode("n", "ip", "why", 0, 1.0), ShedRequest),
        (SetBudget("n", "ip", 100), BudgetRequest),
    ],
)
def test_nodes_understand_what_they_are_told(
    order: Order, request_kind: type[msgspec.Struct]
) -> None:
    """Every order is a request of the node's internal API, within the bounds it sets."""
    _, body = request_of(order)
    decoded = msgspec.json.decode(msgspec.json.encode(body), type=request_kind)
    assert {name: getattr(decoded, name) for name in body} == body


def test_phases_have_the_same_names() -> None:
    """The operator knows every phase that a node can say, as the table of its drains has them."""
    phases = {phase.value for phase in Phase}
    assert phases == {"serving", *(state.lower() for state in LEAVING)}
