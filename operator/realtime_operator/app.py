"""The composition root: settings become a running operator here, and nowhere else.

It serves its health, stands by for the lease, and while it holds it runs kopf's watches and a
keeper for each cluster. When the lease is lost, or anything ends that should not, it all ends:
Kubernetes starts it again, and nothing is lost, since nothing is only here.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Collection, Coroutine
from typing import Any

import aiohttp
import kopf

from realtime_operator.apply.drain_client import DrainClient
from realtime_operator.apply.events import EventTeller
from realtime_operator.apply.executor import Executor
from realtime_operator.apply.kube_client import KubeClient
from realtime_operator.errors import LeaseLostError
from realtime_operator.handlers import registry
from realtime_operator.health import HealthServer, Heartbeats
from realtime_operator.lease import Lease
from realtime_operator.observe.node_metrics import StatusReader
from realtime_operator.observe.observer import Machines, Observer
from realtime_operator.reconcile import Keeper, Keepers, Parts
from realtime_operator.settings import OperatorSettings
from realtime_operator.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


async def run(settings: OperatorSettings, namespaces: Collection[str]) -> None:
    """Run until a signal asks to stop; no `namespaces` means all of them.

    Raises `LeaseLostError` when another replica may act from now on.
    """
    metrics, heartbeats = Metrics(), Heartbeats()
    health = HealthServer(
        heartbeats, metrics, address=settings.http_address, port=settings.http_port
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
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await health.start()
    try:
        await _first(stop.wait(), lease.acquire())
        if not stop.is_set():
            metrics.leads.set(1)
            await _lead(settings, namespaces, stop, (kube, lease, metrics, heartbeats))
    finally:
        metrics.leads.set(0)
        await lease.release()
        await health.stop()
        await kube.close()


async def _lead(
    settings: OperatorSettings,
    namespaces: Collection[str],
    stop: asyncio.Event,
    tools: tuple[KubeClient, Lease, Metrics, Heartbeats],
) -> None:
    """Act while the lease is held."""
    kube, lease, metrics, heartbeats = tools
    lost = asyncio.Event()
    async with aiohttp.ClientSession() as session:
        machines = Machines(kube)

        def make_keeper(namespace: str, name: str) -> Keeper:
            parts = Parts(
                observer=Observer(
                    kube,
                    StatusReader(session, port=settings.node_port),
                    machines,
                    operator_namespace=settings.namespace,
                ),
                executor=Executor(
                    kube,
                    DrainClient(session, port=settings.node_port),
                    metrics,
                    may_write=lease.is_held,
                ),
                events=EventTeller(kube, instance=settings.identity),
                kube=kube,
                metrics=metrics,
                heartbeats=heartbeats,
            )
            return Keeper(namespace, name, parts)

        keepers = Keepers(make_keeper, on_lost=lost.set)
        try:
            await _first(
                _raise_when(lost),
                lease.keep(),
                kopf.operator(
                    registry=registry,
                    clusterwide=not namespaces,
                    namespaces=list(namespaces),
                    memo=kopf.Memo(keepers=keepers),
                    stop_flag=stop,
                    standalone=True,
                    # A str, as kopf types it in private. Without it kopf asks for the name of the
                    # user, which a container's may not have.
                    identity=settings.identity,  # type: ignore[arg-type]
                ),
            )
        finally:
            await keepers.stop()


async def _raise_when(lost: asyncio.Event) -> None:
    await lost.wait()
    raise LeaseLostError("a keeper has ended")


async def _first(*coroutines: Coroutine[Any, Any, object]) -> None:
    """Run all until one ends, end the others, and raise what it raised."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
