"""The command `dev`: its arguments, and what becomes of them."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Callable
from typing import Final

from pydantic import ValidationError

from realtime_node.config import RedisSettings, load_settings
from realtime_node.config.addresses import ADDRESS_FORM
from realtime_node.dev.errors import DevClusterError
from realtime_node.dev.supervisor import Options, run_cluster

MOST_NODES: Final = 16
"""More show nothing that these do not, and would be slow to start on a small machine."""
LAST_PORT: Final = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe what `dev` takes beside `--config`."""
    parser.add_argument(
        "--nodes",
        type=_number(1, MOST_NODES),
        default=2,
        metavar="N",
        help=f"how many nodes to run (1 to {MOST_NODES}, default: 2)",
    )
    parser.add_argument(
        "--port",
        type=_number(0, LAST_PORT),
        metavar="P",
        help="the port that all nodes share (default: http_server.port, 8000; 0: any free one)",
    )
    parser.add_argument(
        "--port-each",
        action="store_true",
        help="give every node a port of its own: P, P + 1, …",
    )
    parser.add_argument(
        "--redis",
        default="",
        metavar="URL",
        help="use this Redis instead of starting a Valkey that is thrown away at the end",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run a cluster until it is ended."""
    settings = load_settings(arguments.config, os.environ)
    port = settings.http_server.port if arguments.port is None else arguments.port
    if arguments.port_each and port and port + arguments.nodes - 1 > LAST_PORT:
        raise DevClusterError(
            f"--port {port} leaves no room for {arguments.nodes} ports: choose a lower one"
        )
    asyncio.run(
        run_cluster(
            Options(
                nodes=arguments.nodes,
                port=port,
                port_each=arguments.port_each,
                redis_url=_redis_url(arguments.redis),
                settings=settings,
                environ=os.environ,
            )
        )
    )
    return 0


def _redis_url(address: str) -> str:
    """Check an address, so that a wrong one is not found out by every node."""
    if not address:
        return ""
    try:
        return RedisSettings.model_validate({"address": address}).url
    except ValidationError:
        raise DevClusterError(f"--redis: this is no address: give {ADDRESS_FORM}") from None


def _number(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and lowest <= int(text) <= highest:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {lowest} to {highest}")

    return parse
