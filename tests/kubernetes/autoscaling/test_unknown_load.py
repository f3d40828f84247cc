"""A node of which nobody knows what it carries never makes a cluster smaller."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import re
import time
import urllib.request
from collections.abc import Iterable
from typing import Final

from tests.support.kubernetes.impostor import impostor
from tests.support.kubernetes.installation import METRICS_PORT, operator_addresses
from tests.support.kubernetes.lab import Lab
from tests.support.kubernetes.realtime_cluster import RealtimeCluster, until
from tests.support.kubernetes.scaling import (
    CROWD,
    FEW,
    NAME,
    PER_S,
    SETTLED_S,
    STABILIZATION_S,
    STALE_S,
    Watch,
    conditions,
)
from tests.support.kubernetes.traffic import CHANNELS

logger = logging.getLogger(__name__)

WINDOW_S: Final = STABILIZATION_S + STALE_S
"""Time after which a node would go, if what is not known did not count."""
ROUNDS: Final = 4
"""Rounds in which the operator hears the same nonsense: longer than STALE_S, all of it WINDOW_S."""
DELIVERIES_PER_S: Final = PER_S * CROWD / len(CHANNELS)
"""What all nodes together write to a crowd."""


def is_unknown(scaled: RealtimeCluster) -> bool:
    """Whether the conditions say that no node goes, as one does not tell what it carries."""
    return conditions(scaled, "MetricsAvailable", "ScalingActive", "ScalingLimited") == [
        ("False", "NodesSilent"),
        ("False", "MetricsUnavailable"),
        ("True", "MetricsUnavailable"),
    ]


def is_known(scaled: RealtimeCluster) -> bool:
    """Whether the conditions say that the number of nodes follows the load of all."""
    return conditions(scaled, "MetricsAvailable", "ScalingActive") == [
        ("True", "AllAnswer"),
        ("True", "Internal"),
    ]


def deliveries_per_s(operators: Iterable[str]) -> list[float]:
    """What the operator reckons with in this round; the status is not written in each."""
    pattern = rf'^realtime_operator_deliveries_per_second{{.*cluster="{NAME}".*}} (.+)$'
    texts = [
        urllib.request.urlopen(f"http://{each}:{METRICS_PORT}/metrics", timeout=5).read().decode()
        for each in operators
    ]
    return [float(told) for text in texts for told in re.findall(pattern, text, re.MULTILINE)]


async def one_too_many(scaled: RealtimeCluster) -> None:
    """Three nodes, until fewer are allowed: two are enough for a few clients."""
    await asyncio.to_thread(scaled.change, autoscaling={"minReplicas": 3})
    await until(lambda: scaled.is_settled_at(3), within_s=SETTLED_S)


async def test_a_node_that_hangs_is_no_reason_for_fewer(scaled: RealtimeCluster, lab: Lab) -> None:
    """While a node says nothing no node goes, and the conditions say why; later one does."""
    await one_too_many(scaled)
    watch = Watch(scaled)
    async with scaled.traffic(FEW, PER_S) as traffic:
        hung, *_ = await asyncio.to_thread(scaled.pods)
        await asyncio.to_thread(lab.send, "SIGSTOP", hung)
        try:
            await asyncio.to_thread(scaled.change, autoscaling={"minReplicas": 2})
            await until(lambda: is_unknown(scaled), within_s=STALE_S + 10, meanwhile=watch.look)
            back_at = time.monotonic() + WINDOW_S
            await until(lambda: time.monotonic() > back_at, within_s=60, meanwhile=watch.look)
            assert await asyncio.to_thread(is_unknown, scaled)
        finally:
            await asyncio.to_thread(lab.send, "SIGCONT", hung)
        assert watch.numbers == [3]
        assert watch.most_at_once == 0
        await until(lambda: scaled.is_settled_at(2), within_s=60)
        assert await asyncio.to_thread(is_known, scaled)
        await traffic.settle()
    assert traffic.worst() == (0, 0, 0)


async def test_nonsense_of_a_node_is_no_reason_for_another_number(
    scaled: RealtimeCluster, lab: Lab
) -> None:
    """While no status comes from a node, or numbers that cannot be, as many nodes stay."""
    await one_too_many(scaled)
    watch = Watch(scaled)
    async with scaled.traffic(FEW, PER_S) as traffic:
        told, *_ = await asyncio.to_thread(scaled.pods)
        said = (await asyncio.to_thread(scaled.statuses))[told["metadata"]["name"]]
        operators = await asyncio.to_thread(operator_addresses, scaled.cluster)
        nonsense = (
            "<!doctype html><title>Welcome</title>",
            json.dumps({"num_clients": 0}),
            json.dumps({**said, "num_clients": -5}),
            json.dumps({**said, "num_clients": 10**12}),
        )
        with impostor(lab, told, operators, nonsense[0]) as liar:
            await asyncio.to_thread(scaled.change, autoscaling={"minReplicas": 2})
            for status in nonsense:
                liar.say(status)
                enough = liar.asked() + ROUNDS
                heard = functools.partial(lambda most: liar.asked() >= most, enough)
                await until(heard, within_s=60, meanwhile=watch.look)
                assert await asyncio.to_thread(is_unknown, scaled)
            assert sum((await asyncio.to_thread(scaled.clients)).values()) == FEW
        assert watch.numbers == [3]
        assert watch.most_at_once == 0
        assert set(traffic.reconnects()) == {0}
        await until(lambda: scaled.is_settled_at(2), within_s=60)
        assert await asyncio.to_thread(is_known, scaled)
        await traffic.settle()
    assert max(traffic.reconnects()) == 1
    assert traffic.worst() == (0, 0, 0)


async def test_counters_that_begin_anew_are_no_reason_for_another_number(
    scaled: RealtimeCluster, lab: Lab
) -> None:
    """A node's process is killed: what it counts from 0 then is no rate, and as many nodes stay."""
    await asyncio.to_thread(
        scaled.change, autoscaling={"minReplicas": 4, "targetDeliveriesPerSecond": 300}
    )
    await until(lambda: scaled.is_settled_at(4), within_s=SETTLED_S)
    watch = Watch(scaled)
    rates: list[float] = []
    operators = await asyncio.to_thread(operator_addresses, scaled.cluster)

    def look() -> None:
        watch.look()
        rates.extend(deliveries_per_s(operators))

    killed, *_ = await asyncio.to_thread(scaled.pods)
    name = killed["metadata"]["name"]
    before = await asyncio.to_thread(scaled.incarnations)
    async with scaled.traffic(CROWD, PER_S) as traffic:
        await asyncio.to_thread(scaled.change, autoscaling={"minReplicas": 2})
        # That much less, from one answer to the next, would outweigh what is delivered meanwhile.
        much = DELIVERIES_PER_S * 6
        await until(
            lambda: scaled.statuses()[name]["deliveries_total"] > much, within_s=60, meanwhile=look
        )
        hit = (await asyncio.to_thread(scaled.clients))[name]
        rates.clear()
        await asyncio.to_thread(lab.send, "SIGKILL", killed)
        await until(
            lambda: scaled.incarnations() != before and scaled.is_settled_at(4),
            within_s=60,
            meanwhile=look,
        )
        back_at = time.monotonic() + WINDOW_S
        await until(lambda: time.monotonic() > back_at, within_s=60, meanwhile=look)
        logger.info("deliveries/s were %.0f to %.0f", min(rates), max(rates))
        await traffic.settle()
    assert watch.numbers == [4]
    assert watch.most_at_once == 0
    assert min(rates) > DELIVERIES_PER_S / 2
    assert max(rates) < DELIVERIES_PER_S * 2
    assert traffic.reconnects() == {0: CROWD - hit, 1: hit}
    assert traffic.worst() == (0, 0, 0)
