"""Measures slow clients, intervals and stagger: `make bench-flow`.

Takes about eight minutes; --only and --rounds choose less or more. The targets are those that the
design of flow control sets; docs/slow-clients.md shows the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.load import flow_scenarios, machine, report, scenarios
from tests.load.flow_scenarios import SPREAD_OVER, node
from tests.load.generators import GeneratorError
from tests.load.report import Target
from tests.load.scenarios import Lab
from tests.load.tools import ToolsNotBuiltError, build_tools

Subject = Callable[[Lab], Awaitable[Any]]

CALM: Final = "calm"
C_LOOP: Final = "C send()"
EACH_20_MS: Final = "every 20 ms"
_HISTORY: Final = {"history_size": 1000, "history_ttl": "60s"}
_REPORTS: Final = Path(__file__).parents[2] / ".cache" / "bench"


def _stalled(count: int, name: str, policy: str, **channel: Any) -> tuple[str, Subject]:
    kind = node(name, slow_client={"policy": policy}, **channel)
    return name, functools.partial(flow_scenarios.stalled, kind=kind, count=count)


SCENARIOS: Final[dict[str, tuple[str, int, dict[str, Subject]]]] = {
    "stalled": (
        "200 of 2,000 clients read nothing, 20 publications/s of 4 KB",
        3,
        dict(
            [
                _stalled(0, CALM, "queue", **_HISTORY),
                _stalled(200, "queue", "queue", **_HISTORY),
                _stalled(200, "latest", "latest"),
                _stalled(200, "drop", "drop"),
                _stalled(200, "disconnect", "disconnect", **_HISTORY),
                _stalled(1, "latest, one alone", "latest"),
            ]
        ),
    ),
    "batched": (
        "500 publications/s to 1,000 clients",
        3,
        {
            EACH_20_MS: functools.partial(
                flow_scenarios.batched, kind=node(EACH_20_MS, batch={"interval": "20ms"})
            ),
            "at once": functools.partial(flow_scenarios.batched, kind=node("at once")),
            C_LOOP: scenarios.c_send_loop,
        },
    ),
    "spread": (
        "A publication to 10,000 clients of one channel",
        2,
        {
            "at once": functools.partial(flow_scenarios.spread, kind=node("at once")),
            f"stagger {SPREAD_OVER}": functools.partial(
                flow_scenarios.spread,
                kind=node("staggered", batch={"interval": SPREAD_OVER}, stagger=SPREAD_OVER),
            ),
        },
    ),
}


def _targets() -> list[tuple[str, Target]]:
    """Return each target with the subject that it is for."""
    found = []
    for subject in SCENARIOS["stalled"][2]:
        if subject == CALM:
            continue
        for what, figure in (("p99 of the others", "p99_ms"), ("CPU of the node", "cpu_s")):
            text = f"{subject}: {what} ÷ calm"
            found.append((subject, Target(text, "stalled", figure, 1.2, relative_to=CALM)))
        text = f"{subject}: others that received everything, %"
        found.append((subject, Target(text, "stalled", "whole_percent", 100, at_least=True)))
    text = "every 20 ms: CPU per delivery ÷ C send()"
    batched = Target(text, "batched", "us_per_delivery", 0.3, relative_to=C_LOOP)
    return [*found, (EACH_20_MS, batched)]


async def _measure(
    lab: Lab, chosen: list[str], rounds: int | None, results: report.Results
) -> None:
    for key in chosen:
        _, usual_rounds, subjects = SCENARIOS[key]
        for number in range(1, (rounds or usual_rounds) + 1):
            for subject, measure in subjects.items():
                result = await measure(lab)
                results.setdefault(key, {}).setdefault(subject, []).append(result)
                print(f"{key} {number}  {subject}: {report.one_line(result)}", flush=True)


def main() -> None:
    """Measure in turns, print the report and keep it under .cache/bench/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=list(SCENARIOS))
    parser.add_argument("--rounds", type=int, help="of every scenario, instead of its own number")
    parser.add_argument("--quick", action="store_true", help="short: compares nothing")
    arguments = parser.parse_args()
    machine.raise_open_files_limit()
    begun = time.monotonic()
    results: report.Results = {}
    status = 0
    try:
        with tempfile.TemporaryDirectory(prefix="realtime-bench-") as directory:
            lab = Lab(build_tools(), Path(directory), arguments.quick)
            chosen = arguments.only or list(SCENARIOS)
            asyncio.run(_measure(lab, chosen, arguments.rounds, results))
    except (AssertionError, GeneratorError, ToolsNotBuiltError) as failure:
        print(f"\n{failure}\n", file=sys.stderr)
        status = 1
    head = [
        f"{datetime.now(UTC):%Y-%m-%d}, {machine.describe()}",
        f"took {time.monotonic() - begun:.0f} s; generators share the first core",
        "median of the rounds (lowest to highest); ratios are taken within a round",
    ]
    verdicts = [
        verdict
        for subject, target in _targets()
        for verdict in report.judge(results, [target], subject)
    ]
    titles = {key: title for key, (title, _, _) in SCENARIOS.items()}
    text = report.markdown(head, titles, results, verdicts)
    report.save(_REPORTS / f"flow-{datetime.now(UTC):%Y%m%d-%H%M%S}", text, head, results, verdicts)
    print(f"\n{text}")
    sys.exit(status)


if __name__ == "__main__":
    main()
