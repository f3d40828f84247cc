"""What a line of the log may hold."""

from __future__ import annotations

import logging

import pytest

from realtime_node.telemetry.logging import OneLine


def written(message: str, *values: object, error: BaseException | None = None) -> str:
    """The text of a record."""
    about = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("n", logging.INFO, "", 0, message, values, about)
    return OneLine("%(levelname)s %(message)s").format(record)


def test_a_name_begins_no_line_of_its_own() -> None:
    """Line ends and terminal codes of a channel's name are shown, not obeyed."""
    name = "news\nERROR all is lost\r\x1b[2J\x85\u2028end"
    line = written("channel %s is gone", name)
    assert line == (r"INFO channel news\x0aERROR all is lost\x0d\x1b[2J\x85\x2028end is gone")


def test_other_letters_stay() -> None:
    """Names in any language can be read."""
    assert written("channel %s", "räume:東京") == "INFO channel räume:東京"


def test_a_traceback_has_its_lines() -> None:
    """What went wrong can be read as always."""
    with pytest.raises(ValueError, match="bad") as failed:
        int("bad\nname")
    text = written("it failed", error=failed.value)
    assert text.startswith("INFO it failed\nTraceback (most recent call last):\n")
