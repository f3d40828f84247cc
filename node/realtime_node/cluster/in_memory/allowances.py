"""The allowances of an `InMemoryCluster`: the pools of `cluster.pool`, shared by its nodes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from realtime_node.cluster.allowance import Budget, Lease, Traffic, reconnect_rate
from realtime_node.cluster.arrivals import Arrivals
from realtime_node.cluster.pool import Pool
from realtime_node.errors import BackplaneUnavailableError

_RETRY_S: Final = 0.5


class Permits:
    """What all nodes share."""

    def __init__(
        self, clock: Callable[[], float], live_nodes: Callable[[], Collection[str]]
    ) -> None:
        """`live_nodes` names the nodes whose lease has not ended."""
        self.clock = clock
        self.live_nodes = live_nodes
        self.reconnects = Pool()
        self.connects = Pool()
        self.changed: tuple[int, float] | None = None
        """Version and value of the reconnect budget, if one was set."""
        self.members: dict[str, InMemoryReconnects] = {}


class InMemoryReconnects:
    """Implements `ReconnectBudget` for one node."""

    def __init__(
        self, shared: Permits, node_id: str, is_member: Callable[[], bool], *, per_node: float
    ) -> None:
        """`per_node` is the settings' budget, which counts until another was set."""
        self._shared = shared
        self._node_id = node_id
        self._is_member = is_member
        self._per_node = per_node
        self._arrivals = Arrivals()
        self._traffic: Callable[[], Traffic] = lambda: Traffic(is_accepting=False, accepted_total=0)

    def join(self) -> None:
        """Count as a node."""
        self._shared.members[self._node_id] = self

    def leave(self) -> None:
        """Count no longer."""
        self._shared.members.pop(self._node_id, None)

    def observe(self, traffic: Callable[[], Traffic]) -> None:
        """See `ReconnectBudget.observe`."""
        self._traffic = traffic

    def known(self) -> Budget:
        """See `ReconnectBudget.known`."""
        version, per_node = self._shared.changed or (0, self._per_node)
        live = self._live()
        accepting = sum(node.is_accepting for node in live)
        now = self._shared.clock()
        arrivals = sum(node.arrivals_per_s(now) for node in live)
        return Budget(per_node, version, accepting, len(live), arrivals)

    async def lease(self, wanted: int) -> Lease:
        """See `Allowance.lease`."""
        if not self._is_member():
            return Lease(0, retry_after_s=_RETRY_S)
        shared, now = self._shared, self._shared.clock()
        budget = self.known()
        explained = shared.reconnects.explained_per_s(now)
        rate = reconnect_rate(budget.total_per_s, budget.arrivals_per_s, explained)
        return shared.reconnects.lease(self._node_id, wanted, rate, now)

    async def change(self, per_node: float) -> Budget:
        """See `ReconnectBudget.change`."""
        if not self._is_member():
            raise BackplaneUnavailableError("this node is not part of the cluster")
        version, value = self._shared.changed or (0, None)
        if value != per_node:
            self._shared.changed = (version + 1, per_node)
        return self.known()

    @property
    def is_accepting(self) -> bool:
        """Whether this node lets clients in."""
        return self._traffic().is_accepting

    def arrivals_per_s(self, now: float) -> float:
        """Clients per second that came to this node."""
        return self._arrivals.per_s(self._traffic().accepted_total, now)

    def _live(self) -> list[InMemoryReconnects]:
        live = self._shared.live_nodes()
        return [node for node_id, node in self._shared.members.items() if node_id in live]


class InMemoryConnects:
    """Implements `Allowance` for arrivals at a rate that is the whole cluster's."""

    def __init__(
        self, shared: Permits, node_id: str, is_member: Callable[[], bool], *, rate_per_s: float
    ) -> None:
        """`rate_per_s` is what all nodes together may take."""
        self._shared = shared
        self._node_id = node_id
        self._is_member = is_member
        self._rate_per_s = rate_per_s

    async def lease(self, wanted: int) -> Lease:
        """See `Allowance.lease`."""
        if not self._is_member():
            return Lease(0, retry_after_s=_RETRY_S)
        shared = self._shared
        return shared.connects.lease(self._node_id, wanted, self._rate_per_s, shared.clock())
