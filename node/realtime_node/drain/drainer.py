"""Does what `plan` decides: shuts the door, leases, closes clients. One task, from start to stop.

The internal API and signals change what is asked for and wake the task; it asks `plan.next_step`
what that means now, does it, and sleeps until something is due. A *shed* closes some clients of a
node that goes on serving, out of the same budget and by the same pace; a drain takes its place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final
from uuid import uuid4

import msgspec

from realtime_node.admission.door import Door
from realtime_node.cluster.allowance import Allowance, Lease
from realtime_node.drain import plan as plans
from realtime_node.drain.clients import Clients, Deck
from realtime_node.drain.pace import Pace, Permits, forced, wanted
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
from realtime_node.protocol import codes
from realtime_node.protocol.codes import CloseCode
from realtime_node.telemetry.metrics import DrainMetrics

logger = logging.getLogger(__name__)

DEFAULT_REASON: Final = "this node is being drained"
_SOONEST_RETRY_S: Final = 0.01


class DrainStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a node is on its way to being empty."""

    phase: str
    reason: str
    """Why, in the words of whoever asked."""
    id: str
    """Another for each drain; empty while there is none."""
    remaining: int
    """Clients still to be closed."""
    rate_per_s: float
    """Closes per second at this moment."""
    eta_s: float | None
    """Seconds until nobody is left, at this rate; null if that cannot be told."""
    deadline_in_s: float | None
    """Seconds until the deadline; null if there is none."""
    closed_total: int
    """Clients closed by drains and sheds since the node started."""


