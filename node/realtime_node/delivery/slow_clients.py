"""The congested clients of a node: what they may cost together, and how long each may stand still.

Every `Outbound` that becomes congested comes here and leaves when it is relieved or ended, so all
that is done for slow clients is done for those few. While there are any, a timer looks at them
twice a second: whose oldest message has waited too long is closed (3008), and who took nothing for
the write timeout, not even out of the kernel's buffer, is *stalled*: it cannot be told anything,
and is cut off (1006).

Full: when all that waits exceeds the budget, those with most waiting are cut off until the rest
fits; a close frame behind megabytes would not free them. Clients that are not congested are never
closed for it.
"""

from __future__ import annotations

from asyncio import WriteTransport
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import nlargest
from typing import TYPE_CHECKING, Final

from realtime_node.delivery.backlog import Backlog, Framing
from realtime_node.delivery.budget import Budget, Shared
from realtime_node.delivery.policies import Action, Reason
from realtime_node.protocol.deflate import Wire
from realtime_node.supervision import guard

if TYPE_CHECKING:
    from realtime_node.delivery.batching import Batch
    from realtime_node.delivery.flow import Policy
    from realtime_node.delivery.outbound import Congestion, Outbound
    from realtime_node.delivery.subscribers import Subscriber
    from realtime_node.telemetry.metrics import DeliveryMetrics, SlowClientMetrics

