"""The command line: `run` looks after clusters; the other commands tell people something.

`crd` prints the definition of the resource, `explain` why a cluster has as many nodes as it has,
`simulate` what settings would do before they are applied.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from realtime_operator import __version__
from realtime_operator.app import run
from realtime_operator.crd.generate import render
from realtime_operator.errors import OperatorError
from realtime_operator.explain import explain
from realtime_operator.settings import OperatorSettings
from realtime_operator.simulate.command import add_arguments, simulate
from realtime_operator.telemetry.logging import configure_logging


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 1 failed, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except (OperatorError, OSError) as error:
        sys.stderr.write(f"realtime-operator: {error}\n")
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="realtime-operator",
        description="Runs clusters of realtime nodes on Kubernetes, and drains what has to go.",
        epilog="Settings are variables REALTIME_OPERATOR_…, e.g. REALTIME_OPERATOR_LOG_LEVEL.",
    )
    parser.add_argument("--version", action="version", version=f"realtime-operator {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    running = commands.add_parser("run", help="look after the clusters of some namespaces, or all")
    where = running.add_mutually_exclusive_group(required=True)
    where.add_argument("--namespace", action="append", metavar="NAME", help="may be repeated")
    where.add_argument("--all-namespaces", action="store_true", help="needs a ClusterRole")
    running.set_defaults(run=_run)
    crd = commands.add_parser("crd", help="print the CustomResourceDefinition")
    crd.set_defaults(run=_crd)
    explaining = commands.add_parser("explain", help="tell why a cluster has so many nodes")
    explaining.add_argument("cluster", help="name of a RealtimeCluster")
    explaining.add_argument("-n", "--namespace", default="default", help="its namespace (default)")
    explaining.set_defaults(run=_explain)
    simulating = commands.add_parser("simulate", help="try settings on a cluster that is not there")
    add_arguments(simulating)
    simulating.set_defaults(run=simulate)
    return parser


def _run(options: argparse.Namespace) -> int:
    settings = OperatorSettings.from_environment(os.environ)
    configure_logging(settings.log_level)
    asyncio.run(run(settings, options.namespace or ()))
    return 0


def _explain(options: argparse.Namespace) -> int:
    sys.stdout.write(asyncio.run(explain(options.namespace, options.cluster)))
    return 0


def _crd(_options: argparse.Namespace) -> int:
    sys.stdout.write(render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
