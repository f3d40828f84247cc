"""One RealtimeCluster under test: its spec is changed, and what became of that is asked for.

All is asked of the API server, call by call, as kubectl tells it. `until` waits for what a call
says; an API server that does not answer for a while is no answer, so that tests may stop it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple

from tests.support.kubernetes.cluster import Cluster, CommandFailed
from tests.support.kubernetes.traffic import Traffic

ASK_EVERY_S: Final = 0.5
NODE_ANSWERS_S: Final = 5.0
CLUSTER_LABEL: Final = "realtimecluster.dev/cluster"
ACCEPTING_LABEL: Final = "realtimecluster.dev/accepting"

Object = dict[str, Any]


class RealtimeCluster(NamedTuple):
    """A RealtimeCluster by its name."""

    cluster: Cluster
    name: str
    namespace: str

    # --- what it is -------------------------------------------------------------------------

    def resource(self) -> Object:
        """The resource."""
        return self.cluster.get("rtc", self.name, self.namespace)

    def pods(self) -> list[Object]:
        """The Pods of its nodes, those that end included."""
        return self.cluster.find("pods", self.namespace, f"{CLUSTER_LABEL}={self.name}")

    def names(self) -> set[str]:
        """The names of these Pods."""
        return {pod["metadata"]["name"] for pod in self.pods()}

    def redis(self) -> Object:
        """The Pod of the Redis that the chart has made beside it."""
        return self.cluster.get("pod", f"{self.name}-valkey-0", self.namespace)

    def incarnations(self) -> set[tuple[str, str, int]]:
        """Which processes run: name and uid of every Pod, and how often its container restarted."""
        return {
            (
                pod["metadata"]["name"],
                pod["metadata"]["uid"],
                sum(each["restartCount"] for each in pod["status"].get("containerStatuses", ())),
            )
            for pod in self.pods()
        }

    def accepting(self) -> int:
        """Ready Pods that the Service sends clients to."""
        return sum(
            is_ready(pod) and pod["metadata"]["labels"].get(ACCEPTING_LABEL) == "true"
            for pod in self.pods()
        )

    def clients(self) -> dict[str, int]:
        """How many clients each node has, by the name of its Pod."""
        return {name: said["num_clients"] for name, said in self.statuses().items()}

    def statuses(self) -> dict[str, Object]:
        """What each node tells of itself on `/status`, by the name of its Pod."""
        said: dict[str, Object] = {}
        for name in sorted(self.names()):
            path = f"/api/v1/namespaces/{self.namespace}/pods/{name}:9000/proxy/status"
            # The API server waits long for a Pod that is going; whoever asks asks again.
            answer = self.cluster.kubectl("get", "--raw", path, within_s=NODE_ANSWERS_S)
            said[name] = json.loads(answer)
        return said

    def boots(self) -> dict[str, str]:
        """What names each node's start, by the name of its Pod."""
        return {name: said["boot_id"] for name, said in self.statuses().items()}

    def budget_per_s(self) -> int:
        """Clients per second that may be sent away for every accepting node."""
        budget: int = self.resource()["spec"]["reconnectBudget"]["connectionsPerSecondPerNode"]
        return budget

    def condition(self, kind: str) -> Object:
        """One of its conditions."""
        conditions = self.resource()["status"]["conditions"]
        return next(each for each in conditions if each["type"] == kind)

    def events(self) -> Counter[str]:
        """How many Events there are of it, by reason."""
        selector = f"--field-selector=involvedObject.name={self.name}"
        listed = self.cluster.kubectl("get", "events", "-n", self.namespace, selector, "-o", "json")
        return Counter(event["reason"] for event in json.loads(listed)["items"])

    def is_settled(self) -> bool:
        """Whether the operator has seen the spec, and all nodes are as wanted and nothing else."""
        resource = self.resource()
        status, replicas = resource.get("status", {}), _wanted(resource)
        counts = ("replicas", "readyReplicas", "acceptingReplicas", "updatedReplicas")
        return bool(
            status.get("observedGeneration") == resource["metadata"]["generation"]
            and status["revision"] == status["currentRevision"]
            and all(status[count] == replicas for count in counts)
            and status["drainingReplicas"] == 0
            and len(self.pods()) == replicas == self.accepting()
        )

    def is_settled_at(self, replicas: int) -> bool:
        """Whether so many nodes are wanted, and there, and nothing else is going on."""
        return _wanted(self.resource()) == replicas and self.is_settled()

    def scaling(self) -> Object:
        """What its status says of the number of nodes; nothing in mode Disabled."""
        return self.resource().get("status", {}).get("autoscaling") or {}

    def leaving(self, *states: str) -> list[Object]:
        """The Pods whose drain is in one of these states."""
        return [
            pod
            for pod in self.pods()
            if pod["metadata"]["annotations"].get("realtimecluster.dev/drain-state") in states
        ]

    # --- what is done to it -----------------------------------------------------------------

    def change(self, **spec: Any) -> None:
        """Change the spec; None takes a field away."""
        patch = json.dumps({"spec": spec})
        command = ("patch", "rtc", self.name, "-n", self.namespace, "--type=merge")
        self.cluster.kubectl(*command, f"--patch={patch}")

    def roll(self, release: str) -> None:
        """Ask for other nodes, that differ in nothing but an annotation."""
        self.change(template={"annotations": {"example.com/release": release}})

    def scale(self, replicas: int) -> None:
        """Do what people do: `kubectl scale`."""
        wanted = f"--replicas={replicas}"
        self.cluster.kubectl("scale", "rtc", self.name, "-n", self.namespace, wanted)

    def traffic(self, clients: int, per_s: float = 50.0) -> AbstractAsyncContextManager[Traffic]:
        """Clients, and a backend that publishes to them."""
        return Traffic.flowing(
            self.cluster, self.name, self.namespace, clients=clients, per_s=per_s
        )


def _wanted(resource: Object) -> int:
    """How many nodes there have to be: what the operator has found, where it finds the number."""
    found = resource.get("status", {}).get("autoscaling", {}).get("desired")
    is_given = resource["spec"]["autoscaling"]["mode"] == "Disabled"
    wanted: int = resource["spec"]["replicas"] if is_given or found is None else found
    return wanted


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether Kubernetes holds a Pod for ready."""
    conditions = pod["status"].get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


async def until(
    holds: Callable[[], bool], *, within_s: float, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Ask until something holds; `meanwhile` may look at more.

    Raises:
        AssertionError: it did not hold within `within_s` seconds; says which errors there were.
    """
    error = ""
    try:
        async with asyncio.timeout(within_s):
            while True:
                try:
                    if await asyncio.to_thread(holds):
                        return
                    await asyncio.to_thread(meanwhile)
                except (CommandFailed, subprocess.TimeoutExpired) as failed:
                    error = str(failed)
                await asyncio.sleep(ASK_EVERY_S)
    except TimeoutError:
        raise AssertionError(f"not within {within_s} s: {holds}; {error}") from None
