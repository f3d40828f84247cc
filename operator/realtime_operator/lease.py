"""One operator acts, the others stand by: a Lease of coordination.k8s.io says which.

`judge` decides from the lease as it was read; who waits measures by its own clock since when the
lease has not changed, so clocks of different machines need not agree. The holder renews it three
times in its duration and stops acting when it could not for two thirds of it, before another one
may begin. kopf knows no such thing: two of its operators of equal priority stop each other.
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
        self._held_until = float("-inf")

    def is_held(self) -> bool:
        """Whether nobody else can be acting now."""
        return self._monotonic() < self._held_until

    async def acquire(self) -> None:
        """Stand by until the lease is ours."""
        while not await self.attempt():  # noqa: ASYNC110 - nobody tells that a lease has ended
            await asyncio.sleep(self._duration_s / 6)
        logger.info("holding the lease %s/%s as %s", *self._place, self._identity)

    async def keep(self) -> None:
        """Renew the lease for ever. Raises `LeaseLostError` when that does not work any more."""
        while True:
            await asyncio.sleep(self._duration_s / 3)
            await self.attempt()
            if not self.is_held():
                raise LeaseLostError("the lease could not be renewed in time")

    async def release(self) -> None:
        """Let the next one begin at once. That it cannot be told is no harm: it waits."""
        if not self.is_held():
            return
        self._held_until = float("-inf")
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
        try:
            lease = await self._kube.read(API_VERSION, KIND, *self._place)
            self._observe(lease)
            verdict, reason = judge(self._observed, self._identity, self._monotonic())
            logger.debug("lease: %s, %s", verdict.name, reason)
            if verdict is Verdict.WAIT:
                self._held_until = float("-inf")
                return False
            written = await self._write(lease, verdict)
        except ApiServerError as error:
            logger.warning("the lease cannot be had: %s", error)
            return False
        if written is None:  # another one was faster
            return False
        self._observe(written)
        self._held_until = begun + self._duration_s * 2 / 3
        return True

    async def _write(self, lease: dict[str, Any] | None, verdict: Verdict) -> dict[str, Any] | None:
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
            return await self._kube.replace({**lease, "spec": spec})
        namespace, name = self._place
        metadata = {"namespace": namespace, "name": name}
        return await self._kube.create(
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