CHECK_EVERY_S: Final = 0.5
"""How exactly the time limits of slow clients are met."""
MOST_AT_ONCE: Final = 250
"""Clients looked at, or cut off, in one step of the loop: some milliseconds if all have to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowLimits:
    """What slow clients may cost."""

    client_bytes: int
    """Waiting for one client, over all channels and replies."""
    node_bytes: int
    """Waiting for all clients; a frame that waits for several is counted once."""
    write_timeout_s: float
    """How long a client may take nothing at all."""


class SlowClients:
    """All congested clients of one node."""

    def __init__(  # noqa: PLR0913 - what a node has once, given by the composition root
        self,
        limits: SlowLimits,
        framing: Framing,
        *,
        metrics: SlowClientMetrics,
        delivery_metrics: DeliveryMetrics,
        now: Callable[[], float],
        schedule: Callable[[float, Callable[[], None]], object],
        unsent_bytes: Callable[[WriteTransport], int],
    ) -> None:
        """Begin with none.

        `now` is in seconds of the monotonic clock, and `schedule` calls back so many seconds later
        and notes what that raises.
        `unsent_bytes` tells what a transport and the kernel hold for a client.
        """
        self.limits = limits
        self.budget = Budget(limits.node_bytes, self._exceeded)
        self.now = now
        self.unsent_bytes = unsent_bytes
        self.writing: Shared | None = None
        """The frame that a fan-out is writing: whoever becomes congested now holds this one."""
        self.unsent_total = 0
        """What transports and kernel held for all of them when they were last looked at."""
        self._schedule = schedule
        self._framing = framing
        self._metrics = metrics
        self._delivery_metrics = delivery_metrics
        self._outbounds: dict[Outbound, None] = {}
        self._is_looking = False
        self._to_look_at: list[Outbound] = []
        self._unsent_so_far = 0
        self._is_reclaiming = False

    def change(self, limits: SlowLimits) -> None:
        """Go by other limits; what waits for one client, from its next congestion on."""
        self.limits = limits
        self.budget.limit_bytes = limits.node_bytes
        if self.budget.bytes > limits.node_bytes:
            self._exceeded()

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._outbounds)

    # --- a fan-out's side ----------------------------------------------------------------------

    def offer(self, subscribers: Iterable[Subscriber], batch: Batch) -> None:
        """Hand a batch to clients that may be congested."""
        now = self.now()
        kept = skipped = 0
        for subscriber in subscribers:
            action = subscriber.outbound.offer(batch, now)
            kept += action is Action.KEEP
            skipped += action is Action.SKIP
        self._metrics.kept(batch.rule.policy, kept * len(batch.messages))
        self._metrics.skipped(batch.rule.policy, skipped * len(batch.messages))

    # --- an outbound's side --------------------------------------------------------------------

    def backlog(self, wire: Wire) -> Backlog:
        """Return an empty backlog for a client that reads frames as `wire` says."""
        return Backlog(self.budget, self._framing, self.limits.client_bytes, wire)

    def congested(self, outbound: Outbound) -> None:
        """Know a client that became congested."""
        self._outbounds[outbound] = None
        if not self._is_looking:
            self._is_looking = True
            self._schedule(CHECK_EVERY_S, self._look)

    def relieved(self, outbound: Outbound, congestion: Congestion) -> None:
        """Forget a client that is not congested any more."""
        self._outbounds.pop(outbound, None)
        self._metrics.replaced(congestion.backlog.replaced)

    def delivered(self, messages: int) -> None:
        """Count messages of channels that were written after they had waited."""
        self._delivery_metrics.deliveries.inc(messages)

    def gave_up(self, policy: Policy | None, reason: Reason) -> None:
        """Count a client that has to go."""
        self._metrics.closed(policy, reason)

    # --- time ----------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look at the next clients, and at all anew once those have had their turn."""
        try:
            self.check()
        finally:
            self._is_looking = bool(self._to_look_at or self._outbounds)
            if self._is_looking:
                self._schedule(0 if self._to_look_at else CHECK_EVERY_S, self._look)

    def check(self) -> None:
        """Close whose messages are too old, and cut off who takes nothing at all."""
        now = self.now()
        if not self._to_look_at:
            self._to_look_at = list(self._outbounds)
            self._unsent_so_far = 0
        part = self._to_look_at[-MOST_AT_ONCE:]
        del self._to_look_at[-MOST_AT_ONCE:]
        for outbound in part:
            congestion = outbound.congestion
            if congestion is None:
                continue
            # Of the kernel and of sessions: what one of them raises is not the others' to wait for.
            with guard("slow-clients"):
                self._check(outbound, congestion, now)
            self._unsent_so_far += congestion.unsent_bytes
        if not self._to_look_at:
            self.unsent_total = self._unsent_so_far

    def _check(self, outbound: Outbound, congestion: Congestion, now: float) -> None:
        try:
            unsent = self.unsent_bytes(outbound.transport)
            if unsent < congestion.unsent_bytes:
                congestion.moved_at = now
            congestion.unsent_bytes = unsent
        finally:
            # Of one that cannot be asked it is not known that it took anything.
            if now - congestion.moved_at >= self.limits.write_timeout_s:
                outbound.give_up(None, Reason.STALLED)
            elif (overdue := congestion.backlog.overdue(now)) is not None:
                rule, verdict = overdue
                outbound.give_up(rule.policy, verdict.reason)

    # --- memory --------------------------------------------------------------------------------

    def _exceeded(self) -> None:
        if not self._is_reclaiming:
            self._is_reclaiming = True
            # Not at once: we are in the middle of a fan-out that counts on its members.
            self._schedule(0, self.reclaim)

    def reclaim(self) -> None:
        """Cut off those with most waiting until the rest fits the budget, a part at a time."""
        self._is_reclaiming = False
        before = len(self._outbounds)
        worst_first = nlargest(MOST_AT_ONCE, self._outbounds, key=_burden)
        for outbound in worst_first:
            if self.budget.bytes <= self.limits.node_bytes:
                return
            with guard("slow-clients"):
                outbound.give_up(None, Reason.NODE_BYTES)
            with guard("slow-clients"):
                outbound.lost()
        if self.budget.bytes > self.limits.node_bytes and len(self._outbounds) < before:
            self._exceeded()


def _burden(outbound: Outbound) -> int:
    return outbound.waiting_bytes
