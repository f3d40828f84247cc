"""The loops: one task for each cluster, which looks, decides and acts, again and again.

`Keepers.wake` is all that handlers call: an event only says that something may be different, never
what to do. A round follows every event, one a second at most, and comes by itself after the time
that the last decision asked for. A round that fails is told, counted and tried again, later each
time; one that raises what nobody expected costs its cluster a pause, and no other cluster anything.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum, auto
from functools import partial
from typing import Any, Final, NamedTuple

from realtime_operator.apply.events import EventTeller
from realtime_operator.apply.executor import CarriedOut, Executor
from realtime_operator.apply.kube_client import FORBIDDEN, KubeClient
from realtime_operator.build.names import Owner, release_command
from realtime_operator.crd.status import RealtimeClusterStatus
from realtime_operator.decide.decision import Plan, decide, deletion_patience_s
from realtime_operator.decide.scaling import Limit
from realtime_operator.decide.snapshot import NodeState, Snapshot
from realtime_operator.decide.status import worth_writing
from realtime_operator.errors import ApiServerError, LeaseLostError, OperatorError
from realtime_operator.health import Heartbeats
from realtime_operator.observe.observer import Observer
from realtime_operator.supervision import Supervisor
from realtime_operator.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

BETWEEN_ROUNDS_S: Final = 1.0
"""Events that come together are one round's matter."""
FIRST_RETRY_S: Final = 2.0
LONGEST_RETRY_S: Final = 30.0


class Outcome(Enum):
    """How a round ended that does not say when the next one is due."""

    GONE = auto()
    """There is no such cluster any more."""
    FAILED = auto()


class Touched(NamedTuple):
    """An object that the operator made, as an event tells of it."""

    kind: str
    name: str
    live: Mapping[str, Any] | None
    """As it is now; None: it was deleted."""


class Parts(NamedTuple):
    """What a keeper works with."""

    observer: Observer
    executor: Executor
    events: EventTeller
    kube: KubeClient
    metrics: Metrics
    heartbeats: Heartbeats


