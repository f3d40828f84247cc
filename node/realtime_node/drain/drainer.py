"""Does what `plan` decides: shuts the door, leases, closes clients. One task, from start to stop.

The internal API and signals change what is asked for and wake the task; it asks `plan.next_step`
what that means now, does it, and sleeps until something is due. A *shed* closes some clients of a
node that goes on serving, out of the same budget and by the same pace; a drain takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final
from uuid import uuid4

import msgspec

from realtime_node.admission.door import Door
from realtime_node.cluster.allowance import Allowance
from realtime_node.drain import orders
from realtime_node.drain import plan as plans
from realtime_node.drain.clients import Clients
from realtime_node.drain.closer import DRAIN, SHED, Closer
from realtime_node.drain.plan import (
    NEVER,
    UNLIMITED,
    Action,
    Facts,
    Order,
    Phase,
    Plan,
    Step,
    next_step,
)
from realtime_node.drain.status import DrainStatus, Shed
from realtime_node.supervision import supervise
from realtime_node.telemetry.metrics import DrainMetrics

logger = logging.getLogger(__name__)

DEFAULT_REASON: Final = "this node is being drained"
_LOOK_AT_CLOCK_EVERY_S: Final = 1.0
"""A node that is to end may be told to be faster meanwhile."""


class Drainer:
    """The drain of one node."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        clients: Clients,
        door: Door,
        allowance: Allowance,
        metrics: DrainMetrics,
        *,
        propagation_s: float,
        monotonic: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        """Close `clients` at what `allowance` leases; `propagation_s` after the door is shut."""
        self._clients = clients
        self._door = door
        self._metrics = metrics
        self.propagation_s = propagation_s
        self._monotonic = monotonic
        self._plan = Plan()
        self._shed: Shed | None = None
        self._id = ""
        self._changed = asyncio.Event()
        self._closer = Closer(
            clients, allowance, metrics, self._changed, monotonic=monotonic, random=random
        )
        self._is_signalled = False
        self._ending = asyncio.Event()
        self._emptied = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        metrics.follow(
            [phase.value for phase in Phase],
            lambda: self._plan.phase.value,
            lambda: self.status().remaining,
        )

    # --- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to do what is asked for."""
        self._task = supervise(self._work, name="drain")

    async def stop(self) -> None:
        """Do nothing more; the door stays as it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # --- what is asked for ----------------------------------------------------------------------

    def order(self, order: Order) -> None:
        """Bring about an order of the API; the same order again changes nothing."""
        self._become(orders.ordered(self._plan, order, self._monotonic()))

    def abort(self) -> bool:
        """Serve again; False if that cannot be, since the process is about to end."""
        self._become(orders.aborted(self._plan))
        return self._plan.phase is Phase.SERVING

    def end(self, grace_s: float) -> None:
        """Empty the node for good, within a grace; asked again, hurry."""
        now = self._monotonic()
        if not self._is_signalled:
            self._is_signalled = True
            self._become(orders.ending(self._plan, grace_s, now))
        else:
            logger.warning("asked to end once more: hurrying")
            self._become(orders.hurried(self._plan, now))

    def end_itself(self, grace_s: float, reason: str) -> None:
        """Empty the node for good because the node wants it; a signal later does not hurry yet."""
        self._become(orders.ending(self._plan, grace_s, self._monotonic(), reason))

    def shed(self, count: int, rate_per_s: float) -> bool:
        """Close so many clients; 0 ends a shed. False if the node is to be empty anyway.

        While a shed is under way the same call changes nothing.
        """
        if self._plan.phase is not Phase.SERVING:
            return False
        shed = self._shed
        if not count:
            self._end_shed()
        elif shed is None or (shed.count, shed.rate_per_s) != (count, rate_per_s):
            done = shed.count - shed.remaining if shed is not None else 0
            remaining = max(0, count - done)
            self._shed = Shed(count=count, remaining=remaining, rate_per_s=rate_per_s)
            logger.info("shedding %d clients", remaining)
        self._changed.set()
        return True

    async def wait_emptied(self) -> None:
        """Return when the process may end: it was asked to, and nobody is left.

        If clients are left when the last was to be closed, something is broken here: then that is
        left to `Node.stop`, for the process has to end all the same.
        """
        await self._ending.wait()
        while not self._emptied.is_set():
            late_s = self._monotonic() - self._emptied_by
            if late_s >= 0:
                logger.error("drain: not done in time, the node ends without it")
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(-late_s, _LOOK_AT_CLOCK_EVERY_S)):
                    await self._emptied.wait()

    @property
    def _emptied_by(self) -> float:
        """When nobody can be left: half of the time for goodbyes after the last is closed."""
        end = self._plan.end
        return NEVER if end is None else (end.closed_by + end.exit_at) / 2

    # --- what can be seen -----------------------------------------------------------------------

    @property
    def is_ending(self) -> bool:
        """Whether the process was asked to end."""
        return self._plan.end is not None

    @property
    def exit_at(self) -> float:
        """When the process has to be gone; `NEVER` if it was not asked to."""
        return NEVER if self._plan.end is None else self._plan.end.exit_at

    @property
    def shedding(self) -> Shed | None:
        """The shed under way."""
        return self._shed

    def status(self) -> DrainStatus:
        """Describe the drain at this moment."""
        now, plan = self._monotonic(), self._plan
        is_leaving = plan.phase is not Phase.SERVING
        remaining = self._clients.num_open if is_leaving else 0
        rate = self._rate_now(plan, now)
        deadline_in = plan.deadline_at - now
        return DrainStatus(
            phase=plan.phase.value,
            reason=plan.order.reason if plan.order is not None else "",
            id=self._id,
            remaining=remaining,
            rate_per_s=round(rate, 3),
            eta_s=_eta(remaining, rate, plan),
            deadline_in_s=None if deadline_in == NEVER else round(deadline_in, 3),
            closed_total=self._closer.closed_total,
        )

    def _rate_now(self, plan: Plan, now: float) -> float:
        remaining = self._clients.num_open
        if plan.phase is Phase.FORCING and plan.end is not None:
            return remaining / max(0.1, plan.end.closed_by - now)
        step = next_step(plan, self._facts(), now)
        if plan.phase is not Phase.DRAINING or step.action is not Action.CLOSE:
            return 0.0
        rate = min(step.rate_per_s, self._closer.leased_per_s)
        return rate if rate < UNLIMITED else 0.0

    # --- the task -------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            self._changed.clear()
            await self._do(next_step(self._plan, self._facts(), self._monotonic()))

    async def _do(self, step: Step) -> None:
        if step.event is not None:
            logger.info("drain: %s", step.reason)
            self._become(plans.moved(self._plan, step.event, self._monotonic()))
            return
        match step.action:
            case Action.CLOSE:
                remaining = self._clients.num_open
                await self._closer.close_next(DRAIN, step.rate_per_s, remaining, step.wake_at)
            case Action.FORCE:
                await self._closer.force(self._plan.deadline_at)
            case Action.EXTEND:
                self._extend(step)
            case Action.WAIT if self._shed is not None:
                await self._shed_next(self._shed)
            case Action.WAIT:
                await self._closer.sleep_until(step.wake_at)

    def _facts(self) -> Facts:
        return Facts(
            remaining=self._clients.num_open,
            accepted_at=self._door.accepted_at,
            propagation_s=self.propagation_s,
            leased_per_s=self._closer.leased_per_s,
        )

    def _become(self, plan: Plan) -> None:
        before, self._plan = self._plan, plan
        if plan == before:
            return
        try:
            self._follow(before, plan)
        finally:
            # Whatever went wrong on the way, a node that is to end does.
            if plan.end is not None:
                self._ending.set()
                if plan.phase is Phase.DRAINED:
                    self._emptied.set()
            self._changed.set()

    def _follow(self, before: Plan, plan: Plan) -> None:
        """Do what a change of the plan means for the door, and say so."""
        reason = plan.order.reason if plan.order is not None else ""
        if plan.phase is Phase.SERVING:
            self._door.uncordon()
            self._id = ""
        else:
            self._door.cordon(reason or DEFAULT_REASON)
            self._shed = None
        if before.phase is Phase.SERVING:
            self._id = uuid4().hex
        if plan.phase is not before.phase:
            level = logging.WARNING if plan.phase is Phase.FORCING else logging.INFO
            remaining = self._clients.num_open
            logger.log(level, "drain: %s, %d clients: %s", plan.phase.value, remaining, reason)
        if plan.phase not in (Phase.DRAINING, Phase.FORCING):
            self._closer.forget()

    def _extend(self, step: Step) -> None:
        self._metrics.deadline_extensions.inc()
        now = self._monotonic()
        self._plan = plans.extended(self._plan, self._facts(), now)
        logger.warning("drain: %s: moved by %.0f s", step.reason, self._plan.extended_to - now)

    def _end_shed(self) -> None:
        self._shed = None
        self._closer.forget()

    async def _shed_next(self, shed: Shed) -> None:
        if not shed.remaining or not self._clients.num_open:
            self._end_shed()
            return
        if await self._closer.close_next(SHED, shed.rate_per_s, shed.remaining, NEVER):
            self._shed = msgspec.structs.replace(shed, remaining=shed.remaining - 1)


def _eta(remaining: int, rate_per_s: float, plan: Plan) -> float | None:
    if not remaining:
        return 0.0
    if not rate_per_s or plan.phase not in (Phase.DRAINING, Phase.FORCING):
        return None
    return round(remaining / rate_per_s, 1)
