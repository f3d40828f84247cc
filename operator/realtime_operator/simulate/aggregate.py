"""A crowd of any size, as counts: whom something happens to is drawn from the stated laws."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from random import Random

from realtime_operator.simulate.backoff import MOST_FAILURES, Backoff
from realtime_operator.simulate.crowd import NOTICING
from realtime_operator.simulate.nodes import Node
from realtime_operator.simulate.sampling import split


class AggregateCrowd:
    """Clients as numbers on nodes, and numbers in a ring of steps to come."""

    reconnects: Mapping[int, int] | None = None

    def __init__(
        self, random: Random, backoff: Backoff, noticed_after_s: tuple[float, float], step_s: float
    ) -> None:
        """Nobody is there yet; steps take `step_s`."""
        self._random = random
        self._step_s = step_s
        self._bounds_s = {
            failures: backoff.bounds_s(failures) for failures in range(MOST_FAILURES + 1)
        }
        self._bounds_s[NOTICING] = noticed_after_s
        self._weights = {each: self._shares(*bounds) for each, bounds in self._bounds_s.items()}
        self._due: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self._batch: Counter[int] = Counter()
        self._queued = 0
        self._now = 0
        self.waiting = 0

    def seat(self, node: Node, count: int) -> None:
        """Clients are connected from the beginning."""
        node.clients += count

    def forget(self) -> None:
        """Nobody's reconnects are counted here."""

    def join(self, count: int) -> None:
        """New clients knock in the next step."""
        self._due[self._now + 1][0] += count
        self.waiting += count

    def leave(self, node: Node, count: int) -> None:
        """Connected clients go for good."""
        node.clients -= count

    def lose(self, node: Node, count: int, *, unnoticed: bool = False) -> None:
        """Connections end."""
        node.clients -= count
        self._come_back(count, NOTICING if unnoticed else 0)

    def drop(self, node: Node) -> None:
        """All at a door are turned away."""
        self._come_back(node.queued, 1)
        node.queued = 0

    def due(self, step: int) -> int:
        """How many knock in this step."""
        self._now = step
        self._batch = self._due.pop(step, Counter())
        noticing = self._batch.pop(NOTICING, 0)
        if noticing:
            self.waiting -= noticing
            self._come_back(noticing, 0)
        self._queued = 0
        return self._batch.total()

    def knock(self, node: Node, count: int, let_in: int, admitted: int) -> None:
        """The next of those due come to a node; who is not queued anywhere is told by `settle`."""
        del count
        node.queued += let_in - admitted
        node.clients += admitted
        self._queued += let_in

    def settle(self) -> int:
        """Who is queued is drawn from all who knocked; the others back off."""
        total = self._batch.total()
        self.waiting -= total
        refused = total - self._queued
        if refused:
            kinds = sorted(self._batch)
            counts = split(self._random, refused, [self._batch[each] for each in kinds])
            for failures, count in zip(kinds, counts, strict=True):
                self._come_back(count, min(failures + 1, MOST_FAILURES))
        return refused

    def _come_back(self, count: int, failures: int) -> None:
        if not count:
            return
        self.waiting += count
        first, shares = self._weights[failures]
        for offset, here in enumerate(split(self._random, count, shares)):
            self._due[self._now + first + offset][failures] += here

    def _shares(self, least_s: float, most_s: float) -> tuple[int, list[float]]:
        """The first step in which one comes back, and how likely it and those after it are."""
        begin, end = 0.5 + least_s / self._step_s, 0.5 + most_s / self._step_s
        first, last = int(begin), int(end)
        if last <= max(first, 1):
            return max(1, first), [1.0]
        shares = [min(end, step + 1.0) - max(begin, step) for step in range(first, last + 1)]
        if first == 0:  # not in the step that is under way
            shares[:2] = [shares[0] + shares[1]]
            first = 1
        return first, shares
