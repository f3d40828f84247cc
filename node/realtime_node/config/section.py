"""What all sections of the settings share: strict, frozen models that document themselves.

A field's docstring is its documentation, and its type says what is allowed: `tree` reads both, for
error messages and for docs/configuration.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from fractions import Fraction
from typing import Annotated, Final, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator
from pydantic_core import PydanticCustomError

# --- units --------------------------------------------------------------------------------------

MICROSECONDS: Final[Mapping[str, Fraction]] = {
    "ns": Fraction(1, 1000),
    "us": Fraction(1),
    "µs": Fraction(1),
    "ms": Fraction(1000),
    "s": Fraction(1_000_000),
    "m": Fraction(60_000_000),
    "h": Fraction(3_600_000_000),
}
LONGEST: Final = timedelta(hours=24 * 366 * 100)
"""A bound far from what Redis and timers can hold, so that no sum of durations overflows."""

_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")


def parse_duration(text: object) -> timedelta:
    """Read a duration written as Go writes it: "300s", "1h30m", "500ms", "720h".

    Raises `ValueError` if it is anything else, negative, longer than 100 years, or finer than a
    microsecond.
    """
    if isinstance(text, timedelta):
        return text
    if not isinstance(text, str):
        raise ValueError("a number needs its unit")  # noqa: TRY004 - pydantic reports ValueError only
    if text == "0":
        return timedelta()
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("it is not a number with a unit (ms, s, m, h), or several of them")
    microseconds = sum(Fraction(number.rstrip(".")) * MICROSECONDS[unit] for number, unit in parts)
    if microseconds > Fraction(LONGEST // timedelta(microseconds=1)):
        raise ValueError("the longest is 100 years")
    if microseconds % 1:
        raise ValueError("the finest unit is a microsecond")
    return timedelta(microseconds=int(microseconds))


def format_duration(duration: timedelta) -> str:
    """Write a duration in the fewest whole units: "90s" is "1m30s", 30 days are "720h"."""
    rest = duration // timedelta(microseconds=1)
    text = ""
    for unit in ("h", "m", "s", "ms", "us"):
        count, rest = divmod(rest, int(MICROSECONDS[unit]))
        if count:
            text += f"{count}{unit}"
    return text or "0s"


class Unit(NamedTuple):
    """Marks a type with what its numbers count."""

    unit: str


class Form(NamedTuple):
    """Marks a type with what its text has to look like."""

    form: str


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
"""A span of time, written as text with its unit."""

LivingDuration = Annotated[Duration, Field(gt=timedelta())]
"""A duration that cannot be zero."""

Bytes = Annotated[int, Field(ge=1, le=2**31 - 1), Unit("bytes")]
"""A size."""

SomeBytes = Annotated[int, Field(ge=0, le=2**31 - 1), Unit("bytes")]
"""A size that may be nothing."""

Port = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port; 0 asks the kernel for a free one."""


# --- sections -----------------------------------------------------------------------------------


class Contradiction(NamedTuple):
    """Settings of one section that are fine by themselves but not together."""

    key: str
    """The key that has to change, within the section."""
    problem: str
    """What is wrong with its value and what to do."""


class Section(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # an input may be a secret; `problems` shows what is none
    )

    def contradictions(self) -> Iterable[Contradiction]:
        """Every reason why this section's settings do not go together."""
        return ()

    @model_validator(mode="after")
    def _free_of_contradictions(self) -> Self:
        found = list(self.contradictions())
        if found:
            raise PydanticCustomError(
                "contradictions",
                "{summary}",
                {
                    "summary": "; ".join(f"{key}: {problem}" for key, problem in found),
                    "contradictions": found,
                },
            )
        return self
