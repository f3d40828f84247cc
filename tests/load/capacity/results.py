"""What is measured of one node; see `tests.load.results`. Steps are kept for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.load.capacity.advice import MemoryFit
from tests.load.capacity.knee import Knee, Step
from tests.load.results import figure


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The largest load of a kind that held."""

    held: float = figure("held")
    lag_p99_ms: float = figure("loop lag p99 at it", "ms", 1)
    p99_ms: float = figure("delivery p99 at it", "ms", 1)
    busy_percent: float = figure("node's core busy", "%")
    waiting_percent: float = figure("node kept from its core by others, most", "%")
    stopped_by: str = ""
    broke_at: float | None = None
    steps: Sequence[Step] = field(default_factory=tuple)


def limit_of(knee: Knee, steps: Sequence[Step]) -> Limit:
    """Put together what a ramp showed."""
    held = knee.held or Step(0, 0, 0)
    return Limit(
        held=held.achieved,
        lag_p99_ms=held.lag_p99_ms,
        p99_ms=held.p99_ms,
        busy_percent=held.busy_percent,
        waiting_percent=max(step.waiting_percent for step in steps),
        stopped_by=knee.stopped_by,
        broke_at=knee.broke_at,
        steps=tuple(steps),
    )


@dataclass(frozen=True, kw_only=True)
class Connections(Limit):
    """Clients held, and what they take."""

    memory: MemoryFit
    kib_per_client: float = figure("resident memory per client", "KiB", 2)
    idle_mib: float = figure("resident without clients", "MiB", 1)
