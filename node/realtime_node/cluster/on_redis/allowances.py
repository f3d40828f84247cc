"""The allowances on Redis: a script leases, and a node whose Redis is away uses its share.

All keys are of the first partition, where every node is. What the budget is and how many nodes
share it comes back with every heartbeat (`Census`), so a node always has something to go by. A
question that Redis does not answer in time stays out, since its connection is everybody's; until it
ends the node helps itself to its share, and permits that still come are let go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from realtime_node.cluster.allowance import Budget, Lease, Traffic
from realtime_node.cluster.arrivals import Arrivals
from realtime_node.cluster.pool import Pool
from realtime_node.errors import BackplaneError
from realtime_node.supervision import supervise

from .commands import Commands
from .keys import Keys
from .options import RedisOptions
from .replies import Reply, fraction, number
from .runner import Call, Runner
from .script import CHANGE_BUDGET, LEASE_CONNECTS, LEASE_RECONNECTS, Argument, Script

_log = logging.getLogger(__name__)

BUDGET_FIELDS: Final = 5
"""How many fields scripts answer of the budget: see `read_budget`."""
BUDGET_PARTITION: Final = 0
"""Where the budget is, and every node."""
ANSWER_WITHIN_S: Final = 0.5
_LAPSED_RETRY_S: Final = 0.5
"""Our own heartbeat has to come through first."""
_LAPSED: Final = b"LAPSED"
_ACCEPTS: Final = {True: b"1", False: b"0"}


def _quiet() -> Traffic:
    return Traffic(is_accepting=False, accepted_total=0)


class Census:
    """What heartbeats carry for the budget, in both directions."""

    def __init__(self, per_node: float, clock: Callable[[], float]) -> None:
        """`per_node` is the settings' budget, which counts until another was set."""
        self.budget = Budget(per_node)
        self._suggested = per_node
        self._traffic = _quiet
        self._arrivals = Arrivals()
        self._clock = clock

    def observe(self, traffic: Callable[[], Traffic]) -> None:
        """See `ReconnectBudget.observe`."""
        self._traffic = traffic

    def suggest(self, per_node: float) -> None:
        """See `ReconnectBudget.suggest`."""
        self._suggested = per_node
        if not self.budget.version:
            self.budget = self.budget._replace(per_node=per_node)

    def accepts(self) -> bytes:
        """Whether this node accepts clients, as the scripts want it."""
        return _ACCEPTS[self._traffic().is_accepting]

    def report(self) -> Sequence[Argument]:
        """What the next heartbeat tells."""
        traffic = self._traffic()
        arrivals = self._arrivals.per_s(traffic.accepted_total, self._clock())
        return (_ACCEPTS[traffic.is_accepting], f"{arrivals:.3f}", *self.belief())

    def belief(self) -> Sequence[Argument]:
        """Version and value of the budget that this node knows."""
        return self.budget.version, repr(self.budget.per_node)

    def learn(self, found: Budget) -> None:
        """Take what a script answered; an answer that was overtaken brings nothing old back."""
        if found.version < self.budget.version:
            return
        # Without a version it is what some settings said when the question was on its way.
        per_node = found.per_node if found.version else self._suggested
        self.budget = found._replace(per_node=per_node)


class _Leased(NamedTuple):
    """What a script leased."""

    permits: int
    share_per_s: float
    retry_after_s: float
    budget: Budget | None = None
    """The reconnect budget, if the script tells it."""


class _Asking:
    """Asks Redis one thing at a time, and does without an answer that takes too long."""

    def __init__(
        self,
        name: str,
        runner: Runner,
        writes: Commands,
        *,
        node_id: Callable[[], str],
        is_member: Callable[[], bool],
    ) -> None:
        self.node_id = node_id
        self._name = name
        self._runner = runner
        self._writes = writes
        self._is_member = is_member
        self._own = Pool()
        self._turn = asyncio.Lock()
        self._question: asyncio.Task[None] | None = None
        self.is_local = False

    async def lease(
        self,
        wanted: int,
        script: Script,
        build: Callable[[], Call],
        share_per_s: Callable[[], float],
        learn: Callable[[Budget], None],
    ) -> Lease:
        """Lease by `script`, or out of `share_per_s` if Redis does not answer."""
        async with self._turn:
            if not self._is_member():
                return Lease(0, retry_after_s=_LAPSED_RETRY_S)
            answers = await self._ask(script, build)
        self._note(is_local=not answers)
        if not answers:
            now = asyncio.get_running_loop().time()
            return self._own.lease("", wanted, share_per_s(), now)._replace(is_local=True)
        (leased,) = answers
        if leased is None:
            return Lease(0, retry_after_s=_LAPSED_RETRY_S)
        if leased.budget is not None:
            learn(leased.budget)
        return Lease(
            leased.permits, retry_after_s=leased.retry_after_s, rate_per_s=leased.share_per_s
        )

    async def close(self) -> None:
        """Wait for no answer any more."""
        if self._question is not None:
            self._question.cancel()
            await asyncio.gather(self._question, return_exceptions=True)

    async def _ask(self, script: Script, build: Callable[[], Call]) -> list[_Leased | None]:
        """Return the answer, if it comes in time; None in its place: this node's lease lapsed."""
        if self._question is not None and not self._question.done():
            return []
        answers: list[_Leased | None] = []

        async def ask() -> None:
            try:
                answers.append(await self._lease(script, build))
            except BackplaneError as error:
                _log.debug("a lease failed: %s", error)

        self._question = supervise(ask, name="redis-lease")
        await asyncio.wait({self._question}, timeout=ANSWER_WITHIN_S)
        return answers

    async def _lease(self, script: Script, build: Callable[[], Call]) -> _Leased | None:
        return await self._runner.run(self._writes, script, build, read=_read_leased)

    def _note(self, *, is_local: bool) -> None:
        if is_local and not self.is_local:
            _log.warning("Redis does not lease %s: this node uses its share of them", self._name)
        elif self.is_local and not is_local:
            _log.info("Redis leases %s again", self._name)
        self.is_local = is_local


