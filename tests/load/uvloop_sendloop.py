"""What delivering costs at the least in Python: uvloop writing a ready frame to each connection.

The same as sendloop.c, and drained by it; for information beside the figures of a whole server.
Run by the benchmarks. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
from typing import cast

import uvloop

_ACCEPT_TIMEOUT_S = 30


class _Connections(asyncio.Protocol):
    """Collects the transports of the accepted connections; nothing is ever received."""

    def __init__(self, accepted: list[asyncio.WriteTransport]) -> None:
        self._accepted = accepted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have this interface but not this base.
        self._accepted.append(cast(asyncio.WriteTransport, transport))


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _measure(arguments: argparse.Namespace) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    transports: list[asyncio.WriteTransport] = []
    server = await loop.create_server(
        lambda: _Connections(transports), "127.0.0.1", 0, backlog=1024
    )
    port = server.sockets[0].getsockname()[1]
    drain = await asyncio.create_subprocess_exec(
        *(arguments.sendloop, "--drain-port", str(port), "--clients", str(arguments.clients)),
        *("--drain-core", str(arguments.drain_core)),
    )
    async with asyncio.timeout(_ACCEPT_TIMEOUT_S):
        while len(transports) < arguments.clients:
            await asyncio.sleep(0.01)
    frame = b"x" * arguments.bytes
    begun = loop.time()
    cpu_s = -_cpu_seconds()
    for number in range(arguments.rounds):
        due = begun + number / arguments.rate if arguments.rate else 0
        await asyncio.sleep(max(0, due - loop.time()))
        for transport in transports:
            transport.write(frame)
    cpu_s += _cpu_seconds()
    seconds = loop.time() - begun
    for transport in transports:
        transport.close()
    await drain.wait()
    server.close()
    sends = arguments.rounds * arguments.clients
    return {"sends": sends, "seconds": seconds, "us_per_send": cpu_s / sends * 1e6}


def main() -> None:
    """Measure once, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sendloop", required=True, help="path of the built sendloop")
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument(
        "--rate", type=float, default=50, help="rounds per second, 0: without pause"
    )
    parser.add_argument("--bytes", type=int, default=256, help="of a frame")
    parser.add_argument("--drain-core", type=int, default=0)
    print(json.dumps(uvloop.run(_measure(parser.parse_args()))))


if __name__ == "__main__":
    main()