class Shed(msgspec.Struct, frozen=True, kw_only=True):
    """Clients of a serving node that are to go elsewhere."""

    count: int
    """How many were asked for."""
    remaining: int
    rate_per_s: float
    """As it was asked for; infinite, which JSON calls null: as fast as the budget allows."""


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
        self._allowance = allowance
        self._metrics = metrics
        self._propagation_s = propagation_s
        self._monotonic = monotonic
        self._random = random
        self._plan = Plan()
        self._shed: Shed | None = None
        self._id = ""
        self._closed_total = 0
        self._deck = Deck(clients, random)
        self._pace = Pace(random)
        self._permits = Permits()
        self._leased_per_s = UNLIMITED
        self._changed = asyncio.Event()
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
        self._task = asyncio.get_running_loop().create_task(self._work(), name="drain")

    async def stop(self) -> None:
        """Do nothing more; the door stays as it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # --- what is asked for ----------------------------------------------------------------------

    def order(self, order: Order) -> None:
        """Bring about an order of the API; the same order again changes nothing."""
        self._become(plans.ordered(self._plan, order, self._monotonic()))

    def abort(self) -> bool:
        """Serve again; False if that cannot be, since the process is about to end."""
        self._become(plans.aborted(self._plan))
        return self._plan.phase is Phase.SERVING

    def end(self, grace_s: float) -> None:
        """Empty the node for good, within a grace; asked again, hurry."""
        now = self._monotonic()
        if self._plan.end is None:
            self._become(plans.ending(self._plan, grace_s, now))
        else:
            logger.warning("asked to end once more: hurrying")
            self._become(plans.hurried(self._plan, now))

    def shed(self, count: int, rate_per_s: float) -> bool:
        """Close so many clients; 0 ends a shed. False if the node is to be empty anyway.

        While a shed is under way the same call changes nothing.
        """
        if self._plan.phase is not Phase.SERVING:
            return False
        shed = self._shed
        if not count:
            self._shed = None
        elif shed is None or (shed.count, shed.rate_per_s) != (count, rate_per_s):
            done = shed.count - shed.remaining if shed is not None else 0
            remaining = max(0, count - done)
            self._shed = Shed(count=count, remaining=remaining, rate_per_s=rate_per_s)
            logger.info("shedding %d clients", remaining)
        self._changed.set()
        return True

    async def wait_emptied(self) -> None:
        """Return when the process may end: it was asked to, and nobody is left."""
        await self._emptied.wait()

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
            closed_total=self._closed_total,
        )

    def _rate_now(self, plan: Plan, now: float) -> float:
        remaining = self._clients.num_open
        if plan.phase is Phase.FORCING and plan.end is not None:
            return remaining / max(0.1, plan.end.closed_by - now)
        step = next_step(plan, self._facts(), now)
        if plan.phase is not Phase.DRAINING or step.action is not Action.CLOSE:
            return 0.0
        rate = min(step.rate_per_s, self._leased_per_s)
        return rate if rate < UNLIMITED else 0.0

    # --- the task -------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self._do(next_step(self._plan, self._facts(), self._monotonic()))
            except Exception:
                # A bug of ours must not leave a node that never ends.
                logger.exception("drain: unexpected error")
                await asyncio.sleep(1)

    async def _do(self, step: Step) -> None:
        if step.event is not None:
            logger.info("drain: %s", step.reason)
            self._become(plans.moved(self._plan, step.event, self._monotonic()))
            return
        match step.action:
            case Action.CLOSE:
                cause = "drain"
                await self._close_next(step.rate_per_s, step.wake_at, codes.SHUTDOWN, cause)
            case Action.FORCE:
                await self._force()
            case Action.EXTEND:
                self._extend(step)
            case Action.WAIT if self._shed is not None:
                await self._shed_next(self._shed)
            case Action.WAIT:
                await self._sleep_until(step.wake_at)

    def _facts(self) -> Facts:
        return Facts(
            remaining=self._clients.num_open,
            accepted_at=self._door.accepted_at,
            propagation_s=self._propagation_s,
            leased_per_s=self._leased_per_s,
        )

    def _become(self, plan: Plan) -> None:
        before, self._plan = self._plan, plan
        if plan == before:
            return
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
            self._deck.clear()
            self._leased_per_s = UNLIMITED
        if plan.phase is Phase.DRAINED and plan.end is not None:
            self._emptied.set()
        self._changed.set()

    def _extend(self, step: Step) -> None:
        self._metrics.deadline_extensions.inc()
        now = self._monotonic()
        self._plan = plans.extended(self._plan, self._facts(), now)
        logger.warning("drain: %s: moved by %.0f s", step.reason, self._plan.extended_to - now)

    # --- closing --------------------------------------------------------------------------------

    async def _close_next(
        self, rate_per_s: float, until: float, close: CloseCode, cause: str
    ) -> bool:
        """Close the next client if it is due and there is a permit, else wait for what is missing.

        Returns whether one was closed. Comes back at `until`, and when something was asked for.
        """
        now = self._monotonic()
        rate = min(rate_per_s, self._leased_per_s)
        due_at = self._pace.due_at(rate, now)
        if due_at > now:
            await self._sleep_until(min(due_at, until))
            return False
        if not self._permits.has_one(now):
            lease = await self._lease(rate_per_s, now)
            if not lease.permits:
                pause = max(_SOONEST_RETRY_S, lease.retry_after_s)
                await self._sleep_until(min(self._monotonic() + pause, until))
            return False
        client = self._deck.draw()
        if client is None:
            await asyncio.sleep(0)
            return False
        self._permits.use()
        self._pace.took(rate)
        self._close(client.close, close, cause)
        return True

    async def _lease(self, rate_per_s: float, now: float) -> Lease:
        lease = await self._allowance.lease(wanted(rate_per_s, self._clients.num_open))
        self._permits.hold(lease.permits, now + lease.life_s)
        if lease.rate_per_s:
            self._leased_per_s = lease.rate_per_s
        self._metrics.leased(lease.permits, is_local=lease.is_local)
        return lease

    async def _shed_next(self, shed: Shed) -> None:
        if not shed.remaining or not self._clients.num_open:
            self._shed = None
            self._deck.clear()
            return
        if await self._close_next(shed.rate_per_s, NEVER, codes.FORCE_RECONNECT, "shed"):
            self._shed = msgspec.structs.replace(shed, remaining=shed.remaining - 1)

    async def _force(self) -> None:
        end = self._plan.end
        assert end is not None
        now = self._monotonic()
        batch = forced(self._clients.num_open, end.closed_by, now, self._random())
        for _ in range(batch.clients):
            client = self._deck.draw()
            if client is None:
                break
            self._close(client.close, codes.SHUTDOWN, "forced")
        await self._sleep_until(batch.wake_at)

    def _close(self, close: Callable[[CloseCode], None], code: CloseCode, cause: str) -> None:
        self._closed_total += 1
        self._metrics.closed(cause)
        close(code)

    async def _sleep_until(self, when: float) -> None:
        """Sleep until a time, or until something else is asked for."""
        pause = when - self._monotonic()
        if pause <= 0:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(None if pause == NEVER else pause):
                await self._changed.wait()
        except TimeoutError:
            pass


def _eta(remaining: int, rate_per_s: float, plan: Plan) -> float | None:
    if not remaining:
        return 0.0
    if not rate_per_s or plan.phase not in (Phase.DRAINING, Phase.FORCING):
        return None
    return round(remaining / rate_per_s, 1)
