"""What to print when a test has failed: what the cluster, the operator and Kubernetes say."""

from __future__ import annotations

import subprocess
from typing import Final

from tests.support.kubernetes.cluster import Cluster, CommandFailed
from tests.support.kubernetes.installation import OPERATOR_NAMESPACE

LAST_LINES: Final = 80
OPERATOR_LOG: Final = (
    "logs",
    f"--namespace={OPERATOR_NAMESPACE}",
    "--selector=app.kubernetes.io/component=operator",
    "--prefix",
    f"--tail={LAST_LINES}",
)
QUESTIONS: Final = (
    ("get", "pods", "--all-namespaces", "--output=wide"),
    ("get", "realtimeclusters", "--all-namespaces", "--output=yaml"),
    ("get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp"),
    OPERATOR_LOG,
    (*OPERATOR_LOG, "--previous"),
)


def explain(cluster: Cluster) -> str:
    """The ends of the answers to all questions; one that is not answered says why."""
    return "\n\n".join(f"$ kubectl {' '.join(each)}\n{_ask(cluster, each)}" for each in QUESTIONS)


def _ask(cluster: Cluster, question: tuple[str, ...]) -> str:
    try:
        answer = cluster.kubectl(*question)
    except (CommandFailed, subprocess.TimeoutExpired) as failed:
        return str(failed)
    lines = answer.splitlines()
    return "\n".join(lines if "--output=yaml" in question else lines[-LAST_LINES:])
