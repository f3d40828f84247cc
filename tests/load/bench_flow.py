"""Measures slow clients, intervals and stagger: `make bench-flow`.

Takes about twelve minutes; --only and --rounds choose less or more. docs/flow-control-figures.md
shows what came out, with the pictures that `--keep docs/images` puts there.
"""

from __future__ import annotations

from importlib import metadata

from tests.load import flow_suite, report, rounds, suite
from tests.load.flow_suite import SCENARIOS, TARGETS
from tests.load.rounds import Suite


def _warnings(results: report.Results) -> list[str]:
    return rounds.warnings_of_waiting(
        "the node", max(flow_suite.waiting_percents(results), default=0.0)
    )


def _draw(results: report.Results) -> dict[str, str]:
    from tests.load import flow_plots  # noqa: PLC0415 - brings matplotlib, for the end alone

    return flow_plots.pictures(results)


if __name__ == "__main__":
    rounds.main(
        Suite(
            "bench-flow",
            SCENARIOS,
            TARGETS,
            ours=flow_suite.AT_INTERVALS,
            head=(
                f"realtime-node {metadata.version('realtime-node')}",
                "generators share the first core; the node has another",
            ),
            warn=_warnings,
            derive=flow_suite.with_added,
            draw=_draw,
        ),
        rounds.parse_arguments(__doc__, SCENARIOS),
        suite.open_lab,
    )
