"""Names, labels and annotations: how everything that belongs to a cluster is found again.

A Pod's name follows from cluster, revision and a number, so that a create that is repeated after a
crash meets its own first try (409). What the operator has to remember about a Pod stands in the
Pod's annotations, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Final, NamedTuple

from realtime_operator.crd.realtime_cluster import GROUP, KIND, VERSION

FIELD_MANAGER: Final = "realtime-operator"
API_VERSION: Final = f"{GROUP}/{VERSION}"

# labels
CLUSTER: Final = f"{GROUP}/cluster"
REVISION: Final = f"{GROUP}/revision"
ACCEPTING: Final = f"{GROUP}/accepting"
"""`true` on Pods that the public Service sends new clients to."""
API_CLIENT: Final = f"{GROUP}/api-client"
"""`true` on Pods of users that may reach the internal port."""
MANAGED_BY: Final = "app.kubernetes.io/managed-by"

# annotations
ACTIVE_SINCE: Final = f"{GROUP}/active-since"
REOPENED_AT: Final = f"{GROUP}/reopened-at"
DRAIN_ID: Final = f"{GROUP}/drain-id"
DRAIN_STATE: Final = f"{GROUP}/drain-state"
DRAIN_REASON: Final = f"{GROUP}/drain-reason"
DRAIN_BOOT_ID: Final = f"{GROUP}/drain-boot-id"
DRAIN_CORDONED_AT: Final = f"{GROUP}/drain-cordoned-at"
DRAIN_DEADLINE: Final = f"{GROUP}/drain-deadline"


FINALIZER: Final = f"{GROUP}/drain-on-delete"

CONTAINER: Final = "node"
"""The container of a Pod that the node runs in, beside those that others may add."""


class Owner(NamedTuple):
    """The RealtimeCluster that objects are made for."""

    name: str
    namespace: str
    uid: str


def is_own_annotation(name: str) -> bool:
    """Whether an annotation is for the operator to write: there it keeps what it has to know."""
    return name.startswith(f"{GROUP}/")


def cluster_labels(cluster: str) -> dict[str, str]:
    """What selects the Pods of a cluster."""
    return {CLUSTER: cluster}


def object_labels(cluster: str, component: str) -> dict[str, str]:
    """Labels of everything that the operator makes."""
    return {
        "app.kubernetes.io/name": "realtime-cluster",
        "app.kubernetes.io/instance": cluster,
        "app.kubernetes.io/component": component,
        MANAGED_BY: FIELD_MANAGER,
        **cluster_labels(cluster),
    }


def owner_reference(owner: Owner) -> dict[str, Any]:
    """Makes Kubernetes delete an object with its cluster, and nobody else manage it."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def metadata(owner: Owner, name: str, component: str) -> dict[str, Any]:
    """Metadata of an object that belongs to a cluster."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": object_labels(owner.name, component),
        "ownerReferences": [owner_reference(owner)],
    }


def pod_names(cluster: str, revision: str, count: int, taken: Container[str]) -> list[str]:
    """The next free names of Pods of a revision; the lowest numbers first."""
    names: list[str] = []
    number = 0
    while len(names) < count:
        name = f"{cluster}-{revision}-{number}"
        if name not in taken:
            names.append(name)
        number += 1
    return names


def release_command(owner: Owner) -> str:
    """What a person runs to let go a deleted RealtimeCluster that the operator cannot let go."""
    return (
        f"kubectl -n {owner.namespace} patch realtimecluster {owner.name} --type=merge"
        """ -p '{"metadata":{"finalizers":null}}'"""
    )


def settings_name(cluster: str, revision: str) -> str:
    """Name of the ConfigMap with the settings of a revision's nodes."""
    return f"{cluster}-{revision}"


def admin_secret_name(cluster: str) -> str:
    """Name of the Secret that the operator makes where the spec names none."""
    return f"{cluster}-admin"
