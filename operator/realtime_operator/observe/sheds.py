"""Whether sheds help: a load balancer may send clients back to the node that has closed them.

A node that sheds should come nearer to the average by nearly as many clients as it closed. If it
does not, it sheds in vain, and its clients are disturbed for nothing: it is left alone for a while.
What is remembered are two numbers for each Pod that sheds, and a time for each that did so in vain;
lost, it costs another shed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from realtime_operator.decide.rebalance import CHANCE
from realtime_operator.decide.snapshot import Pod

HELPED: Final = 0.25
"""A shed was of use if at least this share of those it closed are missing afterwards. Where there
is one other node to go to, half of them are."""

LEFT_ALONE_S: Final = 3600.0
"""For so long a node that has shed in vain is not told to shed again."""


class _Begun(NamedTuple):
    """How it was when a node began to shed."""

    nodes: frozenset[str]
    """Who accepted clients: another number of nodes makes another average."""
    excess: float
    """Clients above the average."""
    closed: int


class Sheds:
    """The sheds of one cluster's nodes."""

    def __init__(self) -> None:
        """Begin without knowing any."""
        self._begun: Mapping[str, _Begun] = {}
        self._left_alone_until: Mapping[str, float] = {}

    def look(self, pods: Sequence[Pod], closed: Mapping[str, int], now: float) -> frozenset[str]:
        """Names of the Pods that have shed in vain lately; `closed` counts for each uid."""
        counts = {
            pod.uid: pod.status.num_clients
            for pod in pods
            if pod.status and pod.status.accepting and pod.is_ready and pod.uid in closed
        }
        nodes, average = frozenset(counts), sum(counts.values()) / max(1, len(counts))
        begun: dict[str, _Begun] = {}
        until = {
            pod.uid: self._left_alone_until[pod.uid]
            for pod in pods
            if 0 < self._left_alone_until.get(pod.uid, now) - now <= LEFT_ALONE_S
        }
        for pod in pods:
            if pod.uid not in counts:
                continue
            now_is = _Begun(nodes, counts[pod.uid] - average, closed[pod.uid])
            before = self._begun.get(pod.uid)
            if before and before.nodes != nodes:
                before = None
            if pod.status and pod.status.shed_remaining is not None:
                begun[pod.uid] = before or now_is
            elif before and _was_in_vain(before, now_is, counts[pod.uid]):
                until[pod.uid] = now + LEFT_ALONE_S
        self._begun, self._left_alone_until = begun, until
        return frozenset(pod.name for pod in pods if pod.uid in until)


def _was_in_vain(before: _Begun, after: _Begun, clients: int) -> bool:
    sent = after.closed - before.closed  # of a few the effect may be chance
    if sent < CHANCE * math.sqrt(clients):
        return False
    return before.excess - after.excess < HELPED * sent
