"""What all parts of the custom resource share: frozen models that are read leniently.

The API server has checked a resource before the operator sees it, and a newer definition may know
fields that this operator does not: those are ignored. A field's docstring is its documentation in
`kubectl explain`; `Rule` is what the API server checks beyond types.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Rule(NamedTuple):
    """A condition in CEL that the API server checks, and what to tell who breaks it."""

    rule: str
    message: str
    """What to do, not only what is wrong."""


class Part(BaseModel):
    """A part of the resource: camelCase outside, snake_case inside."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        serialize_by_alias=True,
    )


def rules(*checked: Rule) -> dict[str, Any]:
    """What a model's `json_schema_extra` holds for these rules."""
    return {"x-kubernetes-validations": [{"rule": r, "message": m} for r, m in checked]}


Passthrough = Annotated[
    dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
]
"""An object of Kubernetes' own, checked by the API server when a Pod is made of it."""

Percent = Annotated[int, Field(ge=1, le=100)]

Seconds = Annotated[int, Field(ge=0, le=86_400)]
