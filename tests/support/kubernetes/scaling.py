"""One RealtimeCluster whose number of nodes is found, in numbers that a lab bears.

Nodes of 200 clients and windows of seconds stand for what is a hundred times as much elsewhere.
Growth is not looked ahead for: a crowd that comes at once would be counted twice for a minute. The
threshold of rebalancing is 50 %, since below 64 clients a node chance alone explains more.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from tests.support.kubernetes.realtime_cluster import RealtimeCluster, until

logger = logging.getLogger(__name__)

NAME: Final = "scaled"
NAMESPACE: Final = "realtime-scaling"
PER_S: Final = 20.0
"""Publications per second, where they are not what it is about."""
CROWD: Final = 300
"""Clients for which 4 nodes are needed: three at 70 %, and one to spare."""
FEW: Final = 60
"""Clients for which 2 nodes are."""
MAX_CONNECTIONS: Final = 200
DECIDED_S: Final = 15.0
"""Time in which more nodes have to be decided on, from the load on."""
STABILIZATION_S: Final = 10
STALE_S: Final = 4
BUDGET_PER_S: Final = 3
"""Clients per second and accepting node that may be sent away; shedding comes up to it."""
THRESHOLD: Final = 50
SETTLED_S: Final = 90.0

AUTOSCALING: Final[dict[str, Any]] = {
    "minReplicas": 2,
    "maxReplicas": 6,
    "targetLoopBusyPercent": 100,  # how busy a shared machine is, is not what it is about
    "prediction": {"enabled": False},
    "scaleDown": {"stabilizationSeconds": STABILIZATION_S},
    "metrics": {"intervalSeconds": 2, "timeoutSeconds": 1, "staleAfterSeconds": STALE_S},
}
REBALANCE: Final[dict[str, Any]] = {
    "enabled": False,
    "thresholdPercent": THRESHOLD,
    "shedPercentPerMinute": 600,
    "minNodeAgeSeconds": 2,
}


class Watch:
    """What was seen of a cluster while something else was waited for."""

    def __init__(self, scaled: RealtimeCluster) -> None:
        """Begin with nothing."""
        self._scaled = scaled
        self.numbers: list[int] = []
        """The numbers of nodes that were wanted, each once in a row."""
        self.most_at_once = 0
        """Nodes that were shut or drained at the same time."""

    def look(self) -> None:
        """Look once."""
        wanted = self._scaled.scaling()["desired"]
        if self.numbers[-1:] != [wanted]:
            self.numbers.append(wanted)
        going = self._scaled.leaving("Cordoned", "Draining", "Forcing")  # later it has no clients
        self.most_at_once = max(self.most_at_once, len(going))


def conditions(scaled: RealtimeCluster, *kinds: str) -> list[tuple[str, str]]:
    """Status and reason of some conditions."""
    found = map(scaled.condition, kinds)
    return [(each["status"], each["reason"]) for each in found]


async def decided_after_s(scaled: RealtimeCluster, replicas: int, since: float) -> float:
    """Seconds from `since` on until so many nodes were wanted."""
    await until(lambda: scaled.scaling()["desired"] == replicas, within_s=SETTLED_S)
    passed_s = time.monotonic() - since
    logger.info("%d nodes were wanted after %.1f s", replicas, passed_s)
    return passed_s
