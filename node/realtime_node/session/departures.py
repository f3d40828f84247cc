"""Departures: presence entries to take out and leaves to announce, until the store has them.

A client that goes takes nobody's time: its channels are noted here and one task works them off. A
presence entry of a living node never expires by itself, so a departure is repeated until the
store took it; a leave is announced once, when it did.

A client with a session may be *held*: it stays present until its grace ends, unless it is back,
here or on another node, whose entry then takes the place of ours. Who was never gone for the others
has not left.

Bounds: one note per subscription with presence that there was on this node. They are kept through
an outage of the store and worked off (`chore`) after it. With `MAX_PENDING` of them nobody new
becomes present (`subscribing`): those who come and go meanwhile leave nothing more to be told.
`max_held` clients are held; further ones leave at once.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Callable
from itertools import islice
from typing import Final, NamedTuple

from realtime_node.cluster.backplane import Backplane, EntryKind
from realtime_node.cluster.presence import PresenceStore
from realtime_node.errors import BackplaneError
from realtime_node.protocol.messages import ClientInfo
from realtime_node.session.chore import Chore, Step
from realtime_node.supervision import guard, guarded

logger = logging.getLogger(__name__)

MAX_PENDING: Final = 100_000
"""More than a node has subscriptions of clients that all go in one moment, in the usual case."""
_SPARE_ENDS: Final = 1_000
MOST_RELEASED: Final = 1_000
"""Clients whose grace has ended that are noted in one step of the loop; the others in the next."""


class Departure(NamedTuple):
    """A client that left a channel."""

    info: ClientInfo
    has_presence: bool
    announces: bool
    token: int = 0
    """That of the session's record: a later connection's presence stays. 0: it has no session."""


class Departures:
    """What is still to be told about clients that are gone."""

    def __init__(
        self,
        backplane: Backplane,
        presence: PresenceStore,
        *,
        max_held: int = 100_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Tell `presence` and, through `backplane`, the channel; `monotonic` in seconds."""
        self._backplane = backplane
        self._presence = presence
        self._max_held = max_held
        self._monotonic = monotonic
        self._pending: dict[tuple[str, str], Departure] = {}
        # With the end of its grace, which also stands in the heap.
        self._held: dict[tuple[str, str], tuple[float, Departure]] = {}
        self._ends: list[tuple[float, tuple[str, str]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._chore = Chore("departures", self._next_steps)

    def __len__(self) -> int:
        """Return how many departures are not worked off yet."""
        return len(self._pending)

    @property
    def is_full(self) -> bool:
        """Whether so much is to be told that nobody new may become present."""
        return len(self._pending) >= MAX_PENDING

    @property
    def num_held(self) -> int:
        """How many clients, once per channel, are away and still present."""
        return len(self._held)

    def add(self, channel: str, departure: Departure, *, after_s: float = 0) -> None:
        """Note a departure; hold it for so long, if there is room."""
        key = channel, departure.info.client
        self._held.pop(key, None)
        if after_s and len(self._held) < self._max_held:
            self._hold(key, departure, self._monotonic() + after_s)
            return
        self._pending[key] = departure
        self._chore.wake()

    def release_due(self) -> None:
        """Let those go whose grace has ended."""
        self._timer = None
        try:
            now = self._monotonic()
            for _ in range(MOST_RELEASED):
                if not self._ends or self._ends[0][0] > now:
                    break
                end, key = heapq.heappop(self._ends)
                held = self._held.get(key)
                # One that was revoked since may be held anew, with an end of its own.
                if held is not None and held[0] == end:
                    with guard("departures"):
                        self.add(key[0], held[1])
        finally:
            self._watch()

    def _hold(self, key: tuple[str, str], departure: Departure, end: float) -> None:
        self._held[key] = end, departure
        heapq.heappush(self._ends, (end, key))
        if len(self._ends) > 2 * len(self._held) + _SPARE_ENDS:
            # Mostly of clients that are back: those that come and go must not pile up here.
            self._ends = [(held_until, held) for held, (held_until, _) in self._held.items()]
            heapq.heapify(self._ends)
        self._watch()

    def _watch(self) -> None:
        if self._timer is None and self._ends:
            delay_s = max(self._ends[0][0] - self._monotonic(), 0)
            ring = guarded(self.release_due, where="departures")
            self._timer = asyncio.get_running_loop().call_later(delay_s, ring)

    def revoke(self, channel: str, client: str, token: int = 0) -> bool:
        """Forget a departure: the client is back in the channel. Returns whether it was held.

        One of an earlier connection that is to be told already is: whether it or the return comes
        first, the store knows, and the others hear of both or of neither.
        """
        key = channel, client
        pending = self._pending.get(key)
        if pending is not None and pending.token == token:
            del self._pending[key]
        return self._held.pop(key, None) is not None

    async def drain(self) -> None:
        """Return when everything noted so far is worked off, but for what is held.

        Those stay present without this node: it leaves them to the store.
        """
        await self._chore.drain()

    async def close(self) -> None:
        """Stop working; what is left expires with this node's lease."""
        if self._timer is not None:
            self._timer.cancel()
        await self._chore.close()

    def _next_steps(self, most: int) -> list[Step]:
        return [self._tell(*key) for key in islice(self._pending, most)]

    def _put_behind(self, key: tuple[str, str]) -> None:
        """Let the others be told first: what they need of the store may be there."""
        if (departure := self._pending.pop(key, None)) is not None:
            self._pending[key] = departure

    async def _tell(self, channel: str, client: str) -> bool:
        departure = self._pending.get((channel, client))
        if departure is None:
            return True
        try:
            was_present = True
            if departure.has_presence:
                was_present = await self._presence.remove(channel, client, departure.token)
            # The client may have come back while the store was asked; then its presence was
            # entered after this removal, on the same ordered connection. If it left once more,
            # that is a departure of its own, still to be told.
            if self._pending.get((channel, client)) is not departure:
                return True
            del self._pending[channel, client]
            # A session's client whose entry is not ours any more is present somewhere else.
            if departure.announces and (was_present or not departure.token):
                await self._announce(channel, departure)
        except BackplaneError as error:
            logger.warning("departure from %s is not told yet: %s", channel, error)
            self._put_behind((channel, client))
            return False
        except (Exception, asyncio.CancelledError):
            self._put_behind((channel, client))
            raise
        return True

    async def _announce(self, channel: str, departure: Departure) -> None:
        """Tell of a leave, at most once; again only if something unexpected kept it from that."""
        try:
            await self._backplane.announce(channel, EntryKind.LEAVE, departure.info)
        except BackplaneError:
            raise
        except (Exception, asyncio.CancelledError):
            rest = departure._replace(has_presence=False)
            self._pending.setdefault((channel, departure.info.client), rest)
            raise
