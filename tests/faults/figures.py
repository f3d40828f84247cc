"""What a fault did, in numbers: one line per case, and the table of all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.support.publishing_load import PublishingLoad
    from tests.support.recovering_client import RecoveringClient


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Publications, then deliveries, then clients; the order of the table's columns."""

    acknowledged: int
    refused: int
    """With the temporary error 100."""
    unknown: int
    """Publications that were not answered."""
    deliveries: int
    lost: int
    """Acknowledged, never delivered, and the subscriber was not told: summed over subscribers."""
    doubled: int
    disordered: int
    """At a subscriber, or within a batch."""
    reconnects: int
    resubscribes: int
    """Subscriptions that a node took away (2500), and recoveries it answered `recovered: false`."""
    told: int
    """Clients that were told that something may be missing."""
    slowest_answer_s: float
    last_back_after_s: float
    """From the end of the fault until every client had a publication from after it."""
    closes: Counter[int]
    """Codes with which connections ended."""
    reached: float
    """Which part of the rate asked for was sent."""

    @classmethod
    def of(
        cls, load: PublishingLoad, clients: Sequence[RecoveringClient], last_back_after_s: float
    ) -> Figures:
        """Count."""
        readings = [client.reading for client in clients]
        verdicts = [load.ledger.judge(reading) for reading in readings]
        return cls(
            acknowledged=load.ledger.count,
            refused=load.refused,
            unknown=load.unknown,
            deliveries=sum(reading.count for reading in readings),
            lost=sum(verdict.lost for verdict in verdicts),
            doubled=sum(verdict.doubled for verdict in verdicts),
            disordered=load.disordered + sum(verdict.disordered for verdict in verdicts),
            reconnects=sum(client.connections - 1 for client in clients),
            resubscribes=sum(
                max(client.unsubscribes, client.reading.times_told) for client in clients
            ),
            told=sum(reading.times_told > 0 for reading in readings),
            slowest_answer_s=load.slowest_s,
            last_back_after_s=last_back_after_s,
            closes=sum((client.closes for client in clients), Counter()),
            reached=load.reached,
        )

    def assert_nothing_lost(self) -> None:
        """Fail unless all was delivered once and in order to all who were not told."""
        assert (self.lost, self.doubled, self.disordered) == (0, 0, 0), self
        assert self.reached >= 0.9, self
        assert self.acknowledged > 0 < self.deliveries, self

    def assert_undisturbed(self) -> None:
        """Fail unless nothing was lost and no client had to do anything."""
        self.assert_nothing_lost()
        assert (self.reconnects, self.resubscribes, self.told) == (0, 0, 0), self


_COLUMNS: Final = [
    field.name for field in fields(Figures) if field.name not in {"closes", "reached"}
]


def line(case: str, figures: Figures) -> str:
    """Return one line for the output of a test."""
    return f"{case}: " + ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in _values(figures).items()
    )


def table(rows: Iterable[tuple[str, Figures]]) -> str:
    """Return all cases as a table in Markdown."""
    lines = [
        "| fault | " + " | ".join(name.replace("_", " ") for name in _COLUMNS) + " |",
        "|---" + "|--:" * len(_COLUMNS) + "|",
    ]
    lines += [
        f"| {case} | " + " | ".join(_values(figures).values()) + " |" for case, figures in rows
    ]
    return "\n".join(lines) + "\n"


def _values(figures: Figures) -> dict[str, str]:
    values = {name: getattr(figures, name) for name in _COLUMNS}
    return {
        name: f"{value:.2f}" if isinstance(value, float) else f"{value:,}"
        for name, value in values.items()
    }
