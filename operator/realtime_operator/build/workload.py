"""The Pod of a node.

A bare Pod, owned by its RealtimeCluster: no Deployment or StatefulSet lets us choose who goes, or
drain one after another for minutes. It meets restricted Pod Security, has no token for the API
server, and gets as long to end as its drain takes. It begins outside of the public Service.
"""

from __future__ import annotations

from typing import Any, Final

from realtime_operator.build.names import (
    ACCEPTING,
    CONTAINER,
    REVISION,
    Owner,
    cluster_labels,
    is_own_annotation,
    metadata,
    settings_name,
)
from realtime_operator.build.node_settings import (
    FILE,
    INTERNAL_PORT,
    PUBLIC_PORT,
    grace_period_s,
    secret_variables,
)
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec

USER_ID: Final = 65532
SETTINGS_DIRECTORY: Final = "/etc/realtime"
GONE_NODE_SECONDS: Final = 30
"""How long a Pod is waited for whose Kubernetes node does not answer; five minutes by default."""
SAFE_TO_EVICT: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
"""Whether the Cluster Autoscaler may take away the machine below a Pod: users know better, if they
say so. It passes the disruption budget and the Pod's drain either way."""


def pod(owner: Owner, spec: RealtimeClusterSpec, revision: str, name: str) -> dict[str, Any]:
    """The manifest of one node's Pod."""
    template = spec.template
    about = metadata(owner, name, "node")
    about["labels"] = {
        **template.labels,
        **about["labels"],
        REVISION: revision,
        ACCEPTING: "false",
    }
    about["annotations"] = {SAFE_TO_EVICT: "true"} | {
        name: value for name, value in template.annotations.items() if not is_own_annotation(name)
    }
    optional = {
        "nodeSelector": template.node_selector,
        "affinity": template.affinity,
        "priorityClassName": template.priority_class_name,
        "runtimeClassName": template.runtime_class_name,
        "imagePullSecrets": template.image_pull_secrets,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": about,
        "spec": {
            "restartPolicy": "Always",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": grace_period_s(spec),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(owner, spec)],
            "volumes": [
                {"name": "settings", "configMap": {"name": settings_name(owner.name, revision)}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
                *template.volumes,
            ],
            "tolerations": [*_TOLERATIONS, *template.tolerations],
            "topologySpreadConstraints": template.topology_spread_constraints
            or _spread(owner.name),
            **{key: value for key, value in optional.items() if value},
        },
    }


def _container(owner: Owner, spec: RealtimeClusterSpec) -> dict[str, Any]:
    secrets = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}}}
        for name, ref in secret_variables(owner.name, spec).items()
    ]
    own_name = {"fieldRef": {"fieldPath": "metadata.name"}}
    return {
        "name": CONTAINER,
        "image": spec.image,
        "imagePullPolicy": spec.image_pull_policy,
        "args": ["serve", "--config", f"{SETTINGS_DIRECTORY}/{FILE}"],
        "env": [
            {"name": "REALTIME_NODE_NODE__NAME", "valueFrom": own_name},
            *secrets,
            *spec.template.env,
        ],
        "ports": [
            {"name": "public", "containerPort": PUBLIC_PORT, "protocol": "TCP"},
            {"name": "internal", "containerPort": INTERNAL_PORT, "protocol": "TCP"},
        ],
        "resources": spec.template.resources,
        "startupProbe": _probe("/livez", period_s=1, failures=60),
        "livenessProbe": _probe("/livez", period_s=10, failures=6),
        "readinessProbe": _probe("/readyz", period_s=2, failures=3),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "settings", "mountPath": SETTINGS_DIRECTORY, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's own
            *spec.template.volume_mounts,
        ],
    }


def _probe(path: str, *, period_s: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "internal"},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


_TOLERATIONS: Final = [
    {
        "key": f"node.kubernetes.io/{taint}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": GONE_NODE_SECONDS,
    }
    for taint in ("not-ready", "unreachable")
]


def _spread(cluster: str) -> list[dict[str, Any]]:
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": cluster_labels(cluster)},
            "matchLabelKeys": [REVISION],
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]
