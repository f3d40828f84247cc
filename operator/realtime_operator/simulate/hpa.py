"""The HorizontalPodAutoscaler of autoscaling/v2, for one metric averaged over Pods. Pure.

    ratio = average ÷ target;  within the tolerance nothing changes, else ceil(ratio x Pods)

Pods without a metric count as just at the target when the ratio asks for fewer, and as idle when it
asks for more; Pods that start count as idle. Then come the stabilization window and the policies.
Kubernetes' documentation describes it under "Algorithm details" and "Configurable scaling
behavior"; its examples are this module's tests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final, Literal

SYNC_S: Final = 15.0
"""How often it looks."""
TOLERANCE: Final = 0.1


@dataclass(frozen=True)
class Policy:
    """How far the number may move within a period."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: float


@dataclass(frozen=True)
class Rules:
    """One direction; of several policies the one that permits most counts."""

    policies: tuple[Policy, ...]
    window_s: float


UP: Final = Rules((Policy("Pods", 4, 15), Policy("Percent", 100, 15)), window_s=0)
DOWN: Final = Rules((Policy("Percent", 100, 15),), window_s=300)
"""Kubernetes' defaults."""


def replicas_for(
    current: int, values: Sequence[float], target: float, *, missing: int = 0, starting: int = 0
) -> int:
    """How many replicas the metric asks for; `values` are those of Pods that have one."""
    if not values:
        return current
    ratio = sum(values) / len(values) / target
    if not missing and not (starting and ratio > 1.0):
        return current if abs(ratio - 1.0) <= TOLERANCE else ceil(ratio * len(values))
    if ratio < 1.0:
        assumed, counted = target * missing, len(values) + missing
    else:
        assumed, counted = 0.0, len(values) + missing + starting
    corrected = (sum(values) + assumed) / counted / target
    turned = (ratio < 1.0 < corrected) or (corrected < 1.0 < ratio)
    if turned or abs(corrected - 1.0) <= TOLERANCE:
        return current
    wanted = ceil(corrected * counted)
    if (corrected < 1.0 and wanted > current) or (corrected > 1.0 and wanted < current):
        return current
    return wanted


@dataclass
class Autoscaler:
    """What the controller remembers of one workload."""

    least: int
    most: int
    target: float
    up: Rules = UP
    down: Rules = DOWN
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)
    _changes: deque[tuple[float, int]] = field(default_factory=deque)

    def decide(
        self,
        now: float,
        current: int,
        values: Sequence[float],
        *,
        missing: int = 0,
        starting: int = 0,
    ) -> int:
        """How many replicas there are to be from now on."""
        raw = replicas_for(current, values, self.target, missing=missing, starting=starting)
        stable = self._stabilized(now, current, raw)
        wanted = min(self.most, max(self.least, self._paced(now, current, stable)))
        if wanted != current:
            self._changes.append((now, wanted - current))
        return wanted

    def _stabilized(self, now: float, current: int, raw: int) -> int:
        """The least of what was asked for lately when growing, the most when shrinking."""
        longest_s = max(self.up.window_s, self.down.window_s)
        while self._wanted and self._wanted[0][0] < now - longest_s:
            self._wanted.popleft()
        self._wanted.append((now, raw))
        low = min(each for at, each in self._wanted if at >= now - self.up.window_s)
        high = max(each for at, each in self._wanted if at >= now - self.down.window_s)
        return min(max(current, low), high)

    def _paced(self, now: float, current: int, wanted: int) -> int:
        """As far as the policies permit."""
        periods_s = [each.period_s for each in (*self.up.policies, *self.down.policies)]
        while self._changes and self._changes[0][0] <= now - max(periods_s):
            self._changes.popleft()
        if wanted > current:
            return min(wanted, max(self._up_to(now, current, each) for each in self.up.policies))
        if wanted < current:
            return max(wanted, min(self._down_to(now, current, p) for p in self.down.policies))
        return wanted

    def _up_to(self, now: float, current: int, policy: Policy) -> int:
        start = self._period_start(now, current, policy)
        if policy.kind == "Pods":
            return start + policy.value
        return ceil(start * (1 + policy.value / 100))

    def _down_to(self, now: float, current: int, policy: Policy) -> int:
        start = self._period_start(now, current, policy)
        if policy.kind == "Pods":
            return start - policy.value
        return int(start * (1 - policy.value / 100))

    def _period_start(self, now: float, current: int, policy: Policy) -> int:
        since = now - policy.period_s
        return current - sum(change for at, change in self._changes if at > since)
