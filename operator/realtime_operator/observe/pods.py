"""Kubernetes' objects as the API server sends them, read into what decisions are made on. Pure.

Everything is read leniently: a Pod just made has no status, and a Pod of users may lack anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from realtime_operator.build import names
from realtime_operator.build.node_settings import ADMIN_KEY_VARIABLE
from realtime_operator.crd.realtime_cluster import SecretKeyRef
from realtime_operator.decide.snapshot import DrainRecord, KubernetesNode, Pod

Object = Mapping[str, Any]

ZONE: Final = "topology.kubernetes.io/zone"


def read_pod(manifest: Object, cluster_uid: str) -> Pod | None:
    """A Pod of the cluster; None if something else controls it."""
    metadata, status = manifest["metadata"], manifest.get("status", {})
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    controller = _controller(metadata)
    if controller not in (cluster_uid, ""):
        return None
    ready: Object = next(
        (each for each in status.get("conditions", ()) if each["type"] == "Ready"), {}
    )
    active_since = annotations.get(names.ACTIVE_SINCE)
    deleted = metadata.get("deletionTimestamp")
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        revision=labels.get(names.REVISION, ""),
        created_at=seconds(metadata["creationTimestamp"]),
        version=metadata.get("resourceVersion", ""),
        is_owned=controller == cluster_uid,
        ip=status.get("podIP", ""),
        kubernetes_node=manifest.get("spec", {}).get("nodeName", ""),
        is_ready=ready.get("status") == "True",
        ready_changed_at=seconds(ready.get("lastTransitionTime")),
        has_failed=status.get("phase") in ("Failed", "Succeeded"),
        problem=_problem(status),
        deleted_until=seconds(deleted) if deleted else None,
        deletion_grace_s=float(metadata.get("deletionGracePeriodSeconds") or 0.0),
        is_accepting=labels.get(names.ACCEPTING) == "true",
        active_since=_number(active_since),
        reopened_at=_number(annotations.get(names.REOPENED_AT)) or 0.0,
        drain=DrainRecord.read(annotations),
        grace_s=manifest.get("spec", {}).get("terminationGracePeriodSeconds"),
        admin_key=_admin_key(manifest.get("spec", {})),
    )


def read_kubernetes_node(manifest: Object) -> KubernetesNode:
    """A machine, as far as it matters."""
    metadata = manifest["metadata"]
    return KubernetesNode(
        name=metadata["name"],
        is_cordoned=bool(manifest.get("spec", {}).get("unschedulable", False)),
        zone=metadata.get("labels", {}).get(ZONE, ""),
    )


def seconds(timestamp: str | None) -> float:
    """A time of Kubernetes in seconds since the epoch; 0 if there is none."""
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else 0.0


def _controller(metadata: Object) -> str:
    references = metadata.get("ownerReferences", ())
    return next((each["uid"] for each in references if each.get("controller")), "")


def _admin_key(spec: Object) -> SecretKeyRef | None:
    """The reference in the environment of the node's container; the last of a name counts."""
    given: Object = {}
    for container in spec.get("containers", ()):
        for variable in container.get("env", ()) if container["name"] == names.CONTAINER else ():
            if variable["name"] == ADMIN_KEY_VARIABLE:
                given = variable.get("valueFrom", {}).get("secretKeyRef", {})
    try:
        return SecretKeyRef.model_validate(given)
    except ValidationError:
        return None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _problem(status: Object) -> str:
    """Why a node does not run: of its own container if that does not, else of the Pod.

    Containers that others have put beside it say nothing about it and its clients.
    """
    for container in status.get("containerStatuses", ()):
        if container.get("name", names.CONTAINER) != names.CONTAINER:
            continue
        state = container.get("state", {})
        for kind in ("waiting", "terminated"):
            detail = state.get(kind)
            if detail and detail.get("reason") not in (
                None,
                "ContainerCreating",
                "PodInitializing",
            ):
                return _worded(detail)
    if status.get("phase") == "Failed":
        return _worded(status)
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _worded(condition)
    return ""


def _worded(detail: Object) -> str:
    words = [detail.get("reason", ""), " ".join(detail.get("message", "").split())]
    return ": ".join(word for word in words if word)[:400]
