"""The node's log: one line per event on standard error, which is where containers expect it.

Names that clients chose (channels, users) may stand in a line. Control characters in them are
escaped, so that nobody begins a line of his own, or talks to a terminal; only a traceback has more
lines than one.
"""

from __future__ import annotations

import logging
import time
from typing import Final

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "none": logging.CRITICAL + 1,
}

_ESCAPED: Final = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
}


class OneLine(logging.Formatter):
    """Writes each message in a line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line, without the traceback that may follow it."""
        return super().formatMessage(record).translate(_ESCAPED)


def configure_logging(level: str) -> None:
    """Write what `log.level` asks for, with UTC times; replaces any earlier configuration."""
    formatter = OneLine(
        "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=LEVELS[level], handlers=[handler], force=True)


def change_level(level: str) -> None:
    """Write what another `log.level` asks for."""
    logging.getLogger().setLevel(LEVELS[level])
