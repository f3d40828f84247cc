"""A crowd in which each client is somebody: what happens to each is counted."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from random import Random
from typing import NamedTuple

from realtime_operator.simulate.backoff import MOST_FAILURES, Backoff
from realtime_operator.simulate.crowd import NOTICING
from realtime_operator.simulate.nodes import Node


class _Guest(NamedTuple):
    client: int
    failures: int


class IndividualCrowd:
    """Clients by number; up to some hundred thousand of them."""

    def __init__(
        self, random: Random, backoff: Backoff, noticed_after_s: tuple[float, float], step_s: float
    ) -> None:
        """Nobody is there yet; steps take `step_s`."""
        self._random = random
        self._backoff = backoff
        self._noticed_after_s = noticed_after_s
        self._step_s = step_s
        self._connected: defaultdict[Node, list[int]] = defaultdict(list)
        self._queues: defaultdict[Node, deque[_Guest]] = defaultdict(deque)
        self._due: defaultdict[int, list[_Guest]] = defaultdict(list)
        self._batch: list[_Guest] = []
        self._refused: list[_Guest] = []
        self._losses: Counter[int] = Counter()
        self._clients = 0
        self._now = 0
        self.waiting = 0

    @property
    def reconnects(self) -> Mapping[int, int]:
        """How many clients lost their connection how often."""
        counts = Counter(self._losses.values())
        counts[0] = self._clients - len(self._losses)
        return dict(sorted(counts.items()))

    def seat(self, node: Node, count: int) -> None:
        """Clients are connected from the beginning."""
        self._connected[node] += range(self._clients, self._clients + count)
        self._clients += count
        node.clients += count

    def forget(self) -> None:
        """Count reconnects from now on."""
        self._losses.clear()

    def join(self, count: int) -> None:
        """New clients knock in the next step."""
        numbers = range(self._clients, self._clients + count)
        self._due[self._now + 1] += [_Guest(client, 0) for client in numbers]
        self._clients += count
        self.waiting += count

    def leave(self, node: Node, count: int) -> None:
        """Connected clients go for good."""
        self._pick(node, count)

    def lose(self, node: Node, count: int, *, unnoticed: bool = False) -> None:
        """Connections end."""
        for client in self._pick(node, count):
            self._losses[client] += 1
            self._come_back(_Guest(client, NOTICING if unnoticed else 0))

    def drop(self, node: Node) -> None:
        """All at a door are turned away."""
        for guest in self._queues.pop(node, ()):
            self._come_back(_Guest(guest.client, min(guest.failures + 1, MOST_FAILURES)))
        node.queued = 0

    def due(self, step: int) -> int:
        """How many knock in this step."""
        self._now = step
        self._batch = []
        for guest in self._due.pop(step, ()):
            if guest.failures == NOTICING:
                self.waiting -= 1
                self._come_back(_Guest(guest.client, 0))
            else:
                self._batch.append(guest)
        self._random.shuffle(self._batch)
        self._refused = []
        return len(self._batch)

    def knock(self, node: Node, count: int, let_in: int, admitted: int) -> None:
        """The next of those due come to a node."""
        coming = [self._batch.pop() for _ in range(count)]
        queue = self._queues[node]
        queue.extend(coming[:let_in])
        self.waiting -= let_in
        self._refused += coming[let_in:]
        self._connected[node] += [queue.popleft().client for _ in range(admitted)]
        node.queued += let_in - admitted
        node.clients += admitted

    def settle(self) -> int:
        """Who was turned away, or found nobody, backs off."""
        refused = self._refused + self._batch
        self._batch = []
        self.waiting -= len(refused)
        for guest in refused:
            self._come_back(_Guest(guest.client, min(guest.failures + 1, MOST_FAILURES)))
        return len(refused)

    def _pick(self, node: Node, count: int) -> list[int]:
        """Take clients off a node, whichever."""
        there = self._connected[node]
        if count >= len(there):
            picked, self._connected[node] = there, []
        else:
            picked = []
            for _ in range(count):
                at = self._random.randrange(len(there))
                there[at], there[-1] = there[-1], there[at]
                picked.append(there.pop())
        node.clients -= len(picked)
        return picked

    def _come_back(self, guest: _Guest) -> None:
        bounds_s = (
            self._noticed_after_s
            if guest.failures == NOTICING
            else self._backoff.bounds_s(guest.failures)
        )
        steps = int(0.5 + self._random.uniform(*bounds_s) / self._step_s)
        self._due[self._now + max(1, steps)].append(guest)
        self.waiting += 1
