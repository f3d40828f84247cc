"""What `make bench` and `make bench-peers` measure: each kind of server in turn.

bench.py and bench_peers.py differ in the kinds alone; `rounds` runs what is listed here.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.load import compression, narrow, report, rounds, scenarios, stalling
from tests.load.report import Target
from tests.load.results import Delivery
from tests.load.rounds import Scenario, Suite
from tests.load.scenarios import Lab
from tests.load.servers import OUR_NODE, Kind, Protocol
from tests.load.tools import build_tools

C_LOOP = "C send()"
UVLOOP = "uvloop write"
PEER = "Centrifugo"


@dataclass(frozen=True)
class ServerScenario:
    """One row of the suite."""

    title: str
    measure: Callable[..., Awaitable[Any]]  # of (lab, kind)
    rounds: int
    baselines: tuple[tuple[str, Callable[[Lab], Awaitable[Any]]], ...] = ()
    protocols: frozenset[Protocol] = frozenset(Protocol)  # servers of others do not take part

    def of(self, kinds: Sequence[Kind]) -> Scenario:
        """Return what is run: every kind of server that takes part, then the bare loops."""
        return Scenario(
            self.title,
            (
                *(
                    (kind.name, functools.partial(self.measure, kind=kind))
                    for kind in kinds
                    if kind.protocol in self.protocols
                ),
                *self.baselines,
            ),
            self.rounds,
        )


SCENARIOS: dict[str, ServerScenario] = {
    "unbatched": ServerScenario(
        "Unbatched: 50 publications/s to 1,000 clients",
        scenarios.unbatched,
        rounds=3,
        baselines=((C_LOOP, scenarios.c_send_loop), (UVLOOP, scenarios.uvloop_send_loop)),
    ),
    "steady": ServerScenario(
        "Steady: 200 publications/s to 1,000 clients", scenarios.steady, rounds=2
    ),
    "ceiling": ServerScenario(
        "Ceiling: as many publications as 1,000 clients receive whole",
        scenarios.ceiling,
        rounds=3,
        baselines=(
            (C_LOOP, scenarios.c_send_loop_of_batches),
            (UVLOOP, scenarios.uvloop_send_loop_of_batches),
        ),
    ),
    "narrow": ServerScenario(
        f"Narrow: {narrow.CHANNELS:,} channels of one client each, over Redis",
        narrow.narrow,
        rounds=3,
    ),
    "compression": ServerScenario(
        "Compression: 20 publications/s of 1 KB of JSON to 1,000 clients, with and without",
        compression.compressing,
        rounds=3,
        protocols=frozenset({Protocol.CENTRIFUGE}),  # as its clients, which decompress
    ),
    "stalled": ServerScenario(
        "Stalled: 200 of 2,000 clients read nothing, 20 publications/s of 4 KB",
        stalling.stalling,
        rounds=2,
    ),
    "connections": ServerScenario("Connections: 8,000 clients", scenarios.connections, rounds=1),
    "http": ServerScenario(
        "HTTP publish, one by one",
        scenarios.http_publish,
        rounds=2,
        protocols=frozenset({Protocol.CENTRIFUGE}),  # Socket.IO has no HTTP API of its own
    ),
    **{
        f"nodes-{nodes}": ServerScenario(
            f"Cluster of {nodes} over Redis, 1,000 clients",
            functools.partial(scenarios.cluster, nodes=nodes),
            rounds=1,
        )
        for nodes in (1, 2, 4)
    },
}

TARGETS = (
    Target(
        # Per frame: a node kept waiting by others may find two publications, and share a frame.
        "unbatched: CPU per delivered frame ÷ C send()",
        "unbatched",
        "us_per_frame",
        2.0,
        relative_to=C_LOOP,
    ),
    # The last fan-out makes the time a little longer than what was published in it.
    Target(
        "steady: deliveries/s, of 200,000", "steady", "deliveries_per_s", 198_000, at_least=True
    ),
    Target(
        "steady: clients that received everything once, %",
        "steady",
        "whole_percent",
        100.0,
        at_least=True,
    ),
    Target("steady: p99 of the last third ÷ first third", "steady", "p99_growth", 1.5),
    Target("ceiling: deliveries/s", "ceiling", "deliveries_per_s", 500_000, at_least=True),
    Target(
        "ceiling: clients that received everything once, %",
        "ceiling",
        "whole_percent",
        100.0,
        at_least=True,
    ),
    Target("ceiling: publications in the fullest frame", "ceiling", "most_per_frame", 16),
    Target(
        "narrow: clients that received everything once, %",
        "narrow",
        "whole_percent",
        100.0,
        at_least=True,
    ),
    Target("compression: bytes, compressed ÷ plain", "compression", "bytes_ratio", 0.5),
    Target("compression: CPU, compressed ÷ plain", "compression", "cpu_ratio", 1.2),
    Target(
        "ceiling: CPU per delivery ÷ Centrifugo's",
        "ceiling",
        "us_per_delivery",
        0.6,
        relative_to=PEER,
    ),
    Target("stalled: p99 of the others ÷ calm", "stalled", "p99_ratio", 1.2),
    Target("stalled: CPU ÷ calm", "stalled", "cpu_ratio", 1.2),
    Target("resident memory per client, KiB", "connections", "kib_per_client", 20),
    Target(
        "CPU per connect + subscribe ÷ Centrifugo's",
        "connections",
        "us_per_client",
        2.5,
        relative_to=PEER,
    ),
    Target("HTTP publishes/s", "http", "publishes_per_s", 4_000, at_least=True),
)


def main(name: str, arguments: argparse.Namespace, kinds: Sequence[Kind], notes: str) -> None:
    """Measure every kind of server, print the report and keep it; ends the program."""
    suite = Suite(
        name,
        {key: scenario.of(kinds) for key, scenario in SCENARIOS.items()},
        TARGETS,
        ours=OUR_NODE.name,
        head=(
            f"realtime-node {metadata.version('realtime-node')}{notes}",
            "generators, publisher and Redis share the first core; each server has another",
        ),
        warn=_warnings,
    )
    rounds.main(suite, arguments, open_lab)


@contextlib.asynccontextmanager
async def open_lab(directory: Path, quick: bool) -> AsyncIterator[Lab]:
    """Build the load tools."""
    yield Lab(directory, quick, build_tools())


def _warnings(results: report.Results) -> list[str]:
    # Of our node alone: it has one thread, while those of a Go program also wait for each other.
    waited = max(
        (
            result.server_waiting_percent
            for subjects in results.values()
            for result in subjects.get(OUR_NODE.name, [])
            if isinstance(result, Delivery)
        ),
        default=0.0,
    )
    return rounds.warnings_of_waiting("the node", waited)
