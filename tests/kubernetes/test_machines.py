"""What happens to the machines below the nodes, and to the nodes' processes."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from tests.support.kubernetes.lab import Lab
from tests.support.kubernetes.realtime_cluster import RealtimeCluster, until

CLIENTS: Final = 90
DRAIN_S: Final = 120


def machines(tried: RealtimeCluster) -> Counter[str]:
    """How many nodes run on each machine."""
    return Counter(pod["spec"]["nodeName"] for pod in tried.pods())


def machine_to_empty(tried: RealtimeCluster) -> str:
    """The machine with most nodes among those without the Redis, which nothing drains."""
    of_redis = tried.redis()["spec"]["nodeName"]
    return next(name for name, _ in machines(tried).most_common() if name != of_redis)


async def test_a_machine_is_emptied(tried: RealtimeCluster) -> None:
    """`kubectl drain` ends by itself, the nodes are elsewhere then, and nothing is lost."""
    cluster = tried.cluster
    machine = await asyncio.to_thread(machine_to_empty, tried)
    on_it = (await asyncio.to_thread(machines, tried))[machine]
    fewest = len(await asyncio.to_thread(tried.pods))

    def watch() -> None:
        nonlocal fewest
        fewest = min(fewest, tried.accepting())

    drain = ("drain", machine, "--ignore-daemonsets", "--delete-emptydir-data")
    try:
        async with tried.traffic(CLIENTS) as traffic:
            draining = asyncio.create_task(
                asyncio.to_thread(cluster.kubectl, *drain, within_s=DRAIN_S)
            )
            await until(draining.done, within_s=DRAIN_S, meanwhile=watch)
            await draining
            await until(tried.is_settled, within_s=60, meanwhile=watch)
            await traffic.settle()
        assert machine not in await asyncio.to_thread(machines, tried)
    finally:
        await asyncio.to_thread(cluster.kubectl, "uncordon", machine)
    assert max(traffic.reconnects()) <= on_it
    assert traffic.worst() == (0, 0, 0)
    assert fewest >= 1


async def test_a_killed_process_is_started_again(tried: RealtimeCluster, lab: Lab) -> None:
    """After SIGKILL a node's clients come back once, the others' stay, and nothing is lost."""
    before = await asyncio.to_thread(tried.incarnations)
    async with tried.traffic(CLIENTS) as traffic:
        victim = (await asyncio.to_thread(tried.pods))[0]
        hit = (await asyncio.to_thread(tried.clients))[victim["metadata"]["name"]]
        await asyncio.to_thread(lab.send, "SIGKILL", victim)
        await until(lambda: tried.incarnations() != before and tried.is_settled(), within_s=60)
        await traffic.settle()
    assert traffic.reconnects() == {0: CLIENTS - hit, 1: hit}
    assert traffic.worst() == (0, 0, 0)
    restarted = await asyncio.to_thread(tried.incarnations) - before
    uid = victim["metadata"]["uid"]
    assert [each[1] for each in restarted] == [uid], "the container is another, the Pod is not"
