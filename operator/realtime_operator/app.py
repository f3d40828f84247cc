"""The composition root: settings become a running operator here, and nowhere else.

It serves its health, stands by for the lease, and while it holds it runs kopf's watches and a
keeper for each cluster. When the lease is lost it all ends: Kubernetes starts it again, and nothing
is lost, since nothing is only here. What fails otherwise is run again (`supervision`).
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Collection, Iterator
from itertools import chain
from typing import Any, NamedTuple

import aiohttp
import kopf

from realtime_operator.apply.drain_client import DrainClient
from realtime_operator.apply.events import EventTeller
from realtime_operator.apply.executor import Executor
from realtime_operator.apply.kube_client import KubeClient
from realtime_operator.errors import LeaseLostError, WatchEndedError
from realtime_operator.handlers import registry
from realtime_operator.health import HealthServer, Heartbeats
from realtime_operator.lease import Lease
from realtime_operator.observe.node_metrics import StatusReader
from realtime_operator.observe.observer import Machines, Observer
from realtime_operator.reconcile import Keeper, Keepers, Parts
from realtime_operator.settings import OperatorSettings
from realtime_operator.supervision import Supervisor
from realtime_operator.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


async def run(settings: OperatorSettings, namespaces: Collection[str]) -> None:
    """Run until a signal asks to stop; no `namespaces` means all of them.

    Raises `LeaseLostError` when another replica may act from now on.
    """
    metrics, heartbeats = Metrics(), Heartbeats()
    supervisor = Supervisor(metrics)
    health = HealthServer(
        heartbeats, metrics, supervisor, address=settings.http_address, port=settings.http_port
    )
    kube = await KubeClient.connect()
    lease = Lease(
        kube,
        namespace=settings.namespace,
        name=settings.lease_name,
        identity=settings.identity,
        duration_s=settings.lease_duration_seconds,
        on_beat=lambda: heartbeats.beat("lease"),
    )
    stop = asyncio.Event()
    _stop_at_signals(stop, supervisor)
    await health.start()
    try:
        await _first(
            supervisor.supervise(stop.wait, name="stop"),
            supervisor.supervise(lease.acquire, name="lease"),
        )
        if not stop.is_set():
            metrics.leads.set(1)
            tools = _Tools(kube, lease, metrics, heartbeats, supervisor)
            await _lead(settings, namespaces, stop, tools)
    finally:
        metrics.leads.set(0)
        for each in (lease.release, health.stop, kube.close):
            with supervisor.guard("end"):  # whatever one raises, the others end too
                await each()


class _Tools(NamedTuple):
    """What an operator has before it leads."""

    kube: KubeClient
    lease: Lease
    metrics: Metrics
    heartbeats: Heartbeats
    supervisor: Supervisor


async def _lead(
    settings: OperatorSettings,
    namespaces: Collection[str],
    stop: asyncio.Event,
    tools: _Tools,
) -> None:
    """Act while the lease is held."""
    connection, lease, metrics, heartbeats, supervisor = tools
    kube = connection.bounded(lease.left_s)
    lost = asyncio.Event()
    async with aiohttp.ClientSession() as session:
        machines = Machines(kube)

        def make_keeper(namespace: str, name: str) -> Keeper:
            parts = Parts(
                observer=Observer(
                    kube,
                    StatusReader(session, supervisor, port=settings.node_port),
                    machines,
                    operator_namespace=settings.namespace,
                ),
                executor=Executor(
                    kube,
                    DrainClient(session, port=settings.node_port, left_s=lease.left_s),
                    metrics,
                    supervisor,
                    may_write=lease.is_held,
                ),
                events=EventTeller(kube, supervisor, instance=settings.identity),
                kube=kube,
                metrics=metrics,
                heartbeats=heartbeats,
            )
            return Keeper(namespace, name, parts)

        keepers = Keepers(make_keeper, lost.set, supervisor)

        async def watch() -> None:
            """Run kopf's watches for ever: nothing but an error ends them."""
            existing = asyncio.all_tasks()
            tasks = await kopf.spawn_tasks(
                registry=registry,
                clusterwide=not namespaces,
                namespaces=list(namespaces),
                memo=kopf.Memo(keepers=keepers, supervisor=supervisor),
                standalone=True,
                # A str, as kopf types it in private. Without it kopf asks for the name of the
                # user, which a container's may not have.
                identity=settings.identity,  # type: ignore[arg-type]
            )
            _stop_at_signals(stop, supervisor)  # kopf has just taken the signals
            await kopf.run_tasks(tasks, ignored=_Untouched(existing, supervisor.tasks))
            raise WatchEndedError("kopf has ended, and was not asked to")

        lost_lease = (LeaseLostError,)
        try:
            await _first(
                supervisor.supervise(stop.wait, name="stop"),
                supervisor.supervise(lost.wait, name="lost"),
                supervisor.supervise(lease.keep, name="lease", ends_with=lost_lease),
                supervisor.supervise(watch, name="watch"),
            )
        finally:
            await keepers.stop()
    if lost.is_set():
        raise LeaseLostError("the lease was lost in the middle of a round")


def _stop_at_signals(stop: asyncio.Event, supervisor: Supervisor) -> None:
    """Have SIGTERM and SIGINT end the operator."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.guarded(stop.set, where="signal"))


class _Untouched(Collection[asyncio.Task[Any]]):
    """What kopf leaves alone at its end, when it cancels all tasks that were begun after it.

    It looks anew then: keepers that were begun in between go on while kopf is run again.
    """

    def __init__(self, *parts: Collection[asyncio.Task[Any]]) -> None:
        self._parts = parts

    def __contains__(self, task: object) -> bool:
        """Tell whether a task is in any part."""
        return any(task in part for part in self._parts)

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        """Go through all parts."""
        return chain.from_iterable(self._parts)

    def __len__(self) -> int:
        """Count them."""
        return sum(map(len, self._parts))


async def _first(*tasks: asyncio.Task[None]) -> None:
    """Wait until one task ends, end the others, and raise what it raised."""
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
