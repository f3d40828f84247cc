"""Clients come, stay a while and go; load balancers spread those who knock; doors meter them in.

The same for both rivals: they see the same demand, through the same doors. Whoever wants in goes to
one of the nodes that load balancers believe to accept, at random. What they believe is a few
seconds old, so some knock where nobody lets them in, and come back by their back-off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp
from random import Random

from realtime_operator.simulate.assumptions import Assumptions, Limits
from realtime_operator.simulate.crowd import Crowd
from realtime_operator.simulate.nodes import Node, Phase
from realtime_operator.simulate.sampling import binomial, spread


@dataclass(slots=True)
class Flow:
    """What clients did in one step."""

    joined: int = 0
    left: int = 0
    knocked: int = 0
    refused: int = 0
    admitted: int = 0


class Traffic:
    """Moves clients, step by step."""

    def __init__(
        self,
        crowd: Crowd,
        demand: Callable[[float], int],
        assumptions: Assumptions,
        limits: Limits,
        random: Random,
    ) -> None:
        """`demand` says how many clients there are to be at a time, in seconds."""
        self.crowd = crowd
        self._demand = demand
        self._assumptions = assumptions
        self._limits = limits
        self._random = random
        self._routes: deque[tuple[float, Sequence[Node]]] = deque()

    def step(self, now: float, step: int, passed_s: float, nodes: Sequence[Node]) -> Flow:
        """Let clients do what they do until `now`; `nodes` are all that have processes."""
        flow = Flow()
        population = self.crowd.waiting + sum([node.clients + node.queued for node in nodes])
        wanted = self._demand(now)
        self._leave(nodes, population, wanted, passed_s, flow)
        flow.joined = max(0, wanted - population + flow.left)
        self._knock(step, passed_s, nodes, flow)
        if flow.joined:
            self.crowd.join(flow.joined)
        return flow

    def show(self, now: float, accepting: Sequence[Node]) -> None:
        """Load balancers are told who accepts, and believe it after a while."""
        if not self._routes or self._routes[-1][1] is not accepting:
            self._routes.append((now, accepting))
        while len(self._routes) > 1 and self._routes[1][0] <= now - self._assumptions.routing_lag_s:
            self._routes.popleft()

    def _leave(
        self, nodes: Sequence[Node], population: int, wanted: int, passed_s: float, flow: Flow
    ) -> None:
        if not population:
            return
        share = 1.0 - exp(-passed_s / self._assumptions.stay_s)
        connected = sum([node.clients for node in nodes])
        if connected and wanted < population - share * connected:
            share = min(1.0, (population - wanted) / connected)
        random, leave = self._random, self.crowd.leave
        left = 0
        for node in nodes:
            if node.is_up:
                going = binomial(random, node.clients, share)
                leave(node, going)
                left += going
        flow.left = left

    def _knock(self, step: int, passed_s: float, nodes: Sequence[Node], flow: Flow) -> None:
        """Who is due comes to a node; who waits at a door may get in meanwhile."""
        flow.knocked = self.crowd.due(step)
        routes = self._routes[0][1] if flow.knocked and self._routes else ()
        at_door = self._at_door
        per_step = self._limits.connects_per_s * passed_s
        admitted = 0
        coming = spread(self._random, flow.knocked, len(routes))
        for node, count in zip(routes, coming, strict=True):
            admitted += at_door(node, count, step, per_step)
        for node in nodes:
            if node.queued and node.tokens_at != step:
                admitted += at_door(node, 0, step, per_step)
        flow.admitted = admitted
        flow.refused = self.crowd.settle()

    def _at_door(self, node: Node, coming: int, step: int, per_step: float) -> int:
        """So many come to a node; return how many it lets in, of them or of those who waited.

        `per_step` more may be let in than at the end of the step before.
        """
        limits = self._limits
        queued = node.queued
        saved = node.tokens + per_step * (step - node.tokens_at - 1)
        tokens = min(saved, limits.burst) + per_step
        let_in = 0
        if coming and node.is_up and node.phase is Phase.SERVING:
            room = min(limits.max_connections - node.clients, limits.most_queued + int(tokens))
            if room > queued:
                let_in = min(coming, room - queued)
        admitted = min(queued + let_in, int(tokens))
        node.tokens, node.tokens_at = tokens - admitted, step
        node.accepted_total += admitted
        self.crowd.knock(node, coming, let_in, admitted)
        return admitted
