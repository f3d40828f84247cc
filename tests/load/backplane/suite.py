"""What `make bench-backplane` measures, and what must not grow."""

from __future__ import annotations

import functools
from typing import Final

from tests.load import report
from tests.load.backplane import scenarios
from tests.load.backplane.results import Publishing
from tests.load.backplane.scenarios import Shape
from tests.load.backplane.stores import OpenStore, one_redis, three_primaries
from tests.load.report import Target
from tests.load.rounds import Scenario, warnings_of_waiting

INTERESTED: Final = (1, 2, 4, 8)
PARTITIONS: Final[tuple[tuple[str, OpenStore, tuple[int, ...]], ...]] = (
    ("one Redis", one_redis, (1, 2, 4, 16)),
    ("3 primaries", three_primaries, (3, 12)),
)
CHANNELS: Final = (200, 2_000, 20_000)
_IN_PARTITIONS: Final = 2
OURS: Final = f"{CHANNELS[-1]:,} channels"

_FEWEST: Final = f"{CHANNELS[0]:,} channels"


def _publishing(*, history: bool) -> Scenario:
    shape = Shape(members=1 + max(INTERESTED))
    kept = "a history of 100" if history else "no history"
    return Scenario(
        f"Publishes against interested nodes, {kept}",
        tuple(
            (
                f"{interested} interested",
                functools.partial(
                    scenarios.publishing, shape=shape, interested=interested, history=history
                ),
            )
            for interested in INTERESTED
        ),
        rounds=3,
    )


SCENARIOS: Final[dict[str, Scenario]] = {
    "publish": _publishing(history=False),
    "history": _publishing(history=True),
    "partitions": Scenario(
        f"Publishes against partitions, {_IN_PARTITIONS} nodes interested, a history of 100",
        tuple(
            (
                f"{partitions} on {name}",
                functools.partial(
                    scenarios.publishing,
                    shape=Shape(1 + _IN_PARTITIONS, partitions, open_store),
                    interested=_IN_PARTITIONS,
                    history=True,
                ),
            )
            for name, open_store, numbers in PARTITIONS
            for partitions in numbers
        ),
        rounds=2,
    ),
    "idle": Scenario(
        f"Idle: channels with one subscriber each on {scenarios.NODES} nodes",
        tuple(
            (f"{channels:,} channels", functools.partial(scenarios.idle, channels=channels))
            for channels in CHANNELS
        ),
        rounds=1,
    ),
    "memory": Scenario(
        f"Memory: channels with one subscriber each on {scenarios.NODES} nodes",
        ((OURS, functools.partial(scenarios.footprint, channels=CHANNELS[-1])),),
        rounds=1,
    ),
}

TARGETS: Final = (
    Target(
        f"idle: commands without the sweep ÷ those of {_FEWEST}",
        "idle",
        "commands_without_sweep_per_s",
        1.2,
        relative_to=_FEWEST,
    ),
    Target(
        f"idle: bytes to Redis ÷ those of {_FEWEST}",
        "idle",
        "received_per_s",
        1.2,
        relative_to=_FEWEST,
    ),
)


def warnings(results: report.Results) -> list[str]:
    """Tell when Redis was kept waiting: then the publishes per second are the machine's."""
    waited = max(
        (
            result.redis_waiting_percent
            for subjects in results.values()
            for rounds in subjects.values()
            for result in rounds
            if isinstance(result, Publishing)
        ),
        default=0.0,
    )
    return warnings_of_waiting("Redis", waited)
