"""Answers that are given again: a reconnect storm must not become one of the team's backend.

The store of all nodes is asked first, in one exchange; on this node, those who ask the same at the
same time share one answer, unless somebody was revoked between them. Only what lets a client in is
kept, never beyond its own end, and nobody is given what was said of them before they were revoked
(`cluster.verdicts`). A store that does not answer soon is done without.

Bounds: one question per key is under way between two revocations; a verdict of more than
`MAX_BYTES` is not kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from realtime_node.cluster.verdicts import Found, VerdictStore
from realtime_node.errors import BackendError, BackplaneError
from realtime_node.proxy.answers import ConnectVerdict, SubscribeVerdict
from realtime_node.supervision import guard, is_asked_for, supervise

logger = logging.getLogger(__name__)

V = TypeVar("V", bound=ConnectVerdict | SubscribeVerdict)

MAX_BYTES: Final = 16_384
STORE_PATIENCE_S: Final = 2.0
"""How long a store may take before the backend is asked without it. Longer than a busy loop lags:
the node that a storm keeps busy must not take itself for one whose store is away. Shorter than the
5 s after which SDKs give an attempt up."""
_VERSION: Final = b"\x01"


class CacheInstruments(Protocol):
    """Where a cache counts; `telemetry.metrics` implements it."""

    def looked_up(self, outcome: str) -> None:
        """Count a question: `hit`, `miss`, `shared`, `anonymous` (not kept), `away` (no store)."""


class _Asked(NamedTuple):
    """What those have in common who may be given one answer."""

    key: bytes
    stamp: int | None
    """Revocations before it was asked; None: the store is away, and could not be told of any."""


class Cached(Generic[V]):
    """The kept answers of one proxy."""

    def __init__(
        self,
        kind: type[V],
        store: VerdictStore,
        instruments: CacheInstruments,
        *,
        life_s: float,
        wall_clock: Callable[[], float],
    ) -> None:
        """`life_s` is how long a verdict is kept from when it was given or last prolonged."""
        self.store = store
        self.life_s = life_s
        self._decoder: msgspec.msgpack.Decoder[V] = msgspec.msgpack.Decoder(kind)
        self._instruments = instruments
        self._wall_clock = wall_clock
        self._under_way: dict[_Asked, asyncio.Future[V | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(
        self,
        key: bytes | None,
        question: Callable[[], Awaitable[V | None]],
        user_of: Callable[[V], str],
    ) -> V | None:
        """Return the answer that is kept, or that `question` gets now; raises what it raises."""
        if key is None:
            self._instruments.looked_up("anonymous")
            return await question()
        found = await self._look_up(key)
        if found is None:
            return await self._share("away", _Asked(key, None), question, user_of)
        if (verdict := self._decoded(found.verdict)) is not None:
            self._instruments.looked_up("hit")
            return verdict
        return await self._share("miss", _Asked(key, found.stamp), question, user_of)

    async def _share(
        self,
        outcome: str,
        asked: _Asked,
        question: Callable[[], Awaitable[V | None]],
        user_of: Callable[[V], str],
    ) -> V | None:
        """Put a question, or wait with those who did between the same two revocations."""
        answer = self._under_way.get(asked)
        if answer is None:
            answer = self._under_way[asked] = asyncio.get_running_loop().create_future()
            self._start(partial(self._put, asked, question, user_of, answer))
        else:
            outcome = "shared"
        self._instruments.looked_up(outcome)
        # Who leaves must not take the answer from those who wait as well.
        await asyncio.wait((answer,))
        if answer.cancelled():
            raise BackendError("the proxy was closed before the backend answered", "abandoned")
        return answer.result()

    async def stamp(self, key: bytes) -> int | None:
        """Return what `renew` needs of the time before the backend is asked; None: no store."""
        found = await self._look_up(key)
        return None if found is None else found.stamp

    async def renew(self, key: bytes, verdict: V, user: str, stamp: int) -> None:
        """Keep what the backend has said newly about a client that is here."""
        await self._keep_quietly(key, verdict, user, stamp)

    async def forget(self, key: bytes) -> None:
        """Drop what is kept."""
        try:
            await self.store.forget(key)
        except BackplaneError as error:
            logger.warning("a verdict is not forgotten before its end: %s", error)

    async def close(self) -> None:
        """Ask nothing more."""
        for answer in self._under_way.values():
            answer.cancel()
        self._under_way.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_up(self, key: bytes) -> Found | None:
        """Ask the store; None if it does not answer soon, or nothing that is understood."""
        with guard("proxy-cache"):
            try:
                async with asyncio.timeout(STORE_PATIENCE_S):
                    return await self.store.find(key)
            except (BackplaneError, TimeoutError):
                pass
        return None

    def _start(self, job: Callable[[], Awaitable[None]]) -> None:
        """Run a job that ends by itself, whatever it meets."""

        async def run() -> None:
            try:
                await job()
            finally:
                self._tasks.discard(task)

        task = supervise(run, name="proxy-cache")
        self._tasks.add(task)

    async def _put(
        self,
        asked: _Asked,
        question: Callable[[], Awaitable[V | None]],
        user_of: Callable[[V], str],
        answer: asyncio.Future[V | None],
    ) -> None:
        """Put a question and tell the answer, or what became of it, to those who wait."""
        verdict = None
        try:
            verdict = await question()
            _tell(answer, verdict)
        except Exception as error:  # noqa: BLE001 - it is for those who wait to handle
            _fail(answer, error)
        except asyncio.CancelledError as error:
            if is_asked_for(error):
                raise
        finally:
            answer.cancel()  # does nothing if they were told
            if self._under_way.get(asked) is answer:
                del self._under_way[asked]
        if verdict is not None and asked.stamp is not None:
            # Nobody waits for it: a client that comes back before it is kept asks again.
            with guard("proxy-cache"):
                await self._keep_quietly(asked.key, verdict, user_of(verdict), asked.stamp)

    async def _keep_quietly(self, key: bytes, verdict: V, user: str, stamp: int) -> None:
        """Keep a verdict if that can be: it is asked for again otherwise."""
        with guard("proxy-cache"):
            try:
                await self._keep(key, verdict, user, stamp)
            except BackplaneError as error:
                logger.info("a verdict is not kept: %s", error)

    async def _keep(self, key: bytes, verdict: V, user: str, stamp: int) -> None:
        ttl_ms = life_ms(self.life_s, verdict.expire_at, self._wall_clock())
        encoded = _VERSION + msgspec.msgpack.encode(verdict)
        if ttl_ms > 0 and len(encoded) <= MAX_BYTES:
            await self.store.keep(key, encoded, user=user, stamp=stamp, ttl_ms=ttl_ms)

    def _decoded(self, encoded: bytes | None) -> V | None:
        """What is kept, if it is of this release and has not come to its end."""
        if encoded is None or encoded[:1] != _VERSION:
            return None
        try:
            verdict = self._decoder.decode(encoded[1:])
        except msgspec.MsgspecError:
            return None
        ends_at = verdict.expire_at
        return None if ends_at and ends_at <= self._wall_clock() else verdict


def _tell(answer: asyncio.Future[V | None], verdict: V | None) -> None:
    if not answer.done():
        answer.set_result(verdict)


def _fail(answer: asyncio.Future[V | None], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # it is told to those who wait, if anybody does


def life_ms(life_s: float, expire_at: float, now: float) -> int:
    """How long a verdict may be kept from now: never beyond its own end."""
    left_s = life_s if not expire_at else min(life_s, expire_at - now)
    return int(left_s * 1000)
