"""The node's log: one line per event on standard error, which is where containers expect it."""

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


def configure_logging(level: str) -> None:
    """Write what `log.level` asks for, with UTC times; replaces any earlier configuration."""
    formatter = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=LEVELS[level], handlers=[handler], force=True)


def change_level(level: str) -> None:
    """Write what another `log.level` asks for."""
    logging.getLogger().setLevel(LEVELS[level])
