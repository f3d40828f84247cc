"""Carries out the actions of a plan, in their order, one at a time, but for orders to nodes.

Those are given to many nodes at once (`orders`), each after all that the plan has for its Pod
before it: the state is written before the node is told, and if it could not be written the node is
not.

An action that fails, or raises what nobody expected, is counted and logged, and the others go on:
the next round sees what is there and asks again. Only a lost lease ends the round, before
the next write. Objects that have not changed are not applied again within a minute, unless somebody
has touched them; what others undo each time is written more and more rarely (`contention`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from realtime_operator.apply.admin_key import AdminKeys, ensure_admin_secret
from realtime_operator.apply.contention import Contention
from realtime_operator.apply.drain_client import DrainClient, Order
from realtime_operator.apply.kube_client import CONFLICT, KubeClient
from realtime_operator.apply.orders import Orders
from realtime_operator.build.names import Owner, settings_name
from realtime_operator.decide.actions import (
    AbortDrain,
    Action,
    AdoptPod,
    ApplyChild,
    CordonNode,
    CreatePod,
    DeletePod,
    DeletePolicy,
    DeleteSettings,
    DrainNode,
    PatchPod,
    SetBudget,
    SetFinalizer,
    ShedNode,
)
from realtime_operator.decide.snapshot import Snapshot
from realtime_operator.errors import ApiServerError, LeaseLostError, OperatorError
from realtime_operator.supervision import Supervisor
from realtime_operator.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

CONFLICTS_BORNE: Final = 3
"""After so many conflicts in a row a Pod is changed whatever it is like by now."""
REFUSED: Final = (400, 403, 422)
"""What the API server answers to what it will not take however often it is asked."""


class CarriedOut(NamedTuple):
    """What the next round has to know of this one."""

    refusals: tuple[str, ...] = ()
    """What the API server would not take, in its words."""
    taken_names: frozenset[str] = frozenset()
    """Pods that were not created, since there are some of their names."""
    contested: tuple[str, ...] = ()
    """What does not stay as it is written, and why, for people."""


@dataclass(frozen=True)
class _Round:
    """What one call of `carry_out` is about, and what has come of it so far."""

    snapshot: Snapshot
    keys: AdminKeys
    beat: Callable[[], None]
    refusals: dict[str, None] = field(default_factory=dict)
    taken_names: set[str] = field(default_factory=set)
    conflicts: dict[str, int] = field(default_factory=dict)
    unwritten: set[str] = field(default_factory=set)
    """Pods whose state could not be written: their nodes are told nothing of it."""


class Executor:
    """Carries out the plans of one cluster."""

    def __init__(  # noqa: PLR0913 - what it acts through
        self,
        kube: KubeClient,
        nodes: DrainClient,
        metrics: Metrics,
        supervisor: Supervisor,
        *,
        may_write: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Act through these, while `may_write` says that the lease is held."""
        self._supervisor = supervisor
        self._kube = kube
        self._nodes = nodes
        self._metrics = metrics
        self._may_write = may_write
        self._contention = Contention(monotonic)
        self._conflicts: dict[str, int] = {}
        """Rounds in a row in which a Pod, by uid, was another one than was seen."""

    def demand_lease(self) -> None:
        """Raise `LeaseLostError` if another replica may be acting by now."""
        if not self._may_write():
            raise LeaseLostError("the lease is not held any more")

    def touched(self, kind: str, name: str, live: Mapping[str, Any] | None) -> None:
        """Somebody has changed an object of the cluster to `live`, or has deleted it (None)."""
        self._contention.touched(_place_of(kind, name), live)

    async def carry_out(
        self,
        snapshot: Snapshot,
        actions: tuple[Action, ...],
        *,
        beat: Callable[[], None] = lambda: None,
    ) -> CarriedOut:
        """Do all of it; what the API server will not take is returned, each thing once.

        `beat` is called after each action, done or failed: a round may be long.
        """
        this = _Round(snapshot, AdminKeys(self._kube, snapshot), beat)
        orders = Orders(partial(self._attempt, this))
        try:
            for action in actions:
                if not isinstance(action, Order):
                    await orders.wait_for(getattr(action, "name", ""))
                    await self._attempt(this, action)
                elif action.name not in this.unwritten:
                    orders.begin(action)
            await orders.finish()
        finally:
            await orders.cancel()
        self._conflicts = this.conflicts
        contested = self._contention.contested()
        return CarriedOut(tuple(this.refusals), frozenset(this.taken_names), contested)

    async def _attempt(self, this: _Round, action: Action) -> None:
        """Try an action, and note how it went. Raises `LeaseLostError` before it."""
        self.demand_lease()
        kind, is_done = type(action).__name__, False
        with self._supervisor.guard("action"):
            is_done = await self._is_done(this, action)
        self._metrics.actions.labels(kind, "done" if is_done else "failed").inc()
        if not is_done and isinstance(action, PatchPod):
            this.unwritten.add(action.name)
        this.beat()

    async def _is_done(self, this: _Round, action: Action) -> bool:
        """Do an action; tell whether that worked, and say so where it did not."""
        try:
            await self._do(this, action)
        except OperatorError as error:
            kind = type(action).__name__
            logger.warning("%s/%s: %s: %s", *this.snapshot.owner[1::-1], kind, error)
            if refusal := _refusal(action, error):
                this.refusals[refusal] = None
            return False
        return True

    async def _do(self, this: _Round, action: Action) -> None:
        owner = this.snapshot.owner
        match action:
            case ApplyChild(manifest):
                await self._apply(manifest)
            case CreatePod(name, manifest=manifest):
                await ensure_admin_secret(self._kube, this.snapshot)
                if await self._kube.create(manifest) is None:
                    this.taken_names.add(name)
            case PatchPod(name, uid, labels, annotations):
                await self._patch_pod(this, PatchPod(name, uid, labels, annotations))
            case AdoptPod(name, uid):
                await self._kube.adopt_pod(owner, name, uid)
            case DeletePod() | DeleteSettings() | DeletePolicy():
                await self._delete(owner, action)
            case SetFinalizer(present):
                patch = self._kube.set_finalizer(owner, present=present)
                content = "its finalizer" if present else "taking its finalizer away"
                await self._patch(f"RealtimeCluster {owner.name}", content, patch)
            case CordonNode() | DrainNode() | AbortDrain() | ShedNode() | SetBudget():
                await self._nodes.tell(action, await this.keys.of(action.name))

    async def _delete(
        self, owner: Owner, action: DeletePod | DeleteSettings | DeletePolicy
    ) -> None:
        match action:
            case DeletePod(name, uid, reason):
                logger.info("%s/%s: delete %s: %s", owner.namespace, owner.name, name, reason)
                await self._kube.delete("v1", "Pod", owner, name, uid)
            case DeleteSettings(revision):
                name = settings_name(owner.name, revision)
                await self._kube.delete("v1", "ConfigMap", owner, name, "")
            case DeletePolicy(name, uid):
                await self._kube.delete("networking.k8s.io/v1", "NetworkPolicy", owner, name, uid)
                self._contention.forget(_place_of("NetworkPolicy", name))

    async def _apply(self, manifest: Mapping[str, Any]) -> None:
        place = _place_of(manifest["kind"], manifest["metadata"]["name"])
        text = json.dumps(manifest, sort_keys=True)
        content = hashlib.sha256(text.encode()).hexdigest()
        if self._contention.is_due(place, content):
            self._contention.applied(place, content, await self._kube.apply(manifest))

    async def _patch_pod(self, this: _Round, action: PatchPod) -> None:
        """Change a Pod if it is as this round has seen it: another operator may have it by now.

        One that others change all the time is not waited for for ever.
        """
        name, uid = action.name, action.uid
        changed = {"labels": dict(action.labels), "annotations": dict(action.annotations)}
        seen = this.snapshot.by_name.get(name)
        is_restless = self._conflicts.get(uid, 0) >= CONFLICTS_BORNE
        version = "" if seen is None or not seen.is_owned or is_restless else seen.version
        patch = self._kube.patch_pod(this.snapshot.owner, name, uid, changed, version=version)
        words = [*(f"{key}={value}" for key, value in action.labels.items()), *action.annotations]
        try:
            await self._patch(f"Pod {name} ({uid})", " ".join(words), patch)
        except ApiServerError as error:
            if error.status == CONFLICT:
                this.conflicts[uid] = self._conflicts.get(uid, 0) + 1
            raise

    async def _patch(self, place: str, content: str, patch: Coroutine[Any, Any, None]) -> None:
        """Make a patch, unless others undo it each time. Raises `OperatorError` then."""
        if not self._contention.may_patch(place, content):
            patch.close()
            raise OperatorError(f"{place}: {content} is undone after each write: it waits")
        await patch
        self._contention.patched(place, content)


def _place_of(kind: str, name: str) -> str:
    return f"{kind} {name}"


def _refusal(action: Action, error: OperatorError) -> str:
    """What the user has to mend: the API server does not take what their spec asks for."""
    refused = isinstance(error, ApiServerError) and error.status in REFUSED
    if not refused or not isinstance(action, (CreatePod, ApplyChild)):
        return ""
    assert isinstance(error, ApiServerError)
    what = "a Pod" if isinstance(action, CreatePod) else f"the {action.manifest['kind']}"
    return f"{what} cannot be made: {error.message}"
