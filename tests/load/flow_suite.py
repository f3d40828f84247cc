"""What `make bench-flow` measures: scenarios, what follows from their figures, and targets."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from tests.load import flow_scenarios, report, scenarios
from tests.load.flow_results import Arrivals
from tests.load.flow_scenarios import (
    BATCHED_PER_S,
    BUDGET_MIB,
    CALM_PER_S,
    INTERVAL_MS,
    SPREAD_OVER_MS,
    node,
)
from tests.load.report import Target
from tests.load.rounds import Scenario
from tests.load.scenarios import Lab

Subject = tuple[str, Callable[[Lab], Awaitable[Any]]]

CALM: Final = "calm"
ONE_ALONE: Final = "latest, one alone"
CHOKED: Final = "queue"
C_LOOP: Final = "C send()"
AT_ONCE: Final = "at once"
AT_INTERVALS: Final = f"every {INTERVAL_MS} ms"
FEW_AT_ONCE: Final = f"{CALM_PER_S}/s at once"
ADDED: Final = f"added to {AT_ONCE}"
ADDED_TO_FEW: Final = f"added to {FEW_AT_ONCE}"
STAGGERED: Final = "staggered"

_HISTORY: Final = {"history_size": 1000, "history_ttl": "60s"}
_SPREAD_OVER: Final = f"{SPREAD_OVER_MS}ms"
_SLICE_MS: Final = 5  # what a turn of the event loop may add to an interval
_KIB_PER_STALLED: Final = 512


def _stalled(count: int, name: str, policy: str, **channel: Any) -> Subject:
    kind = node(name, slow_client={"policy": policy}, **channel)
    return name, functools.partial(flow_scenarios.stalled, kind=kind, count=count)


def _choking(name: str) -> Subject:
    # Only the budget of the node is in the way, not what one client or one channel may hold.
    plenty = 256 * 2**20
    kind = node(
        name,
        {"queue_max_size": plenty, "queues_max_size": BUDGET_MIB * 2**20},
        slow_client={"policy": name, "may_lose": True, "max_bytes": plenty, "max_age": "60s"},
    )
    return name, functools.partial(flow_scenarios.choking, kind=kind)


def _batched(name: str, rate: int = BATCHED_PER_S, **channel: Any) -> Subject:
    kind = node(name.replace("/", "-"), **channel)
    return name, functools.partial(flow_scenarios.batched, kind=kind, rate=rate)


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
            _stalled(1, ONE_ALONE, "latest"),
        ),
        rounds=3,
    ),
    "choking": Scenario(
        f"300 of 310 clients read nothing, 4 publications/s of 1 MiB, a budget of {BUDGET_MIB} MiB",
        (_choking(CHOKED),),
        rounds=3,
    ),
    "batched": Scenario(
        "500 publications/s to 1,000 clients",
        (
            _batched(AT_INTERVALS, batch={"interval": f"{INTERVAL_MS}ms"}),
            _batched(AT_ONCE),
            _batched(FEW_AT_ONCE, rate=CALM_PER_S),
            (C_LOOP, scenarios.c_send_loop),
        ),
        rounds=3,
    ),
    "spread": Scenario(
        "A publication to 10,000 clients of one channel",
        (
            _spread(AT_ONCE),
            _spread(STAGGERED, batch={"interval": _SPREAD_OVER}, stagger=_SPREAD_OVER),
        ),
        rounds=2,
    ),
}


def with_added(results: report.Results) -> report.Results:
    """Return the results, and how much later publications arrive with an interval than without.

    Quantile by quantile, within a round: without it at the same rate, which may be more than one
    core can send, and at a tenth of it, where none waits for another.
    """
    batched = results.get("batched", {})
    added = {
        name: [
            with_interval.beyond(without)
            for with_interval, without in zip(
                batched.get(AT_INTERVALS, []), batched.get(base, []), strict=False
            )
        ]
        for name, base in ((ADDED, AT_ONCE), (ADDED_TO_FEW, FEW_AT_ONCE))
    }
    measured = {name: rounds for name, rounds in added.items() if rounds}
    return {**results, "batched": {**batched, **measured}} if measured else results


def _stalled_targets() -> Iterator[Target]:
    for subject, _ in SCENARIOS["stalled"].subjects:
        if subject == CALM:
            continue
        of = functools.partial(Target, scenario="stalled", subject=subject)
        for what, figure in (("p99 of the others", "p99_ms"), ("CPU of the node", "cpu_s")):
            yield of(f"{subject}: {what} ÷ calm", figure=figure, limit=1.2, relative_to=CALM)
        if "latest" not in subject:  # which leaves out what is outdated, for everybody
            whole = f"{subject}: others that received everything once, %"
            yield of(whole, figure="whole_percent", limit=100, at_least=True)
        if subject != ONE_ALONE:
            memory = f"{subject}: memory per stalled client, KiB"
            yield of(memory, figure="kib_per_stalled", limit=_KIB_PER_STALLED)


def _choking_targets() -> Iterator[Target]:
    of = functools.partial(Target, scenario="choking", subject=CHOKED)
    yield of(
        "1 MiB: growth of the resident set, % of the budget", figure="growth_percent", limit=120
    )
    yield of("1 MiB: others lost", figure="lost_others", limit=0)
    whole = "1 MiB: others that received everything once, %"
    yield of(whole, figure="whole_percent", limit=100, at_least=True)


def _arrival_targets() -> Iterator[Target]:
    of = functools.partial(Target, scenario="batched", subject=AT_INTERVALS)
    cpu = f"{AT_INTERVALS}: CPU per delivery ÷ C send()"
    yield of(cpu, figure="us_per_delivery", limit=0.3, relative_to=C_LOOP)
    for subject in (ADDED, ADDED_TO_FEW):
        later = f"{AT_INTERVALS}: p99 {subject}, ms"
        yield of(later, figure="p99_ms", limit=INTERVAL_MS + _SLICE_MS, subject=subject)
    out_of_order = f"{STAGGERED}: publications out of order"
    yield Target(out_of_order, "spread", "disordered", limit=0, subject=STAGGERED)


TARGETS: Final = (*_stalled_targets(), *_choking_targets(), *_arrival_targets())


def waiting_percents(results: report.Results) -> Iterator[float]:
    """Yield how long each node was kept from its core, where that spoils what was measured."""
    for scenario in ("stalled", "choking"):
        for measured in results.get(scenario, {}).values():
            yield from (result.waiting_percent for result in measured)
    for scenario in ("batched", "spread"):
        for measured in results.get(scenario, {}).values():
            yield from (each.waiting_percent for each in measured if isinstance(each, Arrivals))
