"""What each service account may do: all of it, listed; a new right has to be added here."""

from __future__ import annotations

import pytest

from tests.support.kubernetes.installation import NAMESPACE, OPERATOR_NAMESPACE, Installed

OPERATOR_ACCOUNT = f"system:serviceaccount:{OPERATOR_NAMESPACE}:realtime-operator"
NODES_ACCOUNT = f"system:serviceaccount:{NAMESPACE}:default"

KEPT = {"list", "watch", "create", "patch"}
OF_CLUSTERS = {
    "realtimeclusters.realtimecluster.dev": {"get", "list", "watch", "patch"},
    "realtimeclusters.realtimecluster.dev/status": {"patch"},
    "realtimeclusters.realtimecluster.dev/finalizers": {"update"},
    "pods": KEPT | {"delete"},
    "configmaps": KEPT | {"delete"},
    "services": KEPT,
    "poddisruptionbudgets.policy": KEPT,
    "networkpolicies.networking.k8s.io": KEPT | {"delete"},
    "secrets": {"get", "create"},
    "events": {"create"},
    "nodes": {"list"},
}
OF_THE_LEASE = {
    "leases.coordination.k8s.io": {"create"},
    "leases.coordination.k8s.io [realtime-operator]": {"get", "update"},
}
EVERYBODY = {
    "selfsubjectreviews.authentication.k8s.io",
    "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io",
}
"""What every account may ask about itself."""


def allowed(installed: Installed, account: str, namespace: str) -> dict[str, set[str]]:
    """The verbs by resource, with the names that they are limited to."""
    listed = installed.cluster.kubectl(
        "auth", "can-i", "--list", "--no-headers", f"--as={account}", "--namespace", namespace
    )
    verbs: dict[str, set[str]] = {}
    for line in listed.splitlines():
        resource = "" if line[:1].isspace() else line.split(maxsplit=1)[0]
        urls, names, granted = (part.partition("]")[0] for part in line.split("[")[1:])
        if urls or resource in EVERYBODY:
            continue
        key = f"{resource} [{names}]" if names else resource
        verbs.setdefault(key, set()).update(granted.split())
    return verbs


@pytest.mark.parametrize(
    ("account", "namespace", "expected"),
    [
        (OPERATOR_ACCOUNT, NAMESPACE, OF_CLUSTERS),
        (OPERATOR_ACCOUNT, OPERATOR_NAMESPACE, OF_CLUSTERS | OF_THE_LEASE),
        (NODES_ACCOUNT, NAMESPACE, {}),
    ],
    ids=["operator-in-a-watched-namespace", "operator-in-its-own", "nodes"],
)
def test_an_account_may_do_exactly_this(
    installed: Installed, account: str, namespace: str, expected: dict[str, set[str]]
) -> None:
    """The API server lists these rights for the account and no others."""
    assert allowed(installed, account, namespace) == expected
