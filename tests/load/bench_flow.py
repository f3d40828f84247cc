"""Measures slow clients, intervals and stagger: `make bench-flow`.

Takes about ten minutes; --only and --rounds choose less or more. docs/slow-clients.md shows what
came out.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator
from importlib import metadata
from typing import Any, Final

from tests.load import flow_scenarios, report, rounds, scenarios, suite
from tests.load.flow_results import Stalled
from tests.load.flow_scenarios import SPREAD_OVER, node
from tests.load.report import Target
from tests.load.rounds import Scenario, Suite
from tests.load.scenarios import Lab

Subject = tuple[str, Callable[[Lab], Awaitable[Any]]]

CALM: Final = "calm"
C_LOOP: Final = "C send()"
EACH_20_MS: Final = "every 20 ms"
_HISTORY: Final = {"history_size": 1000, "history_ttl": "60s"}


def _stalled(count: int, name: str, policy: str, **channel: Any) -> Subject:
    kind = node(name, slow_client={"policy": policy}, **channel)
    return name, functools.partial(flow_scenarios.stalled, kind=kind, count=count)


def _batched(name: str, **channel: Any) -> Subject:
    return name, functools.partial(flow_scenarios.batched, kind=node(name, **channel))


def _spread(name: str, **channel: Any) -> Subject:
    return name, functools.partial(flow_scenarios.spread, kind=node(name, **channel))


SCENARIOS: Final[dict[str, Scenario]] = {
    "stalled": Scenario(
        "200 of 2,000 clients read nothing, 20 publications/s of 4 KB",
        (
            _stalled(0, CALM, "queue", **_HISTORY),
            _stalled(200, "queue", "queue", **_HISTORY),
            _stalled(200, "latest", "latest"),
            _stalled(200, "drop", "drop"),
            _stalled(200, "disconnect", "disconnect", **_HISTORY),
            _stalled(1, "latest, one alone", "latest"),
        ),
        rounds=3,
    ),
    "batched": Scenario(
        "500 publications/s to 1,000 clients",
        (
            _batched(EACH_20_MS, batch={"interval": "20ms"}),
            _batched("at once"),
            (C_LOOP, scenarios.c_send_loop),
        ),
        rounds=3,
    ),
    "spread": Scenario(
        "A publication to 10,000 clients of one channel",
        (
            _spread("at once"),
            _spread("staggered", batch={"interval": SPREAD_OVER}, stagger=SPREAD_OVER),
        ),
        rounds=2,
    ),
}


def _targets() -> Iterator[Target]:
    for subject, _ in SCENARIOS["stalled"].subjects:
        if subject == CALM:
            continue
        of = functools.partial(Target, scenario="stalled", subject=subject)
        for what, figure in (("p99 of the others", "p99_ms"), ("CPU of the node", "cpu_s")):
            yield of(f"{subject}: {what} ÷ calm", figure=figure, limit=1.2, relative_to=CALM)
        if "latest" not in subject:  # which leaves out what is outdated, for everybody
            whole = f"{subject}: others that received everything once, %"
            yield of(whole, figure="whole_percent", limit=100, at_least=True)
    yield Target(
        "every 20 ms: CPU per delivery ÷ C send()",
        "batched",
        "us_per_delivery",
        0.3,
        relative_to=C_LOOP,
        subject=EACH_20_MS,
    )


def _warnings(results: report.Results) -> list[str]:
    stalled = results.get("stalled", {}).values()
    waited = [
        result.waiting_percent
        for measured in stalled
        for result in measured
        if isinstance(result, Stalled)
    ]
    return rounds.warnings_of_waiting("the node", max(waited, default=0.0))


if __name__ == "__main__":
    rounds.main(
        Suite(
            "bench-flow",
            SCENARIOS,
            tuple(_targets()),
            ours=EACH_20_MS,
            head=(
                f"realtime-node {metadata.version('realtime-node')}",
                "generators share the first core; the node has another",
            ),
            warn=_warnings,
        ),
        rounds.parse_arguments(__doc__, SCENARIOS),
        suite.open_lab,
    )
