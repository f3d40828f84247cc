"""`realtime-operator simulate`: what was asked for becomes runs, and runs a report."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from realtime_operator.crd.scaling import MAX_REPLICAS
from realtime_operator.errors import SimulationError
from realtime_operator.simulate.assumptions import Assumptions
from realtime_operator.simulate.report import document, table
from realtime_operator.simulate.run import (
    HUGE,
    MOST_INDIVIDUALS,
    Case,
    Run,
    run_operator,
    run_rival,
)
from realtime_operator.simulate.scenarios import SCENARIOS
from realtime_operator.simulate.settings import (
    DEFAULT_CLIENTS_PER_NODE,
    DEFAULT_NODES,
    Size,
    fitting_spec,
    read_spec,
    size_for,
)

MOST_CLIENTS_PER_NODE: Final = 700_000

Draw = Callable[[Case, Sequence[Run]], str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command understands."""
    told = "\n".join(f"  {each.name:<15} {each.about}" for each in SCENARIOS.values())
    parser.description = (
        "Lets the operator's own decisions run a cluster that is not there, and a Deployment with a"
        " HorizontalPodAutoscaler beside it. What is assumed is in docs/simulation.md."
    )
    parser.epilog = f"scenarios:\n{told}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--scenario", required=True, choices=[*SCENARIOS, "all"], metavar="NAME", help="see below"
    )
    parser.add_argument("--nodes", type=int, metavar="N", help="nodes at the highest load (10)")
    parser.add_argument(
        "--clients-per-node", type=int, metavar="N", help="clients of each at that load (10000)"
    )
    parser.add_argument(
        "--spec", type=Path, metavar="FILE", help="a RealtimeCluster whose settings are tried"
    )
    parser.add_argument(
        "--per-client", action="store_true", help="follow each client: up to 200000 of them"
    )
    parser.add_argument("--seed", type=int, default=1, help="another seed, other chances (1)")
    parser.add_argument(
        "--pod-start", type=float, metavar="SECONDS", help="median time until a Pod is ready (8)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--plots", type=Path, metavar="DIRECTORY", help="write pictures there")


def simulate(options: argparse.Namespace) -> int:
    """Run what was asked for. Raises `SimulationError` and `SpecError`, which say what to mend."""
    # Nothing that a run makes ends in a cycle: to look for some would take a sixth of it.
    gc.disable()
    try:
        return _simulate(options)
    finally:
        gc.enable()


def _simulate(options: argparse.Namespace) -> int:
    draw = _drawing() if options.plots else None
    names = list(SCENARIOS) if options.scenario == "all" else [options.scenario]
    documents = []
    for case in [_case(options, name) for name in names]:
        runs = _both(case, options)
        sys.stdout.write(table(case, runs) + ("\n" if len(names) > 1 else ""))
        sys.stdout.flush()
        documents.append(document(case, runs))
        if draw:
            options.plots.mkdir(parents=True, exist_ok=True)
            file = options.plots / f"simulated-{case.scenario.name}.svg"
            file.write_text(draw(case, runs), encoding="utf-8")
    if options.json:
        text = documents[0] if len(documents) == 1 else "[" + ",".join(documents) + "]\n"
        options.json.write_text(text, encoding="utf-8")
    return 0


def _both(case: Case, options: argparse.Namespace) -> Sequence[Run]:
    """The rivals, side by side where that saves time; both are as long."""
    if case.size.nodes >= HUGE and not case.scenario.longest_s:
        with ProcessPoolExecutor(1, initializer=gc.disable) as beside:
            rival = beside.submit(_rival_of, options, case.scenario.name)
            return run_operator(case), rival.result()
    operator = run_operator(case)
    duration_s = operator.summary.duration_s
    scenario = replace(case.scenario, duration_s=duration_s, longest_s=0.0)
    return operator, run_rival(replace(case, scenario=scenario))


def _rival_of(options: argparse.Namespace, scenario: str) -> Run:
    return run_rival(_case(options, scenario))


def _case(options: argparse.Namespace, scenario: str) -> Case:
    nodes, per_node = options.nodes, options.clients_per_node
    _check("--nodes", nodes, MAX_REPLICAS)
    _check("--clients-per-node", per_node, MOST_CLIENTS_PER_NODE)
    if options.spec:
        spec = read_spec(options.spec)
        size = size_for(spec, nodes, per_node)
    else:
        size = Size(nodes or DEFAULT_NODES, per_node or DEFAULT_CLIENTS_PER_NODE)
        spec = fitting_spec(size)
    if options.per_client and size.clients > MOST_INDIVIDUALS:
        raise SimulationError(
            f"{size.clients:,} clients are too many to follow each: leave --per-client out, or ask"
            f" for {MOST_INDIVIDUALS:,} at most with --nodes and --clients-per-node"
        )
    assumptions = Assumptions()
    if options.pod_start is not None:
        if not 0 < options.pod_start <= 3600:  # noqa: PLR2004 - an hour
            raise SimulationError("--pod-start has to be above 0 and at most 3600 seconds")
        assumptions = replace(assumptions, pod_start_s=options.pod_start)
    return Case(
        SCENARIOS[scenario],
        spec,
        size,
        seed=options.seed,
        is_per_client=options.per_client,
        assumptions=assumptions,
    )


def _check(option: str, value: int | None, most: int) -> None:
    if value is not None and not 1 <= value <= most:
        raise SimulationError(f"{option} has to be from 1 to {most:,}, not {value}")


def _drawing() -> Draw:
    """What draws; imported only when it is asked for, since few have what it needs."""
    try:
        from realtime_operator.simulate.plots import picture  # noqa: PLC0415 - see above
    except ImportError as error:
        raise SimulationError(
            f"--plots needs matplotlib ({error}): install it with"
            " `pip install 'realtime-operator[simulate]'`, or leave --plots out; --json has the"
            " same figures"
        ) from None
    return picture
