"""One operator acts, the others stand by: a Lease of coordination.k8s.io says which.

`judge` decides from the lease as it was read; a standby measures by its own clock since when the
lease has not changed, so clocks of different machines need not agree. The holder renews it six
times in its duration and begins no call when it could not for two thirds of it. A call that was
begun before ends before the lease does (`left_s`): another replica cannot act while it hangs.
Each renewal has a deadline too, so that one that hangs leaves time for a second. kopf knows no such
thing: two of its operators of equal priority stop each other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from realtime_operator.apply.kube_client import KubeClient
from realtime_operator.errors import ApiServerError, LeaseLostError

logger = logging.getLogger(__name__)

API_VERSION: Final = "coordination.k8s.io/v1"
KIND: Final = "Lease"

HELD_SHARE: Final = 2 / 3
"""Share of the duration, from the beginning of the last renewal, in which calls are begun."""
PERIOD_SHARE: Final = 1 / 6
"""Share of the duration from one renewal to the next."""
DEADLINE_SHARE: Final = 1 / 3
"""Share of the duration that one renewal may take: two fit into the time that a lease is held."""


class Verdict(Enum):
    """What may be done about a lease."""

    CREATE = auto()
    RENEW = auto()
    TAKE = auto()
    """Nobody holds it, or its holder has not renewed it in time."""
    WAIT = auto()


class Observed(NamedTuple):
    """A lease as it was read, and since when it has been like that, by our own clock."""

    version: str
    holder: str
    duration_s: float
    since: float


def judge(observed: Observed | None, identity: str, now: float) -> tuple[Verdict, str]:
    """What to do about a lease, and why."""
    if observed is None:
        return Verdict.CREATE, "there is no lease yet"
    if observed.holder == identity:
        return Verdict.RENEW, "it is ours"
    if not observed.holder:
        return Verdict.TAKE, "its last holder has let it go"
    silent_s = now - observed.since
    if silent_s > observed.duration_s:
        return Verdict.TAKE, f"{observed.holder} has not renewed it for {silent_s:.0f} s"
    return Verdict.WAIT, f"{observed.holder} holds it"


class Lease:
    """This replica's part in the lease."""

    def __init__(  # noqa: PLR0913 - where, who, how long and by which clock
        self,
        kube: KubeClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        duration_s: int,
        monotonic: Callable[[], float] = time.monotonic,
        on_beat: Callable[[], None] = lambda: None,
    ) -> None:
        """Take part through `kube`; `on_beat` is called with every try."""
        self._kube = kube
        self._place = (namespace, name)
        self._identity = identity
        self._duration_s = duration_s
        self._monotonic = monotonic
        self._on_beat = on_beat
        self._observed: Observed | None = None
        self._renewed_at = float("-inf")
        """When the last renewal that worked was begun."""

    def is_held(self) -> bool:
        """Whether calls may be begun: no other replica acts before they end."""
        return self._monotonic() < self._renewed_at + self._duration_s * HELD_SHARE

    def left_s(self) -> float:
        """After how many seconds another replica may act: every call has to be over by then."""
        return self._renewed_at + self._duration_s - self._monotonic()

    async def acquire(self) -> None:
        """Stand by until the lease is ours."""
        while not (await self.attempt() and self.is_held()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(self._duration_s * PERIOD_SHARE)
        logger.info("holding the lease %s/%s as %s", *self._place, self._identity)

    async def keep(self) -> None:
        """Renew the lease for ever. Raises `LeaseLostError` when that does not work any more."""
        while True:
            if not self.is_held():
                raise LeaseLostError("the lease could not be renewed in time")
            await asyncio.sleep(self._duration_s * PERIOD_SHARE)
            await self.attempt()

    async def release(self) -> None:
        """Let the next one begin at once. That it cannot be told is no harm: it waits."""
        if not self.is_held():
            return
        self._renewed_at = float("-inf")
        try:
            lease = await self._kube.read(API_VERSION, KIND, *self._place)
            if lease and lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._kube.replace(lease)
        except ApiServerError as error:
            logger.warning("the lease was not released: %s", error)

    async def attempt(self) -> bool:
        """Have the lease, if that is possible now."""
        self._on_beat()
        begun = self._monotonic()
        over_at = begun + self._duration_s * DEADLINE_SHARE
        kube = self._kube.bounded(lambda: over_at - self._monotonic())
        try:
            lease = await kube.read(API_VERSION, KIND, *self._place)
            self._observe(lease)
            verdict, reason = judge(self._observed, self._identity, self._monotonic())
            logger.debug("lease: %s, %s", verdict.name, reason)
            if verdict is Verdict.WAIT:
                self._renewed_at = float("-inf")
                return False
            written = await self._write(kube, lease, verdict)
        except ApiServerError as error:
            logger.warning("the lease cannot be had: %s", error)
            return False
        if written is None:  # another one was faster
            return False
        self._observe(written)
        self._renewed_at = begun
        return True

    async def _write(
        self, kube: KubeClient, lease: dict[str, Any] | None, verdict: Verdict
    ) -> dict[str, Any] | None:
        """Write the lease; None if it has changed since it was read."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = lease["spec"] if lease else {}
        spec = {
            **before,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._duration_s,
            "renewTime": now,
        }
        if verdict is not Verdict.RENEW:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = before.get("leaseTransitions", 0) + (lease is not None)
        if lease is not None:
            return await kube.replace({**lease, "spec": spec})
        namespace, name = self._place
        metadata = {"namespace": namespace, "name": name}
        return await kube.create(
            {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
        )

    def _observe(self, lease: dict[str, Any] | None) -> None:
        if lease is None:
            self._observed = None
            return
        version, spec = lease["metadata"]["resourceVersion"], lease.get("spec", {})
        if self._observed is None or self._observed.version != version:
            self._observed = Observed(
                version,
                spec.get("holderIdentity") or "",
                float(spec.get("leaseDurationSeconds", self._duration_s)),
                self._monotonic(),
            )
