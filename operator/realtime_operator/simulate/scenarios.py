"""What happens: how many clients want to be there at which time, and what befalls the cluster.

Demand is a share of the highest load, 0 to 1, and times are seconds from the beginning. What
happens is the same for both rivals.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import cos, pi, sqrt
from typing import Final, NamedTuple

from realtime_operator.simulate.world import World

MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0


class Happening(NamedTuple):
    """Something that befalls the cluster."""

    at_s: float
    what: str
    do: Callable[[World], None]


@dataclass(frozen=True)
class Scenario:
    """A load and what happens meanwhile."""

    name: str
    about: str
    """One line."""
    duration_s: float
    """At least; a run that has to settle first goes on, to `longest_s` at most."""
    demand: Callable[[float], float]
    happenings: tuple[Happening, ...] = ()
    step_s: float = 1.0
    rounds_every_s: float = 0.0
    """The operator has no more rounds than that: a day has many."""
    longest_s: float = 0.0
    """0: it ends with `duration_s`, however things are."""


def through(*points: tuple[float, float]) -> Callable[[float], float]:
    """A demand that goes in straight lines from point to point, and stays at the last."""
    times = [at for at, _ in points]

    def demand(at: float) -> float:
        index = bisect_right(times, at)
        if index == 0:
            return points[0][1]
        if index == len(points):
            return points[-1][1]
        (since, before), (until, after) = points[index - 1], points[index]
        return before + (after - before) * (at - since) / (until - since)

    return demand


def _day(at: float) -> float:
    """Least in the night, more from noon on, most at eight in the evening."""
    hour = at / HOUR_S % 24
    evening = (1 + cos((hour - 20) / 12 * pi)) / 2
    noon = (1 + cos((hour - 12) / 6 * pi)) / 2 if 6 <= hour <= 18 else 0.0  # noqa: PLR2004 - hours
    return min(1.0, 0.3 + 0.7 * evening * sqrt(evening) + 0.25 * noon)


def _lose_zone(world: World) -> None:
    world.lose_machines(zone="a")


_ALL: Final = (
    Scenario(
        "growth",
        "clients grow threefold within an hour",
        90 * MINUTE_S,
        through((0, 1 / 3), (5 * MINUTE_S, 1 / 3), (65 * MINUTE_S, 1.0)),
        step_s=2.0,
    ),
    Scenario(
        "flash-crowd",
        "three times as many clients within two minutes; they leave half an hour later",
        80 * MINUTE_S,
        through(
            (5 * MINUTE_S, 1 / 3),
            (7 * MINUTE_S, 1.0),
            (35 * MINUTE_S, 1.0),
            (45 * MINUTE_S, 1 / 3),
        ),
    ),
    Scenario(
        "node-loss",
        "the machines of a twentieth of the nodes are gone",
        20 * MINUTE_S,
        through((0, 1.0)),
        (Happening(5 * MINUTE_S, "machines lost", lambda world: world.lose_machines(share=0.05)),),
    ),
    Scenario(
        "zone-loss",
        "one of three zones is gone, and comes back after twenty minutes",
        40 * MINUTE_S,
        through((0, 1.0)),
        (
            Happening(5 * MINUTE_S, "zone lost", _lose_zone),
            Happening(25 * MINUTE_S, "zone back", lambda world: world.restore_zone("a")),
        ),
    ),
    Scenario(
        "rollout",
        "another image while all nodes are at their target",
        10 * MINUTE_S,
        through((0, 1.0)),
        (Happening(5 * MINUTE_S, "new image", lambda world: world.change_image()),),
        longest_s=12 * HOUR_S,
    ),
    Scenario(
        "metrics-outage",
        "half of the nodes cannot be asked for ten minutes, while a third of the clients is away",
        40 * MINUTE_S,
        through(
            (6 * MINUTE_S, 1.0),
            (8 * MINUTE_S, 2 / 3),
            (13 * MINUTE_S, 2 / 3),
            (15 * MINUTE_S, 1.0),
        ),
        (
            Happening(5 * MINUTE_S, "half of the metrics away", lambda world: world.silence(0.5)),
            Happening(15 * MINUTE_S, "metrics back", lambda world: world.silence(0.0)),
        ),
    ),
    Scenario(
        "daily-curve",
        "a day from four in the night on: quiet, busy from noon, busiest at eight in the evening",
        24 * HOUR_S,
        lambda at: _day(at + 4 * HOUR_S),
        step_s=10.0,
        rounds_every_s=30.0,
    ),
)

SCENARIOS: Final[Mapping[str, Scenario]] = {each.name: each for each in _ALL}
