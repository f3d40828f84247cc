"""What both rivals are to the rest of the simulation: nodes that someone looks after."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from heapq import heappop, heappush
from itertools import count
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from realtime_operator.simulate.nodes import Node

ZONES: Final = ("a", "b", "c")

T = TypeVar("T")


class Life(Enum):
    """What happens to a Pod by itself."""

    READY = auto()
    NOT_READY = auto()
    DELETED = auto()
    GONE = auto()


class Losses(NamedTuple):
    """Connections that ended in a step, and not because a client went."""

    closed: int = 0
    """Sent away: drains, sheds, Pods that were ended."""
    lost: int = 0
    """Because a machine was lost."""


class Census(NamedTuple):
    """Who is there; counted anew only after something has changed, since there may be many."""

    nodes: Sequence[Node]
    """All nodes with a process, or what is left of one: their clients count."""
    accepting: Sequence[Node]
    """Those that new clients are meant to come to."""
    pods: int
    """Pods that are paid for: those of lost machines are not."""
    leaving: int
    """Pods on their way out."""
    is_settled: bool
    """Whether nothing is on its way: all is of the newest image, and nobody comes or goes."""
    budget_per_s: float | None
    """What may be closed per second by its rules; None if it has none."""


class World(Protocol):
    """Nodes, and who decides about them. Times are seconds; each call is one step."""

    @property
    def census(self) -> Census:
        """Who is there."""

    def advance(self, now: float, passed_s: float) -> Losses:
        """Let everything but clients happen that happens until `now`."""

    def change_image(self) -> None:
        """Somebody asks for another image."""

    def lose_machines(self, *, share: float = 0.0, zone: str = "") -> None:
        """So many machines are gone from one moment to the next, or all of a zone."""

    def restore_zone(self, zone: str) -> None:
        """New Pods can be placed there again."""

    def silence(self, share: float) -> None:
        """So many nodes cannot be asked for their load any more; 0 ends that."""


class Timers(Generic[T]):
    """What is to happen to whom and when, in order."""

    def __init__(self) -> None:
        """Nothing is to happen yet."""
        self._due: list[tuple[float, int, T]] = []
        self._order = count()

    def at(self, when: float, what: T) -> None:
        """Something is to happen."""
        heappush(self._due, (when, next(self._order), what))

    def pop_due(self, now: float) -> list[T]:
        """What is to have happened by now."""
        popped = []
        while self._due and self._due[0][0] <= now:
            popped.append(heappop(self._due)[2])
        return popped


def emptiest_zone(counts: dict[str, int], lost: frozenset[str]) -> str:
    """Where the scheduler puts the next Pod: topology spread over the zones that are there."""
    there = [zone for zone in ZONES if zone not in lost]
    return min(there or ZONES, key=lambda zone: counts.get(zone, 0))
