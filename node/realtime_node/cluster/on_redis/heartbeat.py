"""The heartbeat: prolongs this node's lease, sees whose lease has ended, hears of losses.

Whether that means that they are dead is `liveness`' decision, and what follows the janitor's work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from realtime_node.cluster.allowance import Budget
from realtime_node.cluster.backplane import NodeInfo
from realtime_node.errors import BackplaneError
from realtime_node.supervision import guard, supervise

from .allowances import BUDGET_FIELDS, BUDGET_PARTITION, Census, read_budget
from .commands import Commands
from .continuity import Continuity
from .departed import Departed
from .entries import encode_node
from .janitor import Janitor
from .keys import Keys
from .liveness import Liveness
from .options import RedisOptions
from .outage import Outage
from .replies import Reply, data, flag, texts
from .runner import Call, Runner
from .script import HEARTBEAT

_log = logging.getLogger(__name__)


class Heartbeat:
    """Beats in the partitions of one shard, once per interval."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        options: RedisOptions,
        keys: Keys,
        runner: Runner,
        writes: Commands,
        *,
        janitor: Janitor,
        departed: Departed,
        liveness: Liveness,
        continuity: Continuity,
        census: Census,
        partitions: Sequence[int],
        node_id: Callable[[], str],
    ) -> None:
        """Beat in `partitions`, which share a connection and so their fate."""
        self._interval_s = options.heartbeat_interval_s
        self._lease_ms = int(options.lease_s * 1000)
        self._keys = keys
        self._partitions = partitions
        self._runner = runner
        self._writes = writes
        self._janitor = janitor
        self._departed = departed
        self._node_id = node_id
        self._liveness = liveness
        self._continuity = continuity
        self._census = census
        self._task: asyncio.Task[None] | None = None

    def start(self, describe: Callable[[], NodeInfo]) -> None:
        """Begin to beat; `describe` is asked each time."""
        self._task = supervise(
            partial(self._beat_on, describe), name="redis-heartbeat", period_s=self._interval_s
        )

    async def close(self) -> None:
        """Stop beating."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _beat_on(self, describe: Callable[[], NodeInfo]) -> None:
        description = b""
        outage = Outage(_log, "a heartbeat did not go through")
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                sent_at = self._liveness.now()
                with guard("redis-describe"):  # the lease does not depend on it
                    description = encode_node(describe())
                expired = [
                    await self._beat(partition, description) for partition in self._partitions
                ]
            except BackplaneError as error:
                outage.note(error)
                self._liveness.missed()
                continue
            outage.end()
            self._liveness.beat(sent_at)
            if self._liveness.may_judge():
                for partition, nodes in zip(self._partitions, expired, strict=True):
                    self._janitor.notice(partition, nodes)

    async def _beat(self, partition: int, description: bytes) -> list[str]:
        """Beat in one partition; the nodes there whose lease has ended."""
        shared = self._keys.partition(partition)

        def build() -> Call:
            node = self._node_id()
            own = self._keys.node(partition, node).node
            is_first = partition == BUDGET_PARTITION
            keys = (
                own,
                shared.nodes,
                shared.described,
                shared.generation,
                shared.traffic,
                shared.budget,
                shared.departed,
            )
            report = self._census.report()
            return keys, (node, description, self._lease_ms, *report, int(is_first))

        beat = await self._runner.run(self._writes, HEARTBEAT, build, read=_read_beat)
        if beat.has_lapsed:
            self._departed.notice(partition)
        if partition == BUDGET_PARTITION:
            self._census.learn(beat.budget)
        self._continuity.learn(partition, beat.generation)
        return beat.expired


class _Beat(NamedTuple):
    """What a heartbeat is answered."""

    generation: bytes
    has_lapsed: bool
    """Whether the grace of some client that was left behind has ended."""
    budget: Budget
    expired: list[str]
    """Nodes whose lease has ended."""


def _read_beat(reply: Reply) -> _Beat:
    _, generation, has_lapsed, *told = reply
    budget, expired = told[:BUDGET_FIELDS], told[BUDGET_FIELDS:]
    return _Beat(data(generation), flag(has_lapsed), read_budget(budget), texts(expired))
