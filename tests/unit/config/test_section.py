"""Durations: what is written is what is meant, and nothing is guessed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_node.config.section import LONGEST, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("300s", timedelta(minutes=5)),
        ("1h30m", timedelta(minutes=90)),
        ("500ms", timedelta(milliseconds=500)),
        ("720h", timedelta(days=30)),
        ("1.5h", timedelta(minutes=90)),
        (".5s", timedelta(milliseconds=500)),
        ("1000ns", timedelta(microseconds=1)),
        ("250µs", timedelta(microseconds=250)),
        ("0", timedelta()),
        ("0s", timedelta()),
    ],
)
def test_reads_durations_as_go_writes_them(text: str, expected: timedelta) -> None:
    """Every form of a duration that a Centrifugo file may hold is read."""
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "not a number with a unit"),
        ("300", "not a number with a unit"),
        ("s", "not a number with a unit"),
        ("5 s", "not a number with a unit"),
        ("-5s", "not a number with a unit"),
        ("5d", "not a number with a unit"),
        ("5s!", "not a number with a unit"),
        ("\u0665s", "not a number with a unit"),
        ("1ns", "finest unit"),
        ("9999999h", "100 years"),
        (300, "needs its unit"),
        (True, "needs its unit"),
        (None, "needs its unit"),
    ],
)
def test_refuses_what_is_no_duration(value: object, reason: str) -> None:
    """A number without a unit is never taken for seconds, or anything else."""
    with pytest.raises(ValueError, match=reason):
        parse_duration(value)


@given(st.timedeltas(min_value=timedelta(), max_value=LONGEST))
def test_formats_so_that_the_same_is_read_again(duration: timedelta) -> None:
    """Formatting loses nothing, down to the microsecond."""
    assert parse_duration(format_duration(duration)) == duration


@given(st.text(alphabet="0123456789.hmsunµ ", max_size=20))
def test_refuses_with_a_reason_only(text: str) -> None:
    """Whatever the text, it is a duration or a ValueError."""
    try:
        duration = parse_duration(text)
    except ValueError:
        return
    assert timedelta() <= duration <= LONGEST
