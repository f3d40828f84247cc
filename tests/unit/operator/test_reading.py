"""Kubernetes' objects and nodes' answers, read into what decisions are made on."""

from __future__ import annotations

from typing import Any

import pytest

from realtime_operator.build import names
from realtime_operator.build.workload import pod as pod_manifest
from realtime_operator.crd.realtime_cluster import SecretKeyRef
from realtime_operator.observe.node_status import Quietness, ReportedDrain, ReportedStatus
from realtime_operator.observe.pods import read_kubernetes_node, read_pod, seconds
from tests.support.simulated_cluster import OWNER, make_spec

CREATED = "2026-01-01T00:00:00Z"


def manifest(status: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    """A Pod as the API server sends it."""
    about = {"name": "chat-0", "uid": "u", "creationTimestamp": CREATED}
    owners = [{"uid": "other"}, {"uid": "c", "controller": True}]
    return {
        "metadata": {**about, "ownerReferences": owners, **metadata},
        "status": status or {},
    }


def test_a_pod_that_was_just_made_can_be_read() -> None:
    """Nothing but its metadata is needed."""
    pod = read_pod(manifest(), "c")
    assert pod
    assert (pod.name, pod.is_owned, pod.is_ready, pod.drain) == ("chat-0", True, False, None)
    assert pod.created_at == seconds(CREATED)


def test_a_pod_that_somebody_else_controls_is_not_ours() -> None:
    """Labels do not make a Pod the cluster's; one that nobody controls can be taken in."""
    assert read_pod(manifest(), "another cluster") is None
    orphan = read_pod(manifest(ownerReferences=[{"uid": "other"}]), "c")
    assert orphan
    assert not orphan.is_owned


def test_what_was_spoiled_by_hand_is_passed_over() -> None:
    """Annotations that make no sense are as if they were not there."""
    spoiled = {names.ACTIVE_SINCE: "yesterday", names.DRAIN_STATE: "?"}
    pod = read_pod(manifest(annotations=spoiled), "c")
    assert pod
    assert (pod.active_since, pod.drain) == (None, None)


def test_a_pod_says_what_it_was_made_with() -> None:
    """The reference to its key, and its grace, count; not what the spec has come to say since."""
    reference = SecretKeyRef(name="mine", key="k")
    spec = make_spec(secrets={"adminKeySecretRef": reference.model_dump()})
    made = {**manifest(), "spec": pod_manifest(OWNER, spec, "rev", "chat-0")["spec"]}
    pod = read_pod(made, "c")
    assert pod
    assert pod.admin_key == reference
    assert pod.grace_s == 50
    made["spec"]["containers"][0]["name"] = "sidecar"
    other = read_pod(made, "c")
    assert other
    assert other.admin_key is None


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        ({"containerStatuses": [{"state": {"running": {}}}]}, ""),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, ""),
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "A", "message": "b\n c"}}}]},
            "A: b c",
        ),
        ({"containerStatuses": [{"state": {"terminated": {"reason": "Error"}}}]}, "Error"),
        (
            {
                "containerStatuses": [
                    {"name": "mesh", "state": {"terminated": {"reason": "Error"}}},
                    {"name": "node", "state": {"running": {}}},
                ]
            },
            "",
        ),
        ({"phase": "Failed", "reason": "Evicted", "message": "no disk"}, "Evicted: no disk"),
        (
            {
                "conditions": [
                    {"type": "Ready", "status": "False"},
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"},
                ]
            },
            "Unschedulable",
        ),
        ({"conditions": [{"type": "PodScheduled", "status": "True"}]}, ""),
    ],
)
def test_a_problem_is_told_in_kubernetes_words(status: dict[str, Any], problem: str) -> None:
    """Why a Pod does not run is what its container, the Pod or the scheduler says."""
    pod = read_pod(manifest(status), "c")
    assert pod
    assert pod.problem == problem


def test_a_machine_is_read() -> None:
    """What matters is its zone and whether it is cordoned."""
    node = read_kubernetes_node({"metadata": {"name": "a"}, "spec": {"unschedulable": True}})
    assert (node.is_cordoned, node.zone) == (True, "")


def test_quiet_is_counted_from_the_last_change() -> None:
    """A node has been quiet since its counter moved last, as far as anybody watched."""
    quietness = Quietness()

    def seen(accepted: int, now: float, boot: str = "b") -> float:
        report = ReportedStatus(boot_id=boot, num_clients=1, accepted_total=accepted)
        return quietness.seen(report, now).quiet_s

    assert seen(5, 10.0) == 0.0
    assert seen(5, 13.0) == 3.0
    assert seen(6, 14.0) == 0.0
    assert seen(6, 20.0) == 6.0
    assert seen(6, 20.0, boot="another") == 0.0
    quietness.keep_only(["another", "never seen"])
    assert seen(6, 30.0) == 0.0
    assert seen(6, 30.0, boot="another") == 10.0


def test_a_phase_is_counted_from_when_it_was_first_seen() -> None:
    """A node has been in its phase since it came into it, as far as anybody watched."""
    quietness = Quietness()

    def seen(phase: str, now: float) -> float:
        drain = ReportedDrain(phase=phase)
        report = ReportedStatus(boot_id="b", num_clients=1, accepted_total=int(now), drain=drain)
        return quietness.seen(report, now).phase_s

    assert [seen("serving", 10.0), seen("serving", 13.0)] == [0.0, 3.0]
    assert [seen("cordoned", 14.0), seen("cordoned", 20.0)] == [0.0, 6.0]
