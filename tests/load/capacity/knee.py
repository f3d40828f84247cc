"""Where a growing load breaks what it loads: which load to try next, or where the knee is. Pure.

    first ─grow─▶ … ─▶ broke ─▶ the same again ─▶ broke ─▶ between the last that held and it, …

A load has broken the node when its loop lags, its deliveries are late, or something was lost. One
broken step may be a hiccup of the machine, so it is tried once more before it counts, and more
often while other programs had the node's core. What stops a ramp without breaking the node (the
generators' core is full, the machine has no more file descriptors, the time is over) ends it at
the last load that held, and is told: the node may do more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

TRIES: Final = 2
TRIES_DISTURBED: Final = 4
DISTURBED_PERCENT: Final = 10
"""Of the time in which the node was ready to run and another program had its core."""
MOST_STEPS: Final = 14


@dataclass(frozen=True)
class Step:
    """A load, and how the node did under it."""

    load: float
    achieved: float
    """What of it was done per second (of connections: how many were held)."""
    lag_p99_ms: float
    """Of the node's loop."""
    p99_ms: float = 0.0
    """Of deliveries; 0 where none were measured."""
    busy_percent: float = 0.0
    """Of the node's core."""
    lost: int = 0
    """Clients or publications that did not make it."""
    waiting_percent: float = 0.0
    """Of the time, in which other programs kept the node from its core."""
    obstacle: str = ""
    """What kept the load from reaching the node, if anything did."""


@dataclass(frozen=True)
class Bounds:
    """What a node must keep."""

    lag_p99_ms: float = 50.0
    p99_ms: float = 250.0
    achieved_share: float = 0.9

    @property
    def rule(self) -> str:
        """Say it in words."""
        return (
            f"a load holds while the p99 of the loop's lag is at most {self.lag_p99_ms:.0f} ms,"
            f" that of deliveries at most {self.p99_ms:.0f} ms, and nothing is lost"
        )

    def broken_by(self, step: Step) -> str:
        """Return why a step broke the node; empty if it held."""
        why = self._broken_by(step)
        if why and step.waiting_percent > DISTURBED_PERCENT:
            why += f" (other programs had its core for {step.waiting_percent:.0f} %)"
        return why

    def _broken_by(self, step: Step) -> str:
        if step.lost:
            return f"{step.lost} lost"
        if step.lag_p99_ms > self.lag_p99_ms:
            return f"loop lag p99 {step.lag_p99_ms:.0f} ms > {self.lag_p99_ms:.0f} ms"
        if step.p99_ms > self.p99_ms:
            return f"delivery p99 {step.p99_ms:.0f} ms > {self.p99_ms:.0f} ms"
        if step.achieved < self.achieved_share * step.load:
            return f"only {step.achieved:,.0f} of {step.load:,.0f}"
        return ""


@dataclass(frozen=True)
class Ramp:
    """How loads grow."""

    first: float
    factor: float = 1.6
    most: float = math.inf
    """Beyond this the machine cannot load."""
    most_because: str = ""
    resolution: float = 0.12
    """How close the load that broke the node may be to the one that held, as a share of it."""
    least_share: float = 1 / 8
    """Of the first load: where not even so little holds, nothing less is tried."""


@dataclass(frozen=True)
class Try:
    """A load to be tried next."""

    load: float
    reason: str


@dataclass(frozen=True)
class Knee:
    """The largest load that held."""

    held: Step | None
    """None: the least that was tried was too much."""
    stopped_by: str
    broke_at: float | None
    """The least load that broke the node; None: nothing did, and it may do more."""


def decide(
    steps: Sequence[Step], ramp: Ramp, bounds: Bounds, *, is_time_over: bool = False
) -> Try | Knee:
    """Return what to try after these steps, or the knee that they show."""
    if not steps:
        return Try(ramp.first, "the first")
    good = max((s for s in steps if not bounds.broken_by(s)), key=_by_load, default=None)
    held = good.load if good else 0.0
    broken = sorted((s for s in steps if bounds.broken_by(s) and s.load > held), key=_by_load)
    least = broken[0] if broken else None
    for step in filter(None, (good, least)):
        if step.obstacle:
            return Knee(good, step.obstacle, None)
    if is_time_over or len(steps) >= MOST_STEPS:
        why = bounds.broken_by(least) if least else "nothing"
        return Knee(good, f"{why}, when the time was over", least.load if least else None)
    return _grow(good, ramp) if least is None else _close_in(good, broken, ramp, bounds)


def is_to_be_tried_again(steps: Sequence[Step], bounds: Bounds) -> bool:
    """Whether a load, which was tried so often, broke the node only once or under disturbance."""
    broken = all(map(bounds.broken_by, steps))
    disturbed = all(step.waiting_percent > DISTURBED_PERCENT for step in steps)
    return broken and len(steps) < (TRIES_DISTURBED if disturbed else TRIES)


def knee_of_growth(steps: Sequence[Step], bounds: Bounds, otherwise: str) -> Knee:
    """Return the knee of loads that were only ever added to, such as clients that stay.

    A load that was tried several times held if it did once.

    `otherwise` says what ended the growth if the node did not break.
    """
    good: Step | None = None
    for load, tries in groupby(steps, key=_by_load):
        looks = list(tries)
        held = [step for step in looks if not bounds.broken_by(step)]
        if not held:
            return Knee(good, bounds.broken_by(looks[-1]), load)
        good = held[-1]
    return Knee(good, otherwise, None)


def _grow(good: Step | None, ramp: Ramp) -> Try | Knee:
    assert good is not None  # every step either held or broke
    if good.load >= ramp.most:
        return Knee(good, ramp.most_because, None)
    return Try(min(good.load * ramp.factor, ramp.most), "the last held")


def _close_in(good: Step | None, broken: Sequence[Step], ramp: Ramp, bounds: Bounds) -> Try | Knee:
    least = broken[0]
    why = bounds.broken_by(least)
    if is_to_be_tried_again([step for step in broken if step.load == least.load], bounds):
        return Try(least.load, "again: it may have been a hiccup")
    if good is None:
        if least.load <= ramp.first * ramp.least_share:
            return Knee(None, why, least.load)
        return Try(least.load / 2, "half of what broke")
    if least.load <= good.load * (1 + ramp.resolution):
        return Knee(good, why, least.load)
    return Try(math.sqrt(good.load * least.load), "between what held and what broke")


def _by_load(step: Step) -> float:
    return step.load
