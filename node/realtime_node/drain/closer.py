"""Closes clients one by one: each in its slot, each with a permit, and the rest by force.

`close_next` does one thing and comes back, so that whoever asks can think anew before the next;
what was asked for meanwhile wakes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from realtime_node.cluster.allowance import Allowance, Lease
from realtime_node.cluster.held_permits import HeldPermits
from realtime_node.drain.clients import Client, Clients, Deck
from realtime_node.drain.pace import Pace, forced, wanted
from realtime_node.drain.plan import NEVER, UNLIMITED
from realtime_node.protocol import codes
from realtime_node.protocol.codes import CloseCode
from realtime_node.supervision import guard
from realtime_node.telemetry.metrics import DrainMetrics


class Kind(NamedTuple):
    """Why clients are closed: what they are told, and what is counted."""

    close: CloseCode
    cause: str


DRAIN: Final = Kind(codes.SHUTDOWN, "drain")
FORCED: Final = Kind(codes.SHUTDOWN, "forced")
SHED: Final = Kind(codes.FORCE_RECONNECT, "shed")

_SOONEST_RETRY_S: Final = 0.01
_LOOK_AGAIN_S: Final = 0.05


class Closer:
    """The pace, the permits in our hands, and who is next."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        clients: Clients,
        allowance: Allowance,
        metrics: DrainMetrics,
        changed: asyncio.Event,
        *,
        monotonic: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        """Close `clients` at what `allowance` leases; `changed` ends every sleep."""
        self._clients = clients
        self._allowance = allowance
        self._metrics = metrics
        self._changed = changed
        self._monotonic = monotonic
        self._random = random
        self._deck = Deck(clients, random)
        self._pace = Pace(random)
        self._permits = HeldPermits()
        self.leased_per_s = UNLIMITED
        """What the budget gives this node; `UNLIMITED` before it was asked."""
        self.closed_total = 0
        """Clients closed since the node started."""

    def forget(self) -> None:
        """Hold on to no client, and to no old word of the budget."""
        self._deck.clear()
        self.leased_per_s = UNLIMITED

    async def close_next(self, kind: Kind, rate_per_s: float, remaining: int, until: float) -> bool:
        """Close the next client if it is due and there is a permit, else wait for what is missing.

        Returns whether one was closed; then nothing else happened in between. Comes back at
        `until`, and when something was asked for.
        """
        now = self._monotonic()
        rate = min(rate_per_s, self.leased_per_s)
        due_at = self._pace.due_at(rate, now)
        if due_at > now:
            await self.sleep_until(min(due_at, until))
            return False
        if not self._permits.count(now):
            lease = await self._lease(wanted(rate_per_s, remaining), now)
            if not lease.permits:
                pause = max(_SOONEST_RETRY_S, lease.retry_after_s)
                await self.sleep_until(min(self._monotonic() + pause, until))
            return False
        client = self._deck.draw()
        if client is None:
            await self.sleep_until(now + _LOOK_AGAIN_S)
            return False
        self._permits.use()
        self._pace.took(rate)
        self._close(client, kind)
        return True

    async def force(self, closed_by: float) -> None:
        """Close the next batch of those who have to be gone by a time, and wait for the next."""
        now = self._monotonic()
        batch = forced(self._clients.num_open, closed_by, now, self._random())
        for _ in range(batch.clients):
            client = self._deck.draw()
            if client is None:
                break
            self._close(client, FORCED)
        await self.sleep_until(batch.wake_at)

    async def sleep_until(self, when: float) -> None:
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

    async def _lease(self, permits: int, now: float) -> Lease:
        lease = await self._allowance.lease(permits)
        self._permits.take(lease, now)
        if lease.rate_per_s:
            self.leased_per_s = lease.rate_per_s
        self._metrics.leased(lease.permits, is_local=lease.is_local)
        return lease

    def _close(self, client: Client, kind: Kind) -> None:
        self.closed_total += 1
        self._metrics.closed(kind.cause)
        with guard("drain"):  # or one that cannot be closed keeps the others from it
            client.close(kind.close)
