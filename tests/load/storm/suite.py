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
from tests.load.storm import draining, scenarios, soaking
from tests.load.storm.scene import Lab

SUBJECT: Final = "realtime-node"

_TOLERABLE_CALM_MS: Final = 50


@dataclass(frozen=True)
class StormScenario:
    """One row of the suite."""

    title: str
    measure: Callable[[Any], Awaitable[Any]]
    kind: str
    """Which targets it has to meet."""
    against: tuple[str, Callable[[Any], Awaitable[Any]]] | None = None
    """Another way that is measured beside it."""


PLAIN: Final = "plain shutdown"
STORMS: Final[dict[str, StormScenario]] = {
    "killed": StormScenario(
        "SIGKILL one of three nodes with 10,000 clients", scenarios.killed, "gone"
    ),
    "plain": StormScenario(
        "SIGTERM one of three nodes, with no time to drain", scenarios.plain, "gone"
    ),
    "storm": StormScenario(
        "SIGKILL one of three nodes that meter admission and ask a backend",
        scenarios.storm,
        "proxied",
    ),
    "storm-sessions": StormScenario(
        "The same with sessions, while somebody watches presence",
        scenarios.storm_of_sessions,
        "resumed",
    ),
    "storm-redis-away": StormScenario(
        "SIGKILL one of three nodes, and Redis is away for five seconds",
        scenarios.storm_without_redis,
        "admitted-apart",
    ),
    "resume-redis-away": StormScenario(
        "SIGKILL one of three nodes, and Redis is away when sessions are to be resumed",
        scenarios.resume_without_redis,
        "resumed-apart",
    ),
    "drain": StormScenario(
        "Drain a node with 5,000 clients by order, and end one without a drain",
        draining.drain,
        "drained-compared",
        (PLAIN, draining.plain_shutdown),
    ),
    "drain-signal": StormScenario("Drain it by SIGTERM alone", draining.drain_by_signal, "drained"),
    "drain-two": StormScenario("Drain two of four nodes at once", draining.drain_two, "drained"),
    "drain-killed": StormScenario(
        "SIGKILL another node while one drains",
        draining.drain_while_one_dies,
        "drained-disturbed",
    ),
    "drain-redis-away": StormScenario(
        "Redis is away for five seconds while a node drains",
        draining.drain_without_redis,
        "drained-alone",
    ),
}
SOAK: Final[dict[str, StormScenario]] = {
    "soak": StormScenario("Churn, stalls and kills", soaking.soak, "soaked"),
}


@dataclass(frozen=True)
class Condition:
    """What one figure has to be."""

    figure: str
    limit: float
    at_least: bool = False
    against: str | None = None
    """The ratio to the same figure of this subject is meant."""

    def of(self, scenario: str) -> Target:
        """Return it as a target of a scenario."""
        name = self.figure.replace("_", " ")
        text = f"{scenario}: {name}" + (f" ÷ {self.against}'s" if self.against else "")
        return Target(text, scenario, self.figure, self.limit, self.at_least, self.against)


def _at_most(figure: str, limit: float, against: str | None = None) -> Condition:
    return Condition(figure, limit, against=against)


def _at_least(figure: str, limit: float) -> Condition:
    return Condition(figure, limit, at_least=True)


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
_SPARING: Final = _at_most("backend_ratio", 0.01)
_THE_SAME: Final = (_at_least("resumed_ratio", 0.99), _at_most("renamed", 0), _at_most("flaps", 0))
_CALMLY: Final = _at_most("unaffected_ratio", 3)
_DRAINED_APART: Final = (
    *_WHOLE,
    _at_most("peak_ratio", 1.3),
    _at_most("landed", 0),
    _at_most("exit_status", 0),
    _at_most("deadline_ratio", 1),
)
_DRAINED: Final = (*_DRAINED_APART, _CALMLY)

CONDITIONS: Final[dict[str, tuple[Condition, ...]]] = {
    "gone": _WHOLE,
    "proxied": (*_APART, _CALMLY, _SPARING),
    "resumed": (*_APART, _CALMLY, _SPARING, *_THE_SAME),
    "admitted-apart": _APART,
    "resumed-apart": (*_APART, *_THE_SAME),
    "drained": _DRAINED,
    "drained-compared": (
        *_DRAINED,
        _at_most("peak_connects_per_s", 0.5, PLAIN),
        _at_most("unaffected_p99_ms", 1, PLAIN),
    ),
    "drained-alone": (*_DRAINED_APART, _at_least("on_its_own", 1)),
    # The killed node's clients come back unmetered there, and that is felt.
    "drained-disturbed": (*_DRAINED_APART, _at_most("after_kill_ratio", 0.9)),
    "soaked": (
        *_WHOLE,
        _at_most("rss_ratio", 1.05),
        _at_most("spare_files", 5),
        _at_most("more_tasks", 20),
        _at_most("presence_missing", 0),
        _at_most("left_clients", 0),
        _at_most("left_presence", 0),
        _at_most("left_interest", 0),
        _at_most("left_departures", 0),
    ),
}


def _subjects(scenario: StormScenario) -> tuple[tuple[str, Callable[[Any], Awaitable[Any]]], ...]:
    ours = (SUBJECT, scenario.measure)
    return (ours, scenario.against) if scenario.against else (ours,)


def suite(name: str, chosen: Mapping[str, StormScenario]) -> Suite:
    """Return what is run and judged."""
    return Suite(
        name,
        {
            key: Scenario(scenario.title, _subjects(scenario), rounds=1)
            for key, scenario in chosen.items()
        },
        [
            condition.of(key)
            for key, scenario in chosen.items()
            for condition in CONDITIONS[scenario.kind]
        ],
        ours=SUBJECT,
        head=(
            f"realtime-node {metadata.version('realtime-node')}",
            "nodes, Redis, publisher and crowd share all cores",
        ),
        warn=_warn,
        draw=_draw,
        strict=True,
    )


def _draw(results: report.Results) -> dict[str, str]:
    from tests.load.storm import pictures  # noqa: PLC0415 - brings matplotlib, for the end alone

    return pictures.pictures(results)


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
