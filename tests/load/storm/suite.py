"""Which scenarios there are, what they need of a node, and what has to hold: `make storm`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from tests.load import report
from tests.load.report import Target
from tests.load.rounds import OpenLab, Scenario, Suite
from tests.load.storm import draining, scenarios, scene, soaking
from tests.load.storm.scene import Lab

SUBJECT: Final = "realtime-node"

_TOLERABLE_CALM_MS: Final = 50

ADMISSION: Final = scenarios.ADMISSION
DRAIN: Final = draining.NEEDED


@dataclass(frozen=True)
class StormScenario:
    """One row of the suite."""

    title: str
    measure: Callable[[Any], Awaitable[Any]]
    needs: Mapping[str, Any]
    """Settings that the node has to know; where it does not, the scenario is left out."""
    kind: str
    """Which targets it has to meet."""


STORMS: Final[dict[str, StormScenario]] = {
    "killed": StormScenario(
        "SIGKILL one of three nodes with 10,000 clients", scenarios.killed, {}, "gone"
    ),
    "plain": StormScenario(
        "SIGTERM one of three nodes, with no time to drain", scenarios.plain, {}, "gone"
    ),
    "storm": StormScenario(
        "SIGKILL one of three nodes that meter admission", scenarios.storm, ADMISSION, "admitted"
    ),
    "storm-redis-away": StormScenario(
        "The same, and Redis is away for five seconds",
        scenarios.storm_without_redis,
        ADMISSION,
        "admitted-apart",
    ),
    "drain": StormScenario(
        "Drain a node with 5,000 clients by order", draining.drain, DRAIN, "drained"
    ),
    "drain-signal": StormScenario(
        "Drain it by SIGTERM alone", draining.drain_by_signal, DRAIN, "drained"
    ),
    "drain-two": StormScenario(
        "Drain two of four nodes at once", draining.drain_two, DRAIN, "drained"
    ),
    "drain-killed": StormScenario(
        "SIGKILL another node while one drains",
        draining.drain_while_one_dies,
        DRAIN,
        "drained-disturbed",
    ),
    "drain-redis-away": StormScenario(
        "Redis is away for five seconds while a node drains",
        draining.drain_without_redis,
        DRAIN,
        "drained",
    ),
}
SOAK: Final[dict[str, StormScenario]] = {
    "soak": StormScenario("Churn, stalls and kills", soaking.soak, {}, "soaked"),
}


def _at_most(figure: str, limit: float) -> tuple[str, float, bool]:
    return figure, limit, False


def _at_least(figure: str, limit: float) -> tuple[str, float, bool]:
    return figure, limit, True


_WHOLE: Final = (
    _at_most("lost", 0),
    _at_most("doubled", 0),
    _at_most("disordered", 0),
    _at_most("told", 0),
    _at_most("ended", 0),
)
_APART: Final = (
    *_WHOLE,
    _at_least("judged_s", 3),
    _at_least("slowest_ratio", 0.9),
    _at_most("fastest_ratio", 1.1),
    _at_most("peak_ratio", 1.2),
    _at_most("back_ratio", 1),
)
_CALMLY: Final = _at_most("unaffected_ratio", 3)
_DRAINED: Final = (
    *_WHOLE,
    _CALMLY,
    _at_most("peak_ratio", 1.3),
    _at_most("landed", 0),
    _at_most("exit_status", 0),
    _at_most("deadline_ratio", 1),
)

CONDITIONS: Final[dict[str, tuple[tuple[str, float, bool], ...]]] = {
    "gone": _WHOLE,
    "admitted": (*_APART, _CALMLY),
    "admitted-apart": _APART,
    "drained": _DRAINED,
    "drained-disturbed": (*_DRAINED, _at_most("after_kill_ratio", 0.9)),
    "soaked": (
        *_WHOLE,
        _at_most("rss_ratio", 1.05),
        _at_most("spare_files", 5),
        _at_most("presence_missing", 0),
        _at_most("left_clients", 0),
        _at_most("left_presence", 0),
        _at_most("left_interest", 0),
        _at_most("left_departures", 0),
    ),
}


def _targets(chosen: Mapping[str, StormScenario]) -> tuple[Target, ...]:
    return tuple(
        Target(f"{name}: {figure.replace('_', ' ')}", name, figure, limit, at_least)
        for name, scenario in chosen.items()
        for figure, limit, at_least in CONDITIONS[scenario.kind]
    )


async def offered(
    wanted: Mapping[str, StormScenario], directory: Path
) -> tuple[dict[str, StormScenario], list[str]]:
    """Return the scenarios that this node can play, and a line for each that it cannot."""
    can, cannot = {}, []
    for name, scenario in wanted.items():
        if await scene.offers(scenario.needs, directory):
            can[name] = scenario
        else:
            cannot.append(
                f"{name} left out: this node does not know {' and '.join(scenario.needs)}"
            )
    return can, cannot


def suite(name: str, chosen: Mapping[str, StormScenario], left_out: list[str]) -> Suite:
    """Return what is run and judged."""
    return Suite(
        name,
        {
            key: Scenario(scenario.title, ((SUBJECT, scenario.measure),), rounds=1)
            for key, scenario in chosen.items()
        },
        _targets(chosen),
        ours=SUBJECT,
        head=(
            f"realtime-node {metadata.version('realtime-node')}",
            "nodes, Redis, publisher and crowd share all cores",
            *left_out,
        ),
        warn=_warn,
        strict=True,
    )


def _warn(results: report.Results) -> list[str]:
    calm = {
        name: result.calm_p99_ms
        for name, subjects in results.items()
        for result in subjects[SUBJECT]
        if result.calm_p99_ms > _TOLERABLE_CALM_MS
    }
    return [
        f"the machine was busy: {name} had a p99 of {p99_ms:.0f} ms before anything happened"
        for name, p99_ms in calm.items()
    ]


def opening(clients: int | None, settings: Mapping[str, Any]) -> OpenLab:
    """Return what opens the lab."""

    @contextlib.asynccontextmanager
    async def open_lab(directory: Path, quick: bool) -> AsyncIterator[Lab]:
        yield Lab(directory, quick, clients, settings)

    return open_lab
