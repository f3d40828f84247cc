"""The door of a node: the one thing that is asked whether a handshake may become a WebSocket.

    server.websocket ──knock──▶ rules of `admit` ──accept──▶ in
                                    │    └──wait──▶ `waiting_room` ──turn──▶ in
                                    └──refuse──▶ 503 or 429, and a time to come back

The door holds what the rules are asked about: the cordon, the buckets of addresses, the room and
its tokens, whether the loop lags. A load balancer goes on choosing a node for a while after it was
told not to, so a cordoned node refuses by itself; what was let in before stays. When the last one
was let in is remembered: it tells a drain whether the balancers have understood.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from multidict import CIMultiDictProxy

from realtime_node.admission import admit
from realtime_node.admission.accept_rate import AcceptRate
from realtime_node.admission.addresses import Network, bucket_key, client_address
from realtime_node.admission.admit import (
    REFUSALS,
    Bounds,
    Facts,
    Reason,
    Refusal,
    RetryRange,
    Verdict,
    retry_after_s,
    sheds,
)
from realtime_node.admission.per_ip import AddressBuckets
from realtime_node.admission.token_bucket import Rate
from realtime_node.admission.waiting_room import Guest, WaitingRoom
from realtime_node.cluster.allowance import Allowance
from realtime_node.supervision import guard, guarded
from realtime_node.telemetry.metrics import AdmissionMetrics, Metrics

logger = logging.getLogger(__name__)

Admission = Literal[Verdict.ACCEPT, Verdict.WAIT]

_NO_LIMIT: Final = Rate(0, 1)
MOST_REFUSED: Final = 200
"""Handshakes that waited and are refused in one step of the loop, some milliseconds."""


class Rules(NamedTuple):
    """What the door goes by; the defaults let everybody in."""

    bounds: Bounds = Bounds()
    rate: Rate = _NO_LIMIT
    per_ip: Rate = _NO_LIMIT
    trusted_proxies: tuple[Network, ...] = ()
    proxy_header: str = "X-Forwarded-For"
    """The one that trusted proxies write."""
    shed_loop_lag_s: float = 0.0
    """0: a loop may lag as it likes."""
    retry: RetryRange = RetryRange()


def _call_later(delay_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(delay_s, guarded(call, where="admission"))


class Door:
    """Asked once for each arriving handshake."""

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        monotonic: Callable[[], float],
        random: Callable[[], float],
        *,
        rules: Rules | None = None,
        metrics: AdmissionMetrics | None = None,
        loop_lag_s: Callable[[], float] = lambda: 0.0,
        allowance: Allowance | None = None,
        call_later: Callable[[float, Callable[[], None]], asyncio.TimerHandle] = _call_later,
    ) -> None:
        """Be open. `random` in [0, 1) spreads those who are sent away.

        `allowance` is what the whole cluster may let in, if that is limited.
        """
        self._monotonic = monotonic
        self._random = random
        self._rules = rules = rules or Rules()
        self._metrics = metrics or Metrics().admission
        self._loop_lag_s = loop_lag_s
        self._call_later = call_later
        self._cordon: str | None = None
        # Out of the waiting room, and to be refused in the next steps of the loop.
        self._to_refuse: deque[Guest] = deque()
        self._is_shedding = False
        self._addresses = AddressBuckets(rules.per_ip) if rules.per_ip.per_second else None
        self._room = WaitingRoom(
            rules.rate,
            wait_s=rules.bounds.wait_s,
            monotonic=monotonic,
            call_later=call_later,
            on_turn=self._turn_came,
            on_late=self._turn_away,
            allowance=allowance,
        )
        self._accept_rate = AcceptRate(monotonic())
        self.accepted_total = 0
        """Handshakes that were let in since the node started."""
        self.accepted_at = monotonic()
        """When the last of them was, in seconds of the monotonic clock."""
        self.refused_total = 0

    def change(self, rules: Rules) -> None:
        """Go by other rules; who waits is let in by them as well."""
        self._rules = rules
        if not rules.per_ip.per_second:
            self._addresses = None
        elif self._addresses is None:
            self._addresses = AddressBuckets(rules.per_ip)
        else:
            self._addresses.change(rules.per_ip)
        self._room.change(rules.rate, rules.bounds.wait_s)

    # --- The cordon ----------------------------------------------------------------------------

    @property
    def is_cordoned(self) -> bool:
        """Whether nobody is let in."""
        return self._cordon is not None

    def cordon(self, reason: str) -> None:
        """Let nobody in from now on; `reason` is told to those who ask, and to those who wait."""
        self._cordon = reason
        is_under_way = bool(self._to_refuse)
        self._to_refuse += self._room.empty()
        if not is_under_way:
            self._refuse_next()

    def _refuse_next(self) -> None:
        """Refuse some of those who waited when the door was shut, and the others a little later."""
        self._refuse(MOST_REFUSED)
        if self._to_refuse:
            self._call_later(0, self._refuse_next)

    def _refuse(self, most: int) -> None:
        for _ in range(min(most, len(self._to_refuse))):
            guest = self._to_refuse.popleft()
            with guard("admission"):
                if not guest.is_gone:
                    guest.turn_away(self._refusal(Reason.CORDONED, 0.0))

    def uncordon(self, reason: str | None = None) -> None:
        """Open again; with a `reason` only if that is still why it is closed."""
        if reason is None or self._cordon == reason:
            self._cordon = None

    # --- Handshakes ----------------------------------------------------------------------------

    def knock(
        self, peer: str, headers: CIMultiDictProxy[str], connections: int
    ) -> Admission | Refusal:
        """Decide about a handshake; one that is to wait has to `wait` at once.

        `peer` is the address it came from and `connections` the number of open WebSockets.
        """
        now = self._monotonic()
        key = self._address_key(peer, headers)
        facts = Facts(
            is_cordoned=self._cordon is not None,
            is_shedding=self.is_shedding(),
            connections=connections,
            waiting=len(self._room),
            address_wait_s=self._addresses.wait_s(key, now) if self._addresses and key else 0.0,
            turn_wait_s=self._room.turn_wait_s(),
        )
        decision = admit.admit(facts, self._rules.bounds)
        if decision.verdict is Verdict.REFUSE:
            return self._refusal(decision.reason, decision.clears_in_s)
        if self._addresses is not None and key is not None:
            self._addresses.spend(key, now)
        if decision.verdict is Verdict.ACCEPT and self._room.take_turn():
            self._accepted(now)
            return Verdict.ACCEPT
        return Verdict.WAIT

    def wait(self, guest: Guest) -> None:
        """Let a handshake wait for its turn."""
        self._room.join(guest)

    def leave(self, guest: Guest) -> None:
        """Forget a guest whose client is gone."""
        self._room.leave(guest)

    @property
    def num_waiting(self) -> int:
        """Handshakes that wait for their turn, or for their refusal."""
        return len(self._room) + len(self._to_refuse)

    @property
    def accept_rate_per_s(self) -> float:
        """How many are let in per second at the moment."""
        return self._accept_rate.per_s(self._monotonic())

    def is_shedding(self) -> bool:
        """Look whether the loop lags so much that whoever comes only makes it worse."""
        limit_s = self._rules.shed_loop_lag_s
        is_shedding = sheds(self._is_shedding, self._loop_lag_s(), limit_s)
        if is_shedding is not self._is_shedding:
            self._is_shedding = is_shedding
            if is_shedding:
                logger.warning("overloaded: no clients are let in until the loop lags less")
            else:
                logger.warning("not overloaded any more: clients are let in again")
        return is_shedding

    def close(self, reason: str) -> None:
        """Let nobody in for good, and ask the cluster for nothing more."""
        self.cordon(reason)
        self._refuse(len(self._to_refuse))
        self._room.close()

    def _turn_came(self, waited_s: float) -> None:
        self._metrics.waited.observe(waited_s)
        self._accepted(self._monotonic())

    def _turn_away(self, guest: Guest) -> None:
        estimate_s = self._room.turn_wait_s() or self._rules.bounds.wait_s
        guest.turn_away(self._refusal(Reason.RATE, estimate_s))

    def _accepted(self, now: float) -> None:
        self.accepted_total += 1
        self.accepted_at = now
        self._accept_rate.count(now)
        self._metrics.accepted.inc()

    def _refusal(self, reason: Reason, clears_in_s: float) -> Refusal:
        self.refused_total += 1
        self._metrics.refused[reason.value].inc()
        status, text = REFUSALS[reason]
        if reason is Reason.CORDONED and self._cordon:
            text = self._cordon
        return Refusal(status, text, retry_after_s(clears_in_s, self._rules.retry, self._random()))

    def _address_key(self, peer: str, headers: CIMultiDictProxy[str]) -> bytes | None:
        """Return the key of a client's bucket; None: it has none, or addresses have no limit."""
        if self._addresses is None:
            return None
        header = self._rules.proxy_header
        address = client_address(
            peer,
            headers.getall(header, ()) if self._rules.trusted_proxies else (),
            self._rules.trusted_proxies,
            is_forwarded=header.lower() == "forwarded",
        )
        return None if address is None else bucket_key(address)