def _read_leased(reply: Reply) -> _Leased | None:
    """Read the answer of both scripts; None: the caller's own heartbeat is too old."""
    if reply == [_LAPSED]:
        return None
    _, permits, share, wait_ms, *budget = reply
    return _Leased(
        number(permits),
        fraction(share),
        number(wait_ms) / 1000,
        read_budget(budget) if budget else None,
    )


def read_budget(fields: Sequence[Reply]) -> Budget:
    """Read what scripts answer of the budget."""
    version, per_node, accepting, live, arrivals = fields
    return Budget(
        fraction(per_node), number(version), number(accepting), number(live), fraction(arrivals)
    )


class RedisReconnects:
    """Implements `ReconnectBudget`."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        options: RedisOptions,
        keys: Keys,
        runner: Runner,
        writes: Sequence[Commands],
        census: Census,
        *,
        node_id: Callable[[], str],
        is_member: Callable[[], bool],
    ) -> None:
        """`writes` are the connections by partition; who is no member gets nothing."""
        self._lease_ms = int(options.lease_s * 1000)
        self._keys = keys
        self._runner = runner
        self._writes = writes[BUDGET_PARTITION]
        self._census = census
        self._asking = _Asking(
            "reconnects", runner, self._writes, node_id=node_id, is_member=is_member
        )
        self.observe = census.observe
        self.suggest = census.suggest
        self.close = self._asking.close

    def known(self) -> Budget:
        """See `ReconnectBudget.known`."""
        return self._census.budget._replace(is_local=self._asking.is_local)

    async def lease(self, wanted: int) -> Lease:
        """See `Allowance.lease`."""
        shared = self._keys.partition(BUDGET_PARTITION)

        def build() -> Call:
            node = self._asking.node_id()
            keys = (
                self._keys.node(BUDGET_PARTITION, node).node,
                shared.nodes,
                shared.traffic,
                shared.budget,
                shared.reconnects,
            )
            census = self._census
            return keys, (node, wanted, census.accepts(), *census.belief(), self._lease_ms)

        return await self._asking.lease(
            wanted,
            LEASE_RECONNECTS,
            build,
            lambda: self._census.budget.share_per_s,
            self._census.learn,
        )

    async def change(self, per_node: float) -> Budget:
        """See `ReconnectBudget.change`."""

        def build() -> Call:
            own = self._keys.node(BUDGET_PARTITION, self._asking.node_id())
            keys = (own.node, self._keys.partition(BUDGET_PARTITION).budget)
            return keys, (*self._census.belief(), repr(float(per_node)))

        # Twice is as good as once.
        version, value = await self._runner.run(
            self._writes, CHANGE_BUDGET, build, read=_read_changed, may_repeat=True
        )
        census = self._census
        census.budget = census.budget._replace(version=version, per_node=value)
        return self.known()


def _read_changed(reply: Reply) -> tuple[int, float]:
    _, version, per_node = reply
    return number(version), fraction(per_node)


class RedisConnects:
    """Implements `Allowance` for arrivals at a rate that is the whole cluster's."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        options: RedisOptions,
        keys: Keys,
        runner: Runner,
        writes: Sequence[Commands],
        census: Census,
        *,
        rate_per_s: float,
        node_id: Callable[[], str],
        is_member: Callable[[], bool],
    ) -> None:
        """`writes` are the connections by partition; who is no member gets nothing."""
        self._lease_ms = int(options.lease_s * 1000)
        self._keys = keys
        self._census = census
        self._rate_per_s = rate_per_s
        self._asking = _Asking(
            "connects", runner, writes[BUDGET_PARTITION], node_id=node_id, is_member=is_member
        )
        self.close = self._asking.close

    async def lease(self, wanted: int) -> Lease:
        """See `Allowance.lease`."""

        def build() -> Call:
            node = self._asking.node_id()
            own = self._keys.node(BUDGET_PARTITION, node)
            keys = (own.node, self._keys.partition(BUDGET_PARTITION).connects)
            return keys, (node, wanted, repr(self._rate_per_s), self._lease_ms)

        return await self._asking.lease(
            wanted,
            LEASE_CONNECTS,
            build,
            lambda: self._rate_per_s / max(1, self._census.budget.live),
            lambda _: None,
        )
