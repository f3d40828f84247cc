"""What a node says at `/status`, and what the operator takes from it.

`ReportedStatus.read` is lenient: a field that a node of another version lacks has a default, one
that it has more is ignored. Numbers that cannot be (fewer than no clients, a loop that works more
than always) make the whole answer worthless: who says them may say anything. tests/contract holds
it and the node's own description equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

from msgspec import DecodeError, Meta, Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from realtime_operator.decide.snapshot import NodeStatus

_Count = Annotated[int, Meta(ge=0)]


class ReportedDrain(Struct, frozen=True):
    """How the node's drain goes."""

    phase: str = "serving"
    eta_s: float | None = None
    closed_total: _Count = 0


class ReportedShed(Struct, frozen=True):
    """Clients that a node that serves sends elsewhere."""

    remaining: _Count = 0


class ReportedBudget(Struct, frozen=True):
    """The reconnect budget as the node knows it."""

    connections_per_second_per_node: float | None = None


class ReportedStatus(Struct, frozen=True):
    """What is read of a node's answer; only `read` sees to it that the numbers can be."""

    boot_id: str
    num_clients: _Count
    accepting: bool = True
    backplane_available: bool = True
    accepted_total: _Count = 0
    connects_total: _Count = 0
    deliveries_total: _Count = 0
    loop_busy: Annotated[float, Meta(ge=0, le=1.5)] | None = None
    """Measured by two clocks, it may be a little above 1. Of half a second: what is steered by is
    measured over longer, by the counter that follows."""
    loop_busy_s_total: Annotated[float, Meta(ge=0)] | None = None
    """Seconds that the loop has worked; a node of an earlier version does not say."""
    drain: ReportedDrain = ReportedDrain()
    shed: ReportedShed | None = None
    budget: ReportedBudget = ReportedBudget()

    @staticmethod
    def read(body: bytes | bytearray) -> ReportedStatus | None:
        """What a node has answered, as JSON; None if it is nothing that could be a status."""
        try:
            return _decoder.decode(body)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            return None


_decoder: Final = Decoder(ReportedStatus)


class _Watched(Struct, frozen=True):
    """What a node said last, and since when it has said so."""

    accepted_total: int
    quiet_since: float
    phase: str
    phase_since: float


class Quietness:
    """Since when nodes have let in nobody, and have been in their phase of a drain.

    There is one entry for each boot that answered last. They may be lost: a node that was just met
    counts as one that has just let in somebody, and has just come into its phase.
    """

    def __init__(self) -> None:
        """Begin without knowing anybody."""
        self._by_boot: dict[str, _Watched] = {}

    def seen(self, report: ReportedStatus, now: float) -> NodeStatus:
        """What the operator knows of a node after this answer."""
        accepted, phase = report.accepted_total, report.drain.phase
        known = self._by_boot.get(report.boot_id)
        if known is None:
            known = _Watched(accepted, now, phase, now)
        if known.accepted_total != accepted:
            known = replace(known, accepted_total=accepted, quiet_since=now)
        if known.phase != phase:
            known = replace(known, phase=phase, phase_since=now)
        self._by_boot[report.boot_id] = known
        return NodeStatus(
            boot_id=report.boot_id,
            num_clients=report.num_clients,
            accepting=report.accepting,
            backplane_available=report.backplane_available,
            drain_phase=phase,
            eta_s=report.drain.eta_s,
            budget_per_s=report.budget.connections_per_second_per_node,
            quiet_s=now - known.quiet_since,
            phase_s=now - known.phase_since,
            shed_remaining=report.shed.remaining if report.shed else None,
        )

    def keep_only(self, boot_ids: Iterable[str]) -> None:
        """Forget the nodes that are gone, so that no more is kept than there are nodes."""
        self._by_boot = {each: self._by_boot[each] for each in boot_ids if each in self._by_boot}
