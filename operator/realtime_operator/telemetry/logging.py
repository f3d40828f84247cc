"""The operator's log: one line per event on standard error, in UTC."""

from __future__ import annotations

import logging
import time
from typing import Final

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}


def configure_logging(level: str) -> None:
    """Write this level and those above it; replaces any earlier configuration."""
    formatter = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=LEVELS[level], handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel(max(LEVELS[level], logging.WARNING))
