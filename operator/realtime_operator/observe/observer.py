"""One look at a cluster: the resource, its Pods, what the nodes say, the machines below them.

Pods are listed anew for every round, not taken from a watch's cache: a round must see what the
round before it has done, or it would drain a second node because the first still looks untouched.
Watches only tell when to look.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import ValidationError

from realtime_operator.apply.kube_client import FORBIDDEN, KubeClient
from realtime_operator.build.names import FINALIZER, Owner
from realtime_operator.build.node_settings import FILE
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec
from realtime_operator.crd.status import RealtimeClusterStatus
from realtime_operator.decide.snapshot import KubernetesNode, Snapshot
from realtime_operator.errors import ApiServerError, SpecError
from realtime_operator.observe.node_metrics import StatusReader
from realtime_operator.observe.pods import read_kubernetes_node, read_pod, seconds
from realtime_operator.observe.sightings import Sightings
from realtime_operator.observe.watch import Watch

logger = logging.getLogger(__name__)

MACHINES_FOR_S: Final = 5.0
"""How long a list of the machines serves all clusters."""


class Machines:
    """The Kubernetes nodes, listed at most every few seconds for all clusters together."""

    def __init__(self, kube: KubeClient, monotonic: Callable[[], float] = time.monotonic) -> None:
        """List them through `kube`."""
        self._kube = kube
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._listed_at = float("-inf")
        self._known: Mapping[str, KubernetesNode] = {}

    async def all(self) -> Mapping[str, KubernetesNode]:
        """By name; none where the operator was not allowed to list them."""
        async with self._lock:
            if self._monotonic() >= self._listed_at + MACHINES_FOR_S:
                try:
                    listed = [
                        read_kubernetes_node(each)
                        for each in await self._kube.list_kubernetes_nodes()
                    ]
                except ApiServerError as error:
                    if error.status != FORBIDDEN:
                        raise
                    listed = []
                self._known = {each.name: each for each in listed}
                self._listed_at = self._monotonic()
            return self._known


class Observer:
    """Looks at one cluster, round after round."""

    def __init__(
        self,
        kube: KubeClient,
        nodes: StatusReader,
        machines: Machines,
        *,
        operator_namespace: str,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Look through these."""
        self._kube = kube
        self._nodes = nodes
        self._machines = machines
        self._operator_namespace = operator_namespace
        self._wall_clock = wall_clock
        self.watch = Watch()
        """What was found out in earlier rounds; hears of each decision."""
        self._sightings = Sightings()

    async def look(self, namespace: str, name: str) -> Snapshot | None:
        """Everything there is of a cluster; None if it is gone.

        Raises `ApiServerError`, and `SpecError` if the resource cannot be understood.
        """
        resource = await self._kube.read_cluster(namespace, name)
        if resource is None:
            return None
        metadata = resource["metadata"]
        owner = Owner(name, namespace, metadata["uid"])
        listed, config_maps, machines = await asyncio.gather(
            self._kube.list_pods(owner), self._kube.list_config_maps(owner), self._machines.all()
        )
        pods = [pod for each in listed if (pod := read_pod(each, owner.uid))]
        spec, status = _parsed(resource)
        policies: list[dict[str, Any]] = []
        if not spec.network_policy.enabled:
            policies = await self._kube.list_network_policies(owner)
        deleted = metadata.get("deletionTimestamp")
        reports = await self._nodes.read_all(pods, spec.autoscaling.metrics)
        has_finalizer = FINALIZER in metadata.get("finalizers", ())
        ends_with_namespace = bool(deleted) and (
            has_finalizer and await self._kube.is_namespace_ending(namespace)
        )
        now = self._wall_clock()
        pods, deleted_at = self._sightings.look(
            pods, owner.uid, seconds(deleted) if deleted else None, now
        )
        completed, watched = self.watch.look(pods, reports, spec, now)
        return Snapshot(
            owner=owner,
            generation=metadata["generation"],
            spec=spec,
            status=status,
            pods=completed,
            kubernetes_nodes=machines,
            deleted_at=deleted_at,
            has_finalizer=has_finalizer,
            ends_with_namespace=ends_with_namespace,
            settings_revisions=frozenset(_settings_revisions(owner, config_maps)),
            policies={
                each["metadata"]["name"]: each["metadata"]["uid"]
                for each in policies
                if _is_ours(owner, each)
            },
            operator_namespace=self._operator_namespace,
            watched=watched,
        )


def _parsed(resource: Mapping[str, Any]) -> tuple[RealtimeClusterSpec, RealtimeClusterStatus]:
    try:
        spec = RealtimeClusterSpec.model_validate(resource["spec"])
    except ValidationError as error:
        raise SpecError(f"{resource['metadata']['name']}: {error}") from None
    try:
        status = RealtimeClusterStatus.model_validate(resource.get("status", {}))
    except ValidationError:
        status = RealtimeClusterStatus()  # of another version: it is written anew
    return spec, status


def _settings_revisions(owner: Owner, config_maps: list[dict[str, Any]]) -> list[str]:
    """Revisions of the ConfigMaps that are ours to delete."""
    names = [
        each["metadata"]["name"]
        for each in config_maps
        if FILE in each.get("data", {}) and _is_ours(owner, each)
    ]
    return [name.removeprefix(f"{owner.name}-") for name in names]


def _is_ours(owner: Owner, manifest: Mapping[str, Any]) -> bool:
    """Whether an object was made for this cluster, and not only labelled like it."""
    references = manifest["metadata"].get("ownerReferences", ())
    return any(each["uid"] == owner.uid for each in references)
