"""The operator as a process: real kopf watches and a real client, on an API server of the test's.

`Kubelet` does for Pods what Kubernetes would: gives each a node of its own and calls it ready.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from realtime_operator.build import names
from realtime_operator.build.node_settings import ADMIN_KEY_VARIABLE
from tests.support.conditions import NEVER_S, eventually
from tests.support.fake_api_server import FakeApiServer
from tests.support.fake_node import FakeNode
from tests.support.operator_process import OperatorProcess

TEAM: Final = "/api/v1/namespaces/team"
CLUSTER: Final = "/apis/realtimecluster.dev/v1alpha1/namespaces/team/realtimeclusters/chat"
LEASE: Final = "/apis/coordination.k8s.io/v1/namespaces/operators/leases/realtime-operator"
SPEC: Final = {
    "replicas": 2,
    "image": "node:1",
    "drain": {"propagationSeconds": 0, "windowSeconds": 5},
    "update": {"minReadySeconds": 0},
}


class Kubelet:
    """Runs a fake node for every Pod."""

    def __init__(self, api: FakeApiServer) -> None:
        """Run nothing yet."""
        self._api = api
        self._addresses = iter(range(2, 250))
        self.nodes: dict[str, FakeNode] = {}
        self.port = 0

    async def run(self) -> None:
        """Start what is new, for ever."""
        while True:
            for pod in self._api.of_kind("pods"):
                if pod["metadata"]["uid"] not in self.nodes:
                    await self._start(pod)
            await asyncio.sleep(0.02)

    async def start_first(self) -> None:
        """Learn a port on which every address can listen."""
        node = FakeNode("127.0.0.1")
        self.port = await node.start()
        self.nodes["nobody's"] = node

    async def _start(self, pod: dict[str, Any]) -> None:
        node = FakeNode(f"127.0.0.{next(self._addresses)}")
        await node.start(self.port)
        node.status["num_clients"] = 3
        node.key = self._admin_key(pod)
        self.nodes[pod["metadata"]["uid"]] = node
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
        status = {"podIP": node.ip, "phase": "Running", "conditions": [ready]}
        self._api.put(f"{TEAM}/pods/{pod['metadata']['name']}", {**pod, "status": status})

    def _admin_key(self, pod: dict[str, Any]) -> str:
        """What the Secret holds that the Pod names, at the moment when its node starts."""
        [source] = [
            each["valueFrom"]["secretKeyRef"]
            for each in pod["spec"]["containers"][0]["env"]
            if each["name"] == ADMIN_KEY_VARIABLE
        ]
        secret = self._api.objects[f"{TEAM}/secrets/{source['name']}"]
        return base64.b64decode(secret["data"][source["key"]]).decode()

    def node_of(self, pod: dict[str, Any]) -> FakeNode:
        """The node in a Pod."""
        return self.nodes[pod["metadata"]["uid"]]


class World:
    """An API server with a kubelet, and the operators that the test starts."""

    def __init__(self, directory: Path) -> None:
        """Nothing runs yet."""
        self.api = FakeApiServer()
        self.kubelet = Kubelet(self.api)
        self.operators: list[OperatorProcess] = []
        self._directory = directory

    async def start_operator(self, *arguments: str) -> OperatorProcess:
        """Start one more operator, for the namespace `team` unless told otherwise."""
        kubeconfig = self._directory / "kubeconfig"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": self.api.url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        kubeconfig.write_text(json.dumps(document), encoding="utf-8")
        operator = await OperatorProcess.start(
            kubeconfig,
            f"operator-{len(self.operators)}",
            node_port=self.kubelet.port,
            arguments=arguments or ("--namespace", "team"),
        )
        self.operators.append(operator)
        return operator

    @property
    def holder(self) -> str:
        """Who holds the lease."""
        lease = self.api.objects.get(LEASE, {"spec": {}})
        return str(lease["spec"].get("holderIdentity", ""))

    def accepting(self, image: str = "node:1") -> list[dict[str, Any]]:
        """Pods of an image that clients are sent to."""
        return [
            pod
            for pod in self.api.of_kind("pods")
            if pod["metadata"]["labels"].get(names.ACCEPTING) == "true"
            and pod["spec"]["containers"][0]["image"] == image
        ]

    def change(self, **changed: Any) -> None:
        """Change the spec."""
        resource = self.api.objects[CLUSTER]
        self.api.put(CLUSTER, {**resource, "spec": {**resource["spec"], **changed}})

    async def until(self, condition: Any, what: str) -> None:
        """Wait, and show the operators' logs if it is in vain."""
        try:
            await eventually(condition, what=what)
        except AssertionError as error:
            error.add_note("\n".join(each.log for each in self.operators))
            raise


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A RealtimeCluster that nobody has looked at yet."""
    made = World(tmp_path)
    await made.api.start()
    await made.kubelet.start_first()
    kind = {"apiVersion": names.API_VERSION, "kind": "RealtimeCluster"}
    made.api.put(CLUSTER, {**kind, "spec": SPEC})
    made.api.put(f"{TEAM}/secrets/chat-admin", {"data": {"key": "dGhlIGFkbWluIGtleQ=="}})
    kubelet = asyncio.create_task(made.kubelet.run())
    yield made
    for operator in made.operators:
        await operator.kill()
    kubelet.cancel()
    await asyncio.gather(kubelet, return_exceptions=True)
    for node in made.kubelet.nodes.values():
        await node.stop()
    await made.api.stop()


async def test_a_cluster_is_brought_up_and_kept(world: World) -> None:
    """Nodes are let in to the Service; what is deleted by hand is there again; status says so."""
    operator = await world.start_operator("--all-namespaces")
    await world.until(lambda: len(world.accepting()) == 2, "two nodes accept")
    await world.until(
        lambda: world.api.objects[CLUSTER].get("status", {}).get("acceptingReplicas") == 2, "status"
    )
    world.api.remove(f"{TEAM}/services/chat")
    await world.until(lambda: f"{TEAM}/services/chat" in world.api.objects, "the Service is back")
    gone = world.accepting()[0]["metadata"]["uid"]
    world.api.remove(f"{TEAM}/pods/{world.accepting()[0]['metadata']['name']}")
    await world.until(lambda: len(world.accepting()) == 2, "another node accepts")
    assert gone not in {pod["metadata"]["uid"] for pod in world.accepting()}
    for plural in ("pods", "services", "configmaps", "poddisruptionbudgets", "networkpolicies"):
        assert "" not in world.api.selectors[plural]  # nobody else's objects are asked for
    assert await operator.stop() == 0
    assert world.holder == ""


@pytest.mark.thorough
async def test_nodes_come_within_seconds_of_the_load(world: World) -> None:
    """In mode Internal the operator finds the number itself, by what nodes say they carry."""
    autoscaling = {"mode": "Internal", "metrics": {"intervalSeconds": 2, "timeoutSeconds": 1}}
    spec = {**SPEC, "capacity": {"maxConnections": 10}, "autoscaling": autoscaling}
    world.change(**spec)
    await world.start_operator()
    await world.until(lambda: len(world.accepting()) == 2, "two nodes accept")
    for pod in world.accepting():
        world.kubelet.node_of(pod).status |= {"num_clients": 9, "loop_busy": 0.1}
    await world.until(lambda: len(world.accepting()) >= 4, "four nodes accept")
    told = [event["message"] for event in world.api.of_kind("events")]
    assert any("connections to reckon with" in message for message in told)


@pytest.mark.thorough
async def test_a_rollout_goes_on_after_the_operator_was_killed(world: World) -> None:
    """Another operator takes over in the middle, and every old node was cordoned and drained."""
    first = await world.start_operator()
    await world.until(lambda: len(world.accepting()) == 2, "two nodes accept")
    old = [world.kubelet.node_of(pod) for pod in world.accepting()]
    second = await world.start_operator()
    world.change(image="node:2")
    await world.until(
        lambda: any(body.get("phase") == "cordon" for node in old for _, body in node.told),
        "an old node is cordoned",
    )
    assert world.holder == "operator-0"
    await first.kill()
    await world.until(lambda: world.holder == "operator-1", "the second one leads")
    await world.until(
        lambda: len(world.accepting("node:2")) == 2 and len(world.api.of_kind("pods")) == 2,
        "only new nodes are left",
    )
    for node in old:
        assert {"cordon", "drain"} <= {body["phase"] for _, body in node.told}
    told = {event["reason"] for event in world.api.of_kind("events")}
    assert {"RolloutStarted", "DrainStarted", "DrainCompleted"} <= told
    assert await second.stop() == 0


@pytest.mark.thorough
async def test_another_admin_key_replaces_the_nodes(world: World) -> None:
    """Old nodes obey the key that they were started with, and new ones theirs."""
    await world.start_operator()
    await world.until(lambda: len(world.accepting()) == 2, "two nodes accept")
    old = {pod["metadata"]["uid"]: world.kubelet.node_of(pod) for pod in world.accepting()}
    key = base64.b64encode(b"another key").decode()
    world.api.put(f"{TEAM}/secrets/mine", {"data": {"k": key}})
    world.change(secrets={"adminKeySecretRef": {"name": "mine", "key": "k"}})
    await world.until(
        lambda: (
            len(world.accepting()) == 2
            and not old.keys() & {pod["metadata"]["uid"] for pod in world.api.of_kind("pods")}
        ),
        "only new nodes are left",
    )
    for node in old.values():
        assert {"cordon", "drain"} <= {body["phase"] for _, body in node.told}
    assert {world.kubelet.node_of(pod).key for pod in world.accepting()} == {"another key"}


@pytest.mark.thorough
async def test_a_pod_that_lost_its_label_is_replaced(world: World) -> None:
    """Its name is taken: its replacement gets another number, and an Event says why."""
    await world.start_operator()
    await world.until(lambda: len(world.accepting()) == 2, "two nodes accept")
    lost = world.accepting()[0]
    path = f"{TEAM}/pods/{lost['metadata']['name']}"
    world.api.put(path, {**lost, "metadata": {**lost["metadata"], "labels": {}}})
    await world.until(lambda: len(world.accepting()) == 2, "another node accepts")
    assert path in world.api.objects
    await world.until(
        lambda: any(event["reason"] == "NameTaken" for event in world.api.of_kind("events")),
        "it is told",
    )


async def test_an_operator_that_lost_the_lease_ends(world: World) -> None:
    """It does nothing more and exits with an error, so that it is started anew."""
    operator = await world.start_operator()
    await world.until(lambda: world.holder == "operator-0", "it leads")
    spec = {"holderIdentity": "somebody else", "leaseDurationSeconds": 300}
    world.api.put(LEASE, {**world.api.objects[LEASE], "spec": spec})
    assert await asyncio.wait_for(operator.process.wait(), NEVER_S) == 1
    assert "the lease" in operator.log
    assert world.holder == "somebody else"


@pytest.mark.thorough
async def test_the_operator_outlives_the_api_server_for_a_moment(world: World) -> None:
    """Calls that fail cost a round, and nothing else."""
    await world.start_operator()
    await world.until(lambda: len(world.accepting()) == 2, "two nodes accept")
    world.api.failing = {("GET", "/pods"): 500, ("GET", "/chat"): 500}
    world.change(replicas=3)
    calls = len(world.api.calls)
    await world.until(
        lambda: ("GET", CLUSTER) in world.api.calls[calls:], "a round that fails was tried"
    )
    world.api.failing = {}
    await world.until(lambda: len(world.accepting()) == 3, "three nodes accept")
    assert world.operators[0].process.returncode is None


@pytest.mark.thorough
async def test_a_cluster_that_is_gone_is_looked_after_no_more(world: World) -> None:
    """Its keeper ends without an error; one of the same name is looked after again."""
    await world.start_operator()
    await world.until(lambda: len(world.accepting()) == 2, "two nodes accept")
    resource = world.api.objects[CLUSTER]
    world.api.remove(CLUSTER)
    for pod in world.api.of_kind("pods"):
        world.api.remove(f"{TEAM}/pods/{pod['metadata']['name']}")
    calls = len(world.api.calls)
    await world.until(lambda: ("GET", CLUSTER) in world.api.calls[calls:], "it was looked for")
    assert not world.api.of_kind("pods")
    world.api.put(CLUSTER, {"kind": resource["kind"], "spec": SPEC, "metadata": {"uid": "new"}})
    await world.until(lambda: len(world.accepting()) == 2, "two nodes accept again")
    owners = {pod["metadata"]["ownerReferences"][0]["uid"] for pod in world.api.of_kind("pods")}
    assert owners == {"new"}
