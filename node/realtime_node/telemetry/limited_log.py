"""A log whose lines outsiders cause: a bounded number of them is written, the rest is counted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

PERIOD_S: Final = 10.0
LINES_PER_PERIOD: Final = 10


class LimitedLog:
    """Writes at most `lines` lines per period; the first of the next tells how many are missing."""

    def __init__(
        self,
        logger: logging.Logger,
        monotonic: Callable[[], float],
        *,
        lines: int = LINES_PER_PERIOD,
        period_s: float = PERIOD_S,
    ) -> None:
        """Begin with a period in which nothing was written."""
        self._logger = logger
        self._monotonic = monotonic
        self._lines = lines
        self._period_s = period_s
        self._began_at = monotonic()
        self._written = 0
        self._left_out = 0

    def info(self, message: str, *arguments: object) -> None:
        """Write a line at level INFO, unless the period has had its lines."""
        now = self._monotonic()
        if now - self._began_at >= self._period_s:
            self._began_at = now
            self._written = 0
        if self._written >= self._lines:
            self._left_out += 1
            return
        self._written += 1
        if self._left_out:
            message += " (%d lines like this were left out)"
            arguments = (*arguments, self._left_out)
            self._left_out = 0
        self._logger.info(message, *arguments)
