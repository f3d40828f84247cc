"""The command line: arguments become settings, settings become a node.

`serve` runs one node until SIGTERM or SIGINT; `dev` runs a small cluster for trying things out;
`check` validates settings and `token` signs one, so that neither needs another tool.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvloop
from aiohttp import web

from realtime_node import __version__
from realtime_node.app import Node
from realtime_node.config import Settings, SettingsSource, load_settings
from realtime_node.dev import command as dev_command
from realtime_node.dev.demo import demo_routes
from realtime_node.engine import check_engine
from realtime_node.errors import RealtimeError
from realtime_node.proxy.building import read_trusts
from realtime_node.server.tokens import make_connection_token
from realtime_node.supervision import guarded
from realtime_node.telemetry.logging import configure_logging

logger = logging.getLogger("realtime_node")

EXIT_FAILING: Final = os.EX_SOFTWARE
"""Exit status (70) of a node that ended itself, since it failed by its own fault."""
GC_THRESHOLDS: Final = (50_000, 20, 50)
"""A node keeps many long-lived objects and makes few cycles: collect rarely."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 1 failed, 2 wrong usage.

    `serve` returns 70 for a node that ended itself.
    """
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except (RealtimeError, OSError) as error:
        _complain(str(error))
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="realtime-node",
        description="A node of Realtime Cluster: WebSockets over Redis Streams.",
    )
    parser.add_argument("--version", action="version", version=f"realtime-node {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    config = argparse.ArgumentParser(add_help=False)
    config.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings in JSON, YAML or TOML; variables REALTIME_NODE_… override them",
    )

    serve = commands.add_parser("serve", parents=[config], help="run one node")
    serve.add_argument(
        "--reuse-port", action="store_true", help="share the port with other nodes of this machine"
    )
    serve.add_argument("--demo", action="store_true", help=argparse.SUPPRESS)  # by `dev` alone
    serve.set_defaults(run=_serve)

    dev = commands.add_parser(
        "dev", parents=[config], help="run a small cluster on this machine, with a chat page"
    )
    dev_command.add_arguments(dev)
    dev.set_defaults(run=dev_command.run)

    check = commands.add_parser("check", parents=[config], help="validate settings and exit")
    check.set_defaults(run=_check)

    token = commands.add_parser("token", parents=[config], help="sign a connection token")
    token.add_argument("--user", default="", help="the token's user; empty: anonymous")
    token.add_argument(
        "--ttl", type=int, default=7 * 86400, metavar="SECONDS", help="its life (0: for ever)"
    )
    token.set_defaults(run=_token)
    return parser


def _serve(options: argparse.Namespace) -> int:
    source = SettingsSource(options.config, os.environ)
    settings = source.load()
    configure_logging(settings.log.level)
    for warning in settings.warnings():
        logger.warning("%s", warning)
    extra_routes = demo_routes(settings) if options.demo else ()
    return uvloop.run(
        _run(settings, source, reuse_port=options.reuse_port, extra_routes=extra_routes)
    )


async def _run(
    settings: Settings,
    source: SettingsSource,
    *,
    reuse_port: bool,
    extra_routes: Sequence[web.RouteDef],
) -> int:
    """Run a node until a signal asks it to end, or it ends itself, and its clients are elsewhere.

    A second signal hurries, and each after it. SIGHUP lets it read its settings again. Returns the
    exit status.
    """
    loop = asyncio.get_running_loop()
    node = Node(settings, source=source, reuse_port=reuse_port, extra_routes=extra_routes)
    with node.recording():
        loop.add_signal_handler(signal.SIGHUP, guarded(node.reload, where="signal"))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, guarded(node.end, where="signal"))
    urls = await node.start()
    _tune_collector()
    logger.info("realtime-node %s listens on %s", __version__, " and ".join(urls))
    try:
        await node.wait_emptied()
    finally:
        await node.stop()
    if node.failure:
        logger.error("stopped, to be started anew: %s", node.failure)
        return EXIT_FAILING
    logger.info("stopped")
    return 0


def _tune_collector() -> None:
    """Let the collector look rarely, and never at what exists by now: that stays.

    It is the process's own; a node inside another program leaves it alone.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _check(options: argparse.Namespace) -> int:
    settings = load_settings(options.config, os.environ)
    check_engine(settings.engine)
    read_trusts(settings)
    for warning in settings.warnings():
        _complain(f"warning: {warning}")
    _say("the settings are valid")
    return 0


def _token(options: argparse.Namespace) -> int:
    secret = load_settings(options.config, os.environ).client.token.hmac_secret_key
    if not secret.get_secret_value():
        _complain("client.token.hmac_secret_key is not set")
        return 1
    expires_at = int(time.time()) + options.ttl if options.ttl else 0
    _say(make_connection_token(secret.get_secret_value(), options.user, expires_at=expires_at))
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _complain(text: str) -> None:
    sys.stderr.write(f"realtime-node: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
