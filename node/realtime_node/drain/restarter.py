"""Ends a node that fails by its own fault, as `self_restart` decides.

One supervised loop looks every second at which loops fail. Only a node that has failed for long
enough asks the store, and asks again after a pause if the answer was to stay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from realtime_node.cluster.backplane import NodeInfo
from realtime_node.config.settings import ShutdownSettings
from realtime_node.drain.self_restart import (
    PERIOD_S,
    Action,
    Decision,
    Facts,
    Reason,
    count_peers,
    decide,
)
from realtime_node.errors import BackplaneError
from realtime_node.failures import FailingLoop, find_unfit
from realtime_node.supervision import supervise

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
ASK_AGAIN_AFTER_S: Final = 10.0
"""Half of it to one and a half: nodes that fail for the same reason do not ask as one."""

_WHY_IT_STAYS: Final = {
    Reason.STORE_UNAVAILABLE: "the store cannot be asked whether it may end itself",
    Reason.PEERS_NOT_READY: "most of the other nodes are not ready either",
    Reason.ANOTHER_RESTARTED: f"a node has ended itself within the last {PERIOD_S:.0f} s",
}


class Peers(Protocol):
    """The other nodes, as the backplane knows them."""

    @property
    def node_id(self) -> str:
        """See `Backplane.node_id`."""

    async def nodes(self) -> list[NodeInfo]:
        """See `Backplane.nodes`."""

    async def claim_restart(self, period_s: float) -> bool:
        """See `Backplane.claim_restart`."""


class Endable(Protocol):
    """What sends the clients elsewhere; see `Drainer`."""

    @property
    def is_ending(self) -> bool:
        """Whether the process was asked to end."""

    def end_itself(self, grace_s: float, reason: str) -> None:
        """Empty the node for good, within a grace."""


class RestartMetrics(Protocol):
    """Where decisions are counted; `telemetry` implements it."""

    def decided(self, action: str, reason: str) -> None:
        """Count a decision of a node that has failed for long enough."""


class Restarter:
    """The one of a node."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        failing: Callable[[], Sequence[FailingLoop]],
        peers: Peers,
        drainer: Endable,
        metrics: RestartMetrics,
        *,
        settings: Callable[[], ShutdownSettings],
        random: Callable[[], float],
    ) -> None:
        """Look at what is `failing`; the `settings` may change while the node runs."""
        self._failing = failing
        self._peers = peers
        self._drainer = drainer
        self._metrics = metrics
        self._settings = settings
        self._random = random
        self._task: asyncio.Task[None] | None = None
        self.reason = ""
        """Why this node ends itself; empty while it does not."""

    def start(self) -> None:
        """Begin to look."""
        self._task = supervise(self._watch, name="self-restart", period_s=2 * ASK_AGAIN_AFTER_S)

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            has_asked = await self.look()
            pause_s = ASK_AGAIN_AFTER_S * (0.5 + self._random()) if has_asked else LOOK_EVERY_S
            await asyncio.sleep(pause_s)

    async def look(self) -> bool:
        """Decide once, and do it; tell whether the store was asked."""
        facts = Facts(
            unfit=find_unfit(self._failing()),
            failing_after_s=self._settings().failing_after.total_seconds(),
            is_ending=self._drainer.is_ending,
        )
        decision = decide(facts)
        has_asked = False
        while decision.action in _ASKING:
            has_asked = True
            try:
                facts = await _ASKING[decision.action](self._peers, facts)
            except BackplaneError as error:
                logger.debug("a failing node cannot ask the store: %s", error)
                facts = facts._replace(is_store_available=False)
            # While the store was asked the node may have been told to end, or become well.
            facts = facts._replace(
                unfit=find_unfit(self._failing()), is_ending=self._drainer.is_ending
            )
            decision = decide(facts)
        if has_asked:
            self._do(decision, facts.unfit)
        return has_asked

    def _do(self, decision: Decision, unfit: FailingLoop | None) -> None:
        self._metrics.decided(decision.action.value, decision.reason.value)
        if unfit is None:
            return
        told = f"{unfit.loop} has failed for {unfit.own_fault_s:.0f} s: {unfit.error}"
        if decision.action is Action.END:
            self.reason = told
            logger.error("this node ends itself, to be started anew: %s", told)
            grace_s = self._settings().timeout.total_seconds()
            self._drainer.end_itself(grace_s, f"this node fails: {unfit.loop}")
        elif why := _WHY_IT_STAYS.get(decision.reason):
            logger.error("this node is not ready, and stays: %s; %s", why, told)


async def _ask_peers(peers: Peers, facts: Facts) -> Facts:
    return facts._replace(peers=count_peers(await peers.nodes(), peers.node_id))


async def _claim(peers: Peers, facts: Facts) -> Facts:
    return facts._replace(has_claim=await peers.claim_restart(PERIOD_S))


_ASKING: Final[dict[Action, Callable[[Peers, Facts], Awaitable[Facts]]]] = {
    Action.ASK_PEERS: _ask_peers,
    Action.CLAIM: _claim,
}
