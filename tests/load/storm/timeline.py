"""What the members of a crowd told, put together: the time line that scenarios judge. Pure."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.load.storm import rates
from tests.load.storm.histogram import Histogram
from tests.load.storm.messages import GROUPS, Second, Times
from tests.load.storm.rates import Demand


@dataclass(frozen=True)
class Moment:
    """One second of a run, for a picture."""

    second: int
    here: int
    """Clients that were connected and subscribed at its end."""
    attempts: int
    admitted: int
    refused: int
    closed: int
    admitted_by_node: dict[str, int]
    closed_by_node: dict[str, int]


@dataclass
class Timeline:
    """Grows by every `Second` that is told."""

    attempts: Times = field(default_factory=lambda: defaultdict(list))
    upgrades: Times = field(default_factory=lambda: defaultdict(list))
    joins: Times = field(default_factory=lambda: defaultdict(list))
    closes: dict[int, Times] = field(default_factory=lambda: defaultdict(dict))
    refusals: dict[str, Times] = field(default_factory=lambda: defaultdict(dict))
    latencies: dict[str, Histogram] = field(
        default_factory=lambda: {group: Histogram() for group in GROUPS}
    )
    here: list[tuple[float, int, int]] = field(default_factory=list)
    """Time, member, and how many of its clients were here."""

    def add(self, member: int, second: Second) -> None:
        """Take what a member told."""
        _extend(self.attempts, second.attempts)
        _extend(self.upgrades, second.upgrades)
        _extend(self.joins, second.joins)
        for code, times in second.closes.items():
            _extend(self.closes[code], times)
        for reason, times in second.refusals.items():
            _extend(self.refusals[reason], times)
        for group, bins in second.latencies.items():
            self.latencies[group].add(bins)
        self.here.append((second.at_s, member, second.here))

    def closed(self, node: int, code: int | None = None) -> list[float]:
        """Return when a node's connections ended, in order; with this code, or with any."""
        codes = self.closes if code is None else [code]
        return sorted(time for each in codes for time in self.closes[each].get(node, []))

    def refused(self, node: int) -> list[float]:
        """Return when a node's answer was no, or there was none, in order."""
        return sorted(time for times in self.refusals.values() for time in times.get(node, []))

    def demand(self, node: int) -> Demand:
        """Return who knocked at a node and what became of them."""
        # After an upgrade a client can still be refused (error 111): it was not waiting any more.
        upgraded = self.upgrades.get(node, [])
        refused = [
            time
            for reason, times in self.refusals.items()
            if not reason.startswith("error") and reason != "no reply"
            for time in times.get(node, [])
        ]
        return Demand(sorted(self.attempts.get(node, [])), sorted(upgraded), sorted(refused))

    def troubles(self) -> str:
        """Say in words what kept clients away."""
        refusals = {reason: _count(times) for reason, times in self.refusals.items()}
        closes = {code: _count(times) for code, times in self.closes.items()}
        return (
            f"attempts {_count(self.attempts)}, upgrades {_count(self.upgrades)},"
            f" joins {_count(self.joins)}, refused {refusals}, closed {closes}"
        )

    def moments(self, begun: float, ended: float, names: Mapping[int, str]) -> list[Moment]:
        """Return what happened second by second."""
        seconds = max(int(ended - begun), 0)

        def per_second(times: Iterable[float]) -> list[int]:
            return rates.by_second(times, begun, seconds)

        admitted = {name: per_second(self.upgrades.get(node, [])) for node, name in names.items()}
        closed = {name: per_second(self.closed(node)) for node, name in names.items()}
        attempts = per_second(time for times in self.attempts.values() for time in times)
        refused = per_second(time for node in names for time in self.refused(node))
        here = self._here_by_second(begun, seconds)
        return [
            Moment(
                second=second,
                here=here[second],
                attempts=attempts[second],
                admitted=sum(counts[second] for counts in admitted.values()),
                refused=refused[second],
                closed=sum(counts[second] for counts in closed.values()),
                admitted_by_node={name: counts[second] for name, counts in admitted.items()},
                closed_by_node={name: counts[second] for name, counts in closed.items()},
            )
            for second in range(seconds)
        ]

    def _here_by_second(self, begun: float, seconds: int) -> list[int]:
        latest: dict[int, int] = {}
        told = iter(sorted(self.here))
        pending = next(told, None)
        counts = []
        for second in range(seconds):
            while pending is not None and pending[0] <= begun + second + 1:
                latest[pending[1]] = pending[2]
                pending = next(told, None)
            counts.append(sum(latest.values()))
        return counts


def _count(times: Times) -> int:
    return sum(map(len, times.values()))


def _extend(times: Times, more: Times) -> None:
    for node, added in more.items():
        times.setdefault(node, []).extend(added)


def as_dicts(moments: Iterable[Moment]) -> list[dict[str, object]]:
    """Return moments as they are kept in a report."""
    return [dataclasses.asdict(moment) for moment in moments]
