"""Whether and when a node that died is started again.

A node that was up for a while died of something that may pass: it comes back at once. One that dies
again and again waits twice as long every time, and in the end the cluster is given up, since a
person has to look.
"""

from __future__ import annotations

from typing import Final, NamedTuple

FIRST_DELAY_S: Final = 0.2
LONGEST_DELAY_S: Final = 5.0
HEALTHY_AFTER_S: Final = 10.0
"""A node that lived for so long has no part in a row of failures."""
MOST_FAILURES: Final = 8
"""Failures in a row after which there is no further try."""


class Restart(NamedTuple):
    """What to do about a node that died."""

    failures: int
    """Failures in a row, this one included."""
    delay_s: float | None
    """How long to wait before it is started again; None: give up."""
    reason: str


def decide_restart(failures_before: int, lived_s: float) -> Restart:
    """Decide about a node that failed after `lived_s` seconds.

    `failures_before` counts those in a row before this one.
    """
    if lived_s >= HEALTHY_AFTER_S:
        return Restart(1, FIRST_DELAY_S, "it had been up for a while")
    failures = failures_before + 1
    if failures >= MOST_FAILURES:
        return Restart(failures, None, f"it failed {failures} times in a row")
    delay = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (failures - 1))
    return Restart(failures, delay, f"failure {failures} of {MOST_FAILURES} in a row")