class Keeper:
    """Looks after one cluster."""

    def __init__(
        self,
        namespace: str,
        name: str,
        parts: Parts,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Look after this cluster with these parts."""
        self._place = (namespace, name)
        self._parts = parts
        self._wall_clock = wall_clock
        self._woken = asyncio.Event()
        self._written_at = float("-inf")
        self._last = CarriedOut()
        self._kept: tuple[Owner, float] | None = None
        """Until when the cluster is kept for its drain, if it was deleted when it was last seen."""

    def wake(self, touched: Touched | None = None) -> None:
        """Have a round soon; `touched`: an object that the operator made has changed."""
        if touched:
            self._parts.executor.touched(*touched)
        self._woken.set()

    async def run(self) -> None:
        """Look after the cluster until it is gone. Raises `LeaseLostError`, and what is a bug."""
        failures = 0
        while True:
            self._beat()
            self._woken.clear()
            with self._parts.metrics.round_seconds.time():
                outcome = await self._counted_round()
            if outcome is Outcome.GONE:
                if self._woken.is_set():
                    continue  # another one of its name may be there by now
                return
            if isinstance(outcome, Outcome):
                longest_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** min(failures, 10))
                wait_s = random.uniform(longest_s / 2, longest_s)  # noqa: S311 - jitter
                failures += 1
            else:
                wait_s, failures = outcome, 0
            await asyncio.sleep(BETWEEN_ROUNDS_S)
            await self._wait(wait_s - BETWEEN_ROUNDS_S)

    def ended(self) -> None:
        """Forget what health and metrics say of the cluster: nobody looks after it any more."""
        self._parts.heartbeats.ended("/".join(self._place))
        self._parts.metrics.forget(*self._place)

    async def round(self) -> float | Outcome:
        """Look, decide and act once; return after how many seconds to look again, or GONE."""
        snapshot = await self._parts.observer.look(*self._place)
        if snapshot is None:
            return Outcome.GONE
        snapshot = replace(snapshot, **self._last._asdict())
        now = self._wall_clock()
        self._kept = None
        if snapshot.deleted_at is not None and snapshot.has_finalizer:
            kept_until = snapshot.deleted_at + deletion_patience_s(snapshot.spec)
            self._kept = (snapshot.owner, kept_until)
        plan = decide(snapshot, now)
        self._parts.observer.watch.decided(plan.scaling, snapshot.spec)
        if _is_scaled(snapshot, plan):
            # Written down before it is acted upon: a number that was lost in between would be found
            # anew by the next round, and maybe another.
            await self._tell(snapshot, plan, now)
            await self._act(snapshot, plan)
        else:
            await self._act(snapshot, plan)
            await self._tell(snapshot, plan, now)
        self._measure(plan)
        return plan.wake_after_s

    def _beat(self) -> None:
        self._parts.heartbeats.beat("/".join(self._place))

    async def _counted_round(self) -> float | Outcome:
        """A round that may fail as is expected. Raises `LeaseLostError`, and what is a bug."""
        result = "failed"
        try:
            outcome = await self.round()
            result = "done"
        except LeaseLostError:
            raise
        except OperatorError as error:
            logger.warning("%s/%s: %s", *self._place, error)
            outcome = self._failed(error)
        finally:
            self._parts.metrics.rounds.labels(*self._place, result).inc()
        return outcome

    def _failed(self, error: OperatorError) -> Outcome:
        """How a round ended that failed: a cluster that cannot be let go any more is left alone.

        Where a namespace is deleted, or the operator uninstalled, its rights may go before the
        cluster that waits for its drain.
        """
        is_forbidden = isinstance(error, ApiServerError) and error.status == FORBIDDEN
        if self._kept is None or not is_forbidden:
            return Outcome.FAILED
        owner, until = self._kept
        logger.error(
            "%s/%s is deleted, and the operator may not take its finalizer away any more: %s",
            *self._place,
            release_command(owner),
        )
        return Outcome.GONE if self._wall_clock() >= until else Outcome.FAILED

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _act(self, snapshot: Snapshot, plan: Plan) -> None:
        self._last = await self._parts.executor.carry_out(snapshot, plan.actions, beat=self._beat)

    async def _tell(self, snapshot: Snapshot, plan: Plan, now: float) -> None:
        """Tell people, by events and the status."""
        self._parts.executor.demand_lease()  # a plan may have had nothing to do
        # Events first: what they tell is found by comparing with the status as it was written.
        await self._parts.events.tell(snapshot.owner, plan.events, now, beat=self._beat)
        await self._write_status(snapshot, plan.status, now)

    async def _write_status(
        self, snapshot: Snapshot, status: RealtimeClusterStatus, now: float
    ) -> None:
        written_s_ago = now - self._written_at
        if not worth_writing(snapshot.status, status, written_s_ago=written_s_ago):
            return
        self._parts.executor.demand_lease()
        body = status.model_dump(by_alias=True, exclude_none=True, mode="json")
        await self._parts.kube.write_status(snapshot.owner, body)
        self._written_at = now

    def _measure(self, plan: Plan) -> None:
        metrics, status = self._parts.metrics, plan.status
        states = Counter(node.state for node in status.nodes)
        for state in NodeState:
            metrics.nodes.labels(*self._place, state).set(states[state])
        metrics.desired.labels(*self._place).set(status.desired_replicas)
        metrics.accepting.labels(*self._place).set(status.accepting_replicas)
        metrics.connections.labels(*self._place).set(status.connections.total)
        silent = status.metrics.stale + status.metrics.missing
        metrics.silent.labels(*self._place).set(silent)
        scaling, load = plan.scaling, plan.scaling.inputs
        metrics.recommended.labels(*self._place).set(scaling.raw)
        limited_by = {each.limit for each in scaling.limits}
        for limit in Limit:
            metrics.limited.labels(*self._place, limit).set(limit in limited_by)
        metrics.demand.labels(*self._place).set(load.demand)
        metrics.deliveries.labels(*self._place).set(load.deliveries_per_s)
        metrics.busy.labels(*self._place).set(load.busy)
        metrics.shedding.labels(*self._place).set(status.rebalance.shedding)


def _is_scaled(snapshot: Snapshot, plan: Plan) -> bool:
    before, after = snapshot.status.autoscaling, plan.status.autoscaling
    return after is not None and (before is None or before.desired != after.desired)


class Keepers:
    """All clusters that are looked after: as many tasks as there are RealtimeClusters."""

    def __init__(
        self,
        make: Callable[[str, str], Keeper],
        on_lost: Callable[[], None],
        supervisor: Supervisor,
    ) -> None:
        """`make` makes a keeper for a namespace and a name; `on_lost` hears of a lost lease."""
        self._make = make
        self._on_lost = on_lost
        self._supervisor = supervisor
        self._running: dict[tuple[str, str], tuple[Keeper, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        """Count the clusters that are looked after."""
        return len(self._running)

    def look_after(self, namespace: str, name: str) -> None:
        """There is a cluster: begin to look after it, or look again."""
        place = (namespace, name)
        running = self._running.get(place)
        if running and not running[1].done():
            running[0].wake()
            return
        keeper = self._make(namespace, name)
        task = self._supervisor.supervise(
            keeper.run,
            name="reconcile",
            subject=f"{namespace}/{name}",
            ends_with=(LeaseLostError,),
        )
        self._running[place] = (keeper, task)
        ended = partial(self._ended, place)
        task.add_done_callback(self._supervisor.guarded(ended, where="end of a cluster"))

    def wake(self, namespace: str, name: str, touched: Touched | None = None) -> None:
        """Something of a cluster has changed. If there is no such cluster nothing happens."""
        if running := self._running.get((namespace, name)):
            running[0].wake(touched)

    async def stop(self) -> None:
        """End all tasks."""
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, place: tuple[str, str], task: asyncio.Task[None]) -> None:
        is_lost = not task.cancelled() and task.exception() is not None
        if is_lost:
            self._on_lost()
        if place in self._running and self._running[place][1] is task:
            keeper, _ = self._running.pop(place)
            keeper.ended()
