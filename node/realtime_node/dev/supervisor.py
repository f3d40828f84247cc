"""The cluster's life: Valkey, then the nodes, then the banner; and all of it back again.

Whatever ends the cluster - a signal, a Valkey that died, a node that cannot be kept - the way back
is one: the nodes end as in production, each by its own shutdown, then Valkey, then the private
directory goes. A second signal skips the patience, never the order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from realtime_node.config import Settings, load_settings
from realtime_node.config.loading import PREFIX as VARIABLES
from realtime_node.dev.banner import ClusterFacts, NodeFacts, banner
from realtime_node.dev.child import Child, end
from realtime_node.dev.demo import demo_channel, demo_token
from realtime_node.dev.node_keeper import NodeKeeper
from realtime_node.dev.plan import NodePlace, Secrets, node_values
from realtime_node.dev.ports import LOOPBACK, port_of, reserve
from realtime_node.dev.valkey import Valkey, find_program
from realtime_node.supervision import guarded

USER: Final = "you"
NODE_GRACE_S: Final = 2.0
"""Beyond the time that a node gives itself to end."""
VALKEY_WITHIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    nodes: int
    port: int
    port_each: bool
    """Consecutive ports from `port` on, instead of one that all share."""
    redis_url: str
    """Empty: a Valkey of our own."""
    settings: Settings
    environ: Mapping[str, str]


class Signals:
    """What the person at the terminal wants: an end, or one at once."""

    def __init__(self) -> None:
        """Listen to nothing yet."""
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    def listen(self) -> None:
        """Take over SIGINT, SIGTERM and SIGHUP of this process."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, guarded(self._take, where="signal"))

    def _take(self) -> None:
        if self.stop.is_set():
            self.hurry.set()
        self.stop.set()


async def run_cluster(options: Options) -> None:
    """Run a cluster until a signal ends it.

    Raises `DevClusterError` if it cannot start or go on. No process is left in any case.
    """
    started = time.monotonic()
    signals = Signals()
    signals.listen()
    with _reserved_places(options) as places, _private_directory() as directory:
        async with _engine(options, directory, signals) as valkey, aiohttp.ClientSession() as http:
            cluster = _Cluster(options, places, directory, http, valkey)
            ends = [cluster.live(started)]
            if valkey is not None:
                ends.append(valkey.fail_when_it_ends())
            try:
                await _until(signals.stop, *ends)
            finally:
                await cluster.end(signals.hurry)


class _Cluster:
    """The nodes."""

    def __init__(
        self,
        options: Options,
        places: Sequence[NodePlace],
        directory: Path,
        http: aiohttp.ClientSession,
        valkey: Valkey | None,
    ) -> None:
        self._secrets = Secrets.of(options.settings)
        self._engine_name = valkey.program.name if valkey else "your Redis"
        # The variables are in the settings already, and would override the ports.
        environ = {
            name: value for name, value in options.environ.items() if not name.startswith(VARIABLES)
        }
        redis_url = valkey.url if valkey else options.redis_url
        files = [directory / f"{place.name}.json" for place in places]
        for place, file in zip(places, files, strict=True):
            values = node_values(options.settings, place, redis_url, self._secrets)
            file.write_text(json.dumps(values, indent=2))
        self._effective = load_settings(files[0], {})  # but for the places, the same for all
        self._keepers = [
            NodeKeeper(place, file, Child(place.name, log, environ=environ), http)
            for place, file in zip(places, files, strict=True)
        ]

    async def live(self, started: float) -> None:
        """Start the nodes, tell so, and keep them running until cancelled.

        Raises `DevClusterError` if one does not start or cannot be kept.
        """
        await _all(*(keeper.start() for keeper in self._keepers))
        sys.stdout.write(banner(self._facts(time.monotonic() - started)))
        sys.stdout.flush()
        await _all(*(keeper.keep(log) for keeper in self._keepers))

    async def end(self, hurry: asyncio.Event) -> None:
        """End all nodes."""
        timeout = self._effective.shutdown.timeout.total_seconds()
        children = [keeper.child for keeper in self._keepers]
        killed = await end(children, within_s=timeout + NODE_GRACE_S, hurry=hurry)
        for child in killed:
            log(child.name, "did not end in time and was killed")

    def _facts(self, started_in_s: float) -> ClusterFacts:
        places = [keeper.place for keeper in self._keepers]
        token = self._effective.client.token
        return ClusterFacts(
            nodes=[
                NodeFacts(each.place.name, each.node_id, each.child.pid, each.place.internal_url)
                for each in self._keepers
            ],
            public_urls=list(dict.fromkeys(place.public_url for place in places)),
            websocket_path=self._effective.websocket.handler_prefix,
            engine=self._engine_name,
            started_in_s=started_in_s,
            token=demo_token(token, USER, now=time.time()),
            user=USER,
            secrets=self._secrets,
            channel=demo_channel(self._effective.channel),
        )


@contextlib.contextmanager
def _reserved_places(options: Options) -> Iterator[list[NodePlace]]:
    """Decide where every node listens, and hold these ports."""
    # Unless somebody asks for more, only this machine reaches a cluster made for trying out.
    server = options.settings.http_server
    address = server.address if "address" in server.model_fields_set else LOOPBACK
    with contextlib.ExitStack() as stack:

        def hold(at: str, port: int) -> int:
            held: socket.socket = stack.enter_context(contextlib.closing(reserve(at, port)))
            return port_of(held)

        places = []
        shared = 0 if options.port_each else hold(address, options.port)
        for index in range(options.nodes):
            name = f"node-{index + 1}"
            if options.port_each:
                port = hold(address, options.port + index if options.port else 0)
                places.append(NodePlace(name, address, port, None))
            else:
                places.append(NodePlace(name, address, shared, hold(LOOPBACK, 0)))
        yield places


@contextlib.contextmanager
def _private_directory() -> Iterator[Path]:
    """Make a directory that nobody else can look into; it goes with all that is in it."""
    with tempfile.TemporaryDirectory(prefix="realtime-dev-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.asynccontextmanager
async def _engine(
    options: Options, directory: Path, signals: Signals
) -> AsyncIterator[Valkey | None]:
    """Run a Valkey, unless there is a Redis to use."""
    if options.redis_url:
        yield None
        return
    valkey = Valkey(await find_program(), directory)
    try:
        await valkey.start()
        yield valkey
    finally:
        await end([valkey.child], within_s=VALKEY_WITHIN_S, hurry=signals.hurry)


async def _until(stop: asyncio.Event, *steps: Coroutine[None, None, None]) -> None:
    """Take all steps at once until `stop`; the first error ends them, and is raised."""
    stopped = asyncio.create_task(stop.wait())
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        await asyncio.wait((stopped, *tasks), return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done() and not stop.is_set():
                task.result()
    finally:
        for each in (stopped, *tasks):
            each.cancel()
        await asyncio.gather(stopped, *tasks, return_exceptions=True)


async def _all(*steps: Coroutine[None, None, None]) -> None:
    """Take all steps at once; the first error ends the others, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def log(name: str, line: str) -> None:
    """Write a line of the cluster's log, or leave it: there may be no terminal any more."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{name:<7}| {line}\n")
