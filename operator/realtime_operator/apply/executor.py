"""Carries out the actions of a plan, in their order, one at a time.

An action that fails is counted and logged, and the others go on: the next round sees what is there
and asks again. Only a lost lease ends the round, before the next write. Objects that have not
changed are not applied again within a minute, unless somebody has touched one of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from realtime_operator.apply.admin_key import ensure_admin_secret, read_admin_key
from realtime_operator.apply.drain_client import DrainClient, Order
from realtime_operator.apply.kube_client import KubeClient
from realtime_operator.build.names import owner_reference, settings_name
from realtime_operator.decide.actions import (
    AbortDrain,
    Action,
    AdoptPod,
    ApplyChild,
    CordonNode,
    CreatePod,
    DeletePod,
    DeleteSettings,
    DrainNode,
    PatchPod,
    SetBudget,
    SetFinalizer,
    ShedNode,
)
from realtime_operator.decide.snapshot import Snapshot
from realtime_operator.errors import ApiServerError, LeaseLostError, OperatorError
from realtime_operator.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

AGAIN_AFTER_S: Final = 60.0
REFUSED: Final = (400, 403, 422)
"""What the API server answers to what it will not take however often it is asked."""


class Executor:
    """Carries out the plans of one cluster."""

    def __init__(
        self,
        kube: KubeClient,
        nodes: DrainClient,
        metrics: Metrics,
        *,
        may_write: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Act through these, while `may_write` says that the lease is held."""
        self._kube = kube
        self._nodes = nodes
        self._metrics = metrics
        self._may_write = may_write
        self._monotonic = monotonic
        self._done: dict[str, tuple[str, float]] = {}
        self._admin_key = ""

    def forget(self) -> None:
        """Somebody has touched an object of the cluster: apply all of them again."""
        self._done.clear()

    async def carry_out(self, snapshot: Snapshot, actions: tuple[Action, ...]) -> tuple[str, ...]:
        """Do all of it; what the API server will not take is returned, each thing once."""
        self._admin_key = ""
        self._forget_old()
        refusals: dict[str, None] = {}
        for action in actions:
            if not self._may_write():
                raise LeaseLostError("the lease is not held any more")
            kind = type(action).__name__
            try:
                await self._do(snapshot, action)
            except OperatorError as error:
                self._metrics.actions.labels(kind, "failed").inc()
                logger.warning("%s/%s: %s: %s", *snapshot.owner[1::-1], kind, error)
                if refusal := _refusal(action, error):
                    refusals[refusal] = None
            else:
                self._metrics.actions.labels(kind, "done").inc()
        return tuple(refusals)

    async def _do(self, snapshot: Snapshot, action: Action) -> None:
        owner = snapshot.owner
        match action:
            case ApplyChild(manifest):
                await self._apply(manifest)
            case CreatePod(manifest=manifest):
                await ensure_admin_secret(self._kube, snapshot)
                await self._kube.create(manifest)
            case PatchPod(name, uid, labels, annotations):
                changed = {"labels": dict(labels), "annotations": dict(annotations)}
                await self._kube.patch_pod(owner, name, uid, changed)
            case AdoptPod(name, uid):
                adopted = {"ownerReferences": [owner_reference(owner)]}
                await self._kube.patch_pod(owner, name, uid, adopted)
            case DeletePod(name, uid, reason):
                logger.info("%s/%s: delete %s: %s", owner.namespace, owner.name, name, reason)
                await self._kube.delete("v1", "Pod", owner, name, uid)
            case DeleteSettings(revision):
                name = settings_name(owner.name, revision)
                await self._kube.delete("v1", "ConfigMap", owner, name, "")
            case SetFinalizer(present):
                await self._kube.set_finalizer(owner, present=present)
            case CordonNode() | DrainNode() | AbortDrain() | ShedNode() | SetBudget():
                await self._tell(snapshot, action)

    async def _tell(self, snapshot: Snapshot, order: Order) -> None:
        if not self._admin_key:  # once a round
            self._admin_key = await read_admin_key(self._kube, snapshot)
        await self._nodes.tell(order, self._admin_key)

    async def _apply(self, manifest: Mapping[str, Any]) -> None:
        place = f"{manifest['kind']} {manifest['metadata']['name']}"
        text = json.dumps(manifest, sort_keys=True)
        content = hashlib.sha256(text.encode()).hexdigest()
        if self._is_new(place, content):
            await self._kube.apply(manifest)
            self._note(place, content)

    def _is_new(self, what: str, content: str) -> bool:
        known = self._done.get(what)
        return known is None or known[0] != content

    def _note(self, what: str, content: str) -> None:
        self._done[what] = (content, self._monotonic())

    def _forget_old(self) -> None:
        """Bounds what is remembered to a minute's work, and mends what was changed unseen."""
        oldest = self._monotonic() - AGAIN_AFTER_S
        self._done = {what: (c, at) for what, (c, at) in self._done.items() if at > oldest}


def _refusal(action: Action, error: OperatorError) -> str:
    """What the user has to mend: the API server does not take what their spec asks for."""
    refused = isinstance(error, ApiServerError) and error.status in REFUSED
    if not refused or not isinstance(action, (CreatePod, ApplyChild)):
        return ""
    assert isinstance(error, ApiServerError)
    what = "a Pod" if isinstance(action, CreatePod) else f"the {action.manifest['kind']}"
    return f"{what} cannot be made: {error.message}"
