"""Whether sheds help: a load balancer may send clients back to the nodes that have closed them.

Nodes that shed should come nearer to the average by what others take of the clients they closed. If
they do not, they shed in vain, and clients are disturbed for nothing: these nodes are left alone
for a while. All that shed are judged together, and over several sheds where one moves few: a large
cluster fills a node by many small ones. What is remembered are two numbers for each Pod while there
are sheds, and a time for each that shed in vain; lost, it costs another shed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from realtime_operator.decide.rebalance import CHANCE
from realtime_operator.decide.snapshot import Pod

HELPED: Final = 0.5
"""Sheds were of use if at least this share of those is missing afterwards whom a load balancer that
treats all nodes alike would have sent to others."""

LEFT_ALONE_S: Final = 3600.0
"""For so long a node that has shed in vain is not told to shed again."""

FORGOTTEN_AFTER_S: Final = 300.0
"""Sheds that follow later than this are judged anew: clients have come and gone in between."""


class _Trial(NamedTuple):
    """How it was when the first of several sheds began."""

    excess: Mapping[str, float]
    """Clients above the average, by uid of the Pods that accept clients."""
    closed: Mapping[str, int]
    shed_at: float
    """When a node was last seen to shed."""


class Sheds:
    """The sheds of one cluster's nodes."""

    def __init__(self) -> None:
        """Begin without knowing any."""
        self._trial: _Trial | None = None
        self._left_alone_until: Mapping[str, float] = {}

    def look(self, pods: Sequence[Pod], closed: Mapping[str, int], now: float) -> frozenset[str]:
        """Names of the Pods that have shed in vain lately; `closed` counts for each uid."""
        accepting = [
            pod
            for pod in pods
            if pod.status and pod.status.accepting and pod.is_ready and pod.uid in closed
        ]
        until = {
            pod.uid: self._left_alone_until[pod.uid]
            for pod in pods
            if 0 < self._left_alone_until.get(pod.uid, now) - now <= LEFT_ALONE_S
        }
        counts = {pod.uid: pod.clients or 0 for pod in accepting}
        sheds = any(pod.status and pod.status.shed_remaining is not None for pod in accepting)
        for uid in self._judged(counts, closed, now, sheds=sheds):
            until[uid] = now + LEFT_ALONE_S
        self._left_alone_until = until
        return frozenset(pod.name for pod in pods if pod.uid in until)

    def _judged(
        self, counts: Mapping[str, int], closed: Mapping[str, int], now: float, *, sheds: bool
    ) -> list[str]:
        """Those that have shed in vain, as it turns out in this look."""
        average = sum(counts.values()) / max(1, len(counts))
        excess = {uid: count - average for uid, count in counts.items()}
        trial = self._trial
        if trial and (
            trial.excess.keys() != counts.keys()  # another number of nodes, another average
            or not 0 <= now - trial.shed_at <= FORGOTTEN_AFTER_S
        ):
            trial = None
        if sheds:
            trial = trial or _Trial(excess, {uid: closed[uid] for uid in counts}, now)
            trial = trial._replace(shed_at=now)
        self._trial = trial
        if trial is None:
            return []
        sent = {uid: closed[uid] - trial.closed[uid] for uid in counts}
        shedders = [uid for uid, count in sent.items() if count > 0]
        others = 1 - len(shedders) / max(1, len(counts))
        expected = others * sum(sent[uid] for uid in shedders)
        if expected < CHANCE * math.sqrt(average):
            return []  # of a few the effect may be chance: the next sheds are counted with them
        moved = sum(trial.excess[uid] - excess[uid] for uid in shedders)
        is_in_vain = moved < HELPED * expected
        # While some shed, those who are not back yet seem to have moved: only that is uncertain.
        if is_in_vain or not sheds:
            self._trial = None
        return shedders if is_in_vain else []
