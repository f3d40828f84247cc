"""A cluster that is not there: Pods, nodes and clients as far as the operator's decisions see them.

It keeps Pods as the API server would, in manifests, and is read by the operator's own readers. A
round takes a snapshot, decides, and carries out the plan, or some of it: actions may be lost or
come twice, and the operator may die after any of them; everything it remembers is then gone. Every
action and every move of a client is recorded. Nodes close clients at the pace they were told, all
together within the reconnect budget that they share. Time is a number that `run` turns, a second at
a time.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from realtime_operator.apply.drain_client import Order
from realtime_operator.build import names
from realtime_operator.build.names import Owner
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec
from realtime_operator.crd.status import RealtimeClusterStatus
from realtime_operator.decide.actions import (
    AbortDrain,
    Action,
    AdoptPod,
    ApplyChild,
    CordonNode,
    CreatePod,
    DeletePod,
    DeletePolicy,
    DeleteSettings,
    DrainNode,
    PatchPod,
    SetBudget,
    SetFinalizer,
    ShedNode,
)
from realtime_operator.decide.decision import Plan, decide
from realtime_operator.decide.events import Event
from realtime_operator.decide.snapshot import KubernetesNode, Snapshot
from realtime_operator.observe.node_status import (
    ReportedBudget,
    ReportedDrain,
    ReportedShed,
    ReportedStatus,
)
from realtime_operator.observe.pods import read_pod
from realtime_operator.observe.watch import Watch
from realtime_operator.simulate.budget import ReconnectBudget

START: Final = 1_800_000_000.0
OWNER: Final = Owner("chat", "team", "uid-of-the-cluster")


class Fault(NamedTuple):
    """What goes wrong in one round of the operator; numbers count its actions."""

    dies_after: int = 10**9
    """So many actions: then the operator is gone, and another one starts."""
    lost: frozenset[int] = frozenset()
    """Actions that do not arrive."""
    doubled: frozenset[int] = frozenset()
    """Actions that arrive twice."""


FAULTLESS: Final = Fault()


def make_spec(**changed: Any) -> RealtimeClusterSpec:
    """A spec with short times; keywords replace parts of it."""
    spec = {
        "replicas": 3,
        "image": "node:1",
        "drain": {"propagationSeconds": 5, "windowSeconds": 30},
        "update": {"minReadySeconds": 2, "progressDeadlineSeconds": 60},
    }
    return RealtimeClusterSpec.model_validate({**spec, **changed})


@dataclass
class SimulatedNode:
    """A Pod and the process in it."""

    manifest: dict[str, Any]
    ready_at: float
    boot: int = 0
    phase: str = "serving"
    rate_per_s: float = 0.0
    owed: float = 0.0
    slowness: float = 1.0
    """How many times longer than planned it takes to send clients away."""
    forces_at: float | None = None
    accepted_total: int = 0
    closed_total: int = 0
    deliveries: float = 0.0
    """Publications written to clients since it started."""
    worked_s: float = 0.0
    """Time that its loop has worked since then."""
    connected: int = 0
    """`accepted_total` a second ago."""
    to_shed: int = 0
    shed_rate_per_s: float = 0.0
    lies: dict[str, Any] = field(default_factory=dict)
    """What it says instead of what is true."""
    answers: bool = True
    hears: bool = True
    """Whether orders reach it."""
    backplane_available: bool = True
    clients: list[int] = field(default_factory=list)
    is_broken: bool = False
    deleted_until: float | None = None

    @property
    def name(self) -> str:
        """Name of the Pod."""
        return str(self.manifest["metadata"]["name"])

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the Pod."""
        labels: dict[str, str] = self.manifest["metadata"]["labels"]
        return labels

    @property
    def is_ready(self) -> bool:
        """Whether Kubernetes calls it ready."""
        conditions = self.manifest["status"]["conditions"]
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


class SimulatedCluster:
    """Everything there is, and the operator that looks after it."""

    def __init__(self, spec: RealtimeClusterSpec, *, clients: int = 0, lag_s: int = 3) -> None:
        """Begin with no Pod; `lag_s` is how long load balancers take to follow a label."""
        self.now = START
        self.spec = spec
        self.generation = 1
        self.status = RealtimeClusterStatus()
        self.nodes: dict[str, SimulatedNode] = {}
        self.machines = {name: KubernetesNode(name, zone=name) for name in ("a", "b", "c")}
        self.broken_images: set[str] = set()
        self.deleted_at: float | None = None
        self.has_finalizer = False
        self.settings_revisions: set[str] = set()
        self.children: dict[tuple[str, str], Any] = {}
        self.actions: list[tuple[float, Action]] = []
        self.events: list[Event] = []
        self.reconnects: Counter[int] = Counter()
        self.start_s = 3
        self.budget = spec.reconnect_budget.connections_per_second_per_node
        """What nodes know of it, for each that lets clients in."""
        self.closed = 0
        """Clients that drains and sheds closed within this second, each with a permit."""
        self.forced = 0
        """Clients that were closed without one within this second: time was up."""
        self.watch: Callable[[], None] = lambda: None
        """Called every second."""
        self.judge: Callable[[Snapshot, Plan], None] = lambda _snapshot, _plan: None
        """Called with every decision."""
        self.faults: Iterator[Fault] = iter(())
        self.waiting = list(range(clients))
        self.lag_s = lag_s
        self._routes: list[tuple[float, list[str]]] = []
        self._uids = itertools.count(1)
        self._next_client = clients
        self._watch = Watch()
        self._leases = ReconnectBudget()
        self._next_round = self.now
        self.deliveries_per_client_s = 0.0
        self.busy_per_client = 0.0
        self.connect_cost_s = 0.0
        """What a connect takes of the loop."""
        self.idle_busy = 0.0
        self.sheds: Counter[int] = Counter()

    # --- what tests look at -----------------------------------------------------------------

    @property
    def revisions(self) -> Counter[str]:
        """How many Pods there are of each image."""
        return Counter(node.manifest["spec"]["containers"][0]["image"] for node in self.live)

    @property
    def live(self) -> list[SimulatedNode]:
        """Nodes whose Pods are not being deleted."""
        return [node for node in self.nodes.values() if node.deleted_until is None]

    @property
    def accepting(self) -> list[SimulatedNode]:
        """Nodes that really take new clients."""
        return [
            node
            for node in self.live
            if node.is_ready and node.labels[names.ACCEPTING] == "true" and node.phase == "serving"
        ]

    @property
    def draining(self) -> list[SimulatedNode]:
        """Nodes that the operator lets send clients away."""
        return [
            node for node in self.live if node.phase in ("draining", "forcing") and node.clients
        ]

    @property
    def desired(self) -> int:
        """How many nodes are wanted at the moment."""
        return self.status.desired_replicas

    @property
    def connected(self) -> int:
        """Clients that are connected."""
        return sum(len(node.clients) for node in self.nodes.values())

    @property
    def is_settled(self) -> bool:
        """Whether everything is as the spec says."""
        image = {self.spec.image: self.spec.replicas} if self.spec.replicas else {}
        return (
            dict(self.revisions) == image
            and len(self.nodes) == self.spec.replicas
            and len(self.accepting) == self.spec.replicas
        )

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        found = next(each for each in self.status.conditions if each.type == kind)
        return found.status, found.reason

    def told(self, reason: str) -> list[str]:
        """The messages of all events with this reason."""
        return [event.message for event in self.events if event.reason == reason]

    # --- what tests do ----------------------------------------------------------------------

    def change(self, **changed: Any) -> None:
        """Change the spec, as `kubectl edit` does."""
        given = self.spec.model_dump(by_alias=True, exclude_defaults=True)
        self.spec = RealtimeClusterSpec.model_validate({**given, **changed})
        self.generation += 1
        self._next_round = self.now

    def cordon_machine(self, name: str, *, is_cordoned: bool = True) -> None:
        """Cordon a Kubernetes node."""
        self.machines[name] = KubernetesNode(name, is_cordoned=is_cordoned, zone=name)

    def restart_container(self, node: SimulatedNode) -> None:
        """Kill a node's process; Kubernetes starts another."""
        self._lose(node, node.clients)
        node.boot += 1
        node.phase = "serving"
        node.accepted_total = node.connected = node.closed_total = node.to_shed = 0
        node.deliveries = node.worked_s = 0.0
        self._set_ready(node, ready=False)
        node.ready_at = self.now + self.start_s

    def evict(self, node: SimulatedNode) -> None:
        """Delete a Pod, as an eviction or `kubectl delete pod` does."""
        self._delete(node)

    def add_clients(self, count: int) -> None:
        """Let new clients come."""
        self.waiting += range(self._next_client, self._next_client + count)
        self._next_client += count

    def remove_clients(self, count: int) -> None:
        """Let clients go for good, of all nodes in turn."""
        nodes = [node for node in self.nodes.values() if node.clients]
        while count and nodes:
            for node in nodes[:count]:
                node.clients.pop()
            count -= len(nodes[:count])
            nodes = [node for node in nodes if node.clients]

    def restart_operator(self) -> None:
        """Forget everything that the operator remembers."""
        self._watch = Watch()
        self._next_round = self.now

    def run_until(self, done: Callable[[], bool], *, within_s: int = 600) -> None:
        """Run until something holds."""
        for _ in range(within_s):
            if done():
                return
            self.run(1)
        raise AssertionError(f"not within {within_s} s: {self.describe()}")

    def run(self, seconds: int) -> None:
        """Let time pass; the operator has its rounds when it asked for them."""
        for _ in range(seconds):
            if self.now >= self._next_round:
                self.round(next(self.faults, FAULTLESS))
            self.pass_second()

    def round(self, fault: Fault = FAULTLESS) -> Plan:
        """Let the operator look, decide and act, as well as the fault lets it."""
        snapshot = self.snapshot()
        plan = decide(snapshot, self.now)
        self._watch.decided(plan.scaling, self.spec)
        self.judge(snapshot, plan)
        before, after = self.status.autoscaling, plan.status.autoscaling
        if after and (before is None or before.desired != after.desired):
            self._tell_people(plan)  # before it is acted upon
        unwritten = set()
        for index, action in enumerate(plan.actions):
            if index >= fault.dies_after:
                self.restart_operator()
                return plan
            if index in fault.lost and isinstance(action, PatchPod):
                unwritten.add(action.name)
            if isinstance(action, Order) and action.name in unwritten:
                continue  # as the executor does
            for _ in range(0 if index in fault.lost else 2 if index in fault.doubled else 1):
                self._carry_out(action)
        self._tell_people(plan)
        self._next_round = self.now + plan.wake_after_s
        return plan

    def _tell_people(self, plan: Plan) -> None:
        self.status = plan.status
        known = {(event.reason, event.key) for event in self.events}
        self.events += [event for event in plan.events if (event.reason, event.key) not in known]

    def pass_second(self) -> None:
        """Let a second pass in everything but the operator."""
        self.now += 1
        self.closed = self.forced = 0
        granted = self._granted()
        for node in list(self.nodes.values()):
            self._age(node, granted)
        arrived = self._route()
        self._leases.took(self.now, arrived_per_s=arrived, closed_per_s=self.closed)
        self.watch()

    def snapshot(self) -> Snapshot:
        """What the operator sees."""
        pods = []
        for node in self.nodes.values():
            pod = read_pod(node.manifest, OWNER.uid)
            assert pod is not None
            pods.append(pod)
        reports = {
            name: report
            for name, node in self.nodes.items()
            if node.answers
            and node.ready_at <= self.now
            and not node.is_broken
            and (report := self._report(node))
        }
        completed, watched = self._watch.look(pods, reports, self.spec, self.now)
        return Snapshot(
            owner=OWNER,
            generation=self.generation,
            spec=self.spec,
            status=self.status,
            pods=completed,
            kubernetes_nodes=self.machines,
            deleted_at=self.deleted_at,
            has_finalizer=self.has_finalizer,
            settings_revisions=frozenset(self.settings_revisions),
            policies=self._policies,
            watched=watched,
        )

    def describe(self) -> str:
        """All of it in a few lines, for who reads a failure."""
        nodes = [
            f"{node.name} ready={node.is_ready} accepting={node.labels[names.ACCEPTING]}"
            f" phase={node.phase} clients={len(node.clients)} deleted={node.deleted_until}"
            f" {node.manifest['metadata']['annotations'].get(names.DRAIN_STATE, '')}"
            for node in self.nodes.values()
        ]
        conditions = [
            f"{each.type}={each.status} {each.reason} {each.message}"
            for each in self.status.conditions
        ]
        return "\n".join([f"at {self.now - START:.0f} s", *nodes, *conditions])

    @property
    def _policies(self) -> dict[str, str]:
        return {name: f"uid-of-{name}" for kind, name in self.children if kind == "NetworkPolicy"}

    # --- Kubernetes -------------------------------------------------------------------------

    def _carry_out(self, action: Action) -> None:  # noqa: C901 - a case for each kind
        self.actions.append((self.now, action))
        match action:
            case CreatePod():
                self._create(action)
            case DeletePod() | PatchPod() | AdoptPod():
                node = self.nodes.get(action.name)
                if node and node.manifest["metadata"]["uid"] == action.uid:
                    self._change(node, action)
            case CordonNode() | DrainNode() | AbortDrain() | ShedNode():
                node = self.nodes.get(action.name)
                if node and node.answers and node.hears:
                    self._tell(node, action)
            case ApplyChild(manifest):
                kind, name = manifest["kind"], manifest["metadata"]["name"]
                self.children[kind, name] = manifest
                if kind == "ConfigMap":
                    self.settings_revisions.add(name.removeprefix(f"{OWNER.name}-"))
            case DeleteSettings(revision):
                self.settings_revisions.discard(revision)
            case DeletePolicy(name, uid):
                if self._policies.get(name) == uid:
                    del self.children["NetworkPolicy", name]
            case SetFinalizer(present):
                self.has_finalizer = present
            case SetBudget():
                self.budget = action.connections_per_second_per_node

    def _create(self, action: CreatePod) -> None:
        if action.name in self.nodes:
            return
        manifest: dict[str, Any] = {**action.manifest}
        metadata = manifest["metadata"]
        manifest["metadata"] = {
            **metadata,
            "uid": f"uid-{next(self._uids):06}",
            "creationTimestamp": stamp(self.now),
            "labels": dict(metadata["labels"]),
            "annotations": dict(metadata["annotations"]),
        }
        free = [name for name, machine in self.machines.items() if not machine.is_cordoned]
        used = Counter(node.manifest["spec"]["nodeName"] for node in self.nodes.values())
        machine = min(free, key=lambda name: used[name])
        manifest["spec"] = {**manifest["spec"], "nodeName": machine}
        manifest["status"] = {"conditions": [], "podIP": "192.0.2.1"}
        node = SimulatedNode(manifest, ready_at=self.now + self.start_s)
        node.is_broken = manifest["spec"]["containers"][0]["image"] in self.broken_images
        self.nodes[node.name] = node
        self._set_ready(node, ready=False)

    def _change(self, node: SimulatedNode, action: DeletePod | PatchPod | AdoptPod) -> None:
        metadata = node.manifest["metadata"]
        match action:
            case DeletePod():
                self._delete(node)
            case AdoptPod():
                metadata["ownerReferences"] = [names.owner_reference(OWNER)]
            case PatchPod():
                for part in ("labels", "annotations"):
                    for key, value in getattr(action, part).items():
                        if value is None:
                            metadata[part].pop(key, None)
                        else:
                            metadata[part][key] = value

    def _delete(self, node: SimulatedNode) -> None:
        if node.deleted_until is None:
            grace_s = node.manifest["spec"]["terminationGracePeriodSeconds"]
            node.deleted_until = self.now + grace_s
            node.manifest["metadata"]["deletionTimestamp"] = stamp(node.deleted_until)
            if node.phase in ("serving", "cordoned"):
                node.phase = "draining"
                node.rate_per_s = max(1.0, len(node.clients) / self.spec.drain.window_seconds)

    def _set_ready(self, node: SimulatedNode, *, ready: bool) -> None:
        others = [each for each in node.manifest["status"]["conditions"] if each["type"] != "Ready"]
        status = {"type": "Ready", "status": str(ready), "lastTransitionTime": stamp(self.now)}
        node.manifest["status"]["conditions"] = [*others, status]

    # --- nodes ------------------------------------------------------------------------------

    def _report(self, node: SimulatedNode) -> ReportedStatus | None:
        """What a node answers; None if that is nothing the operator can read."""
        said = ReportedStatus(
            boot_id=f"{node.manifest['metadata']['uid']}-{node.boot}",
            num_clients=len(node.clients),
            accepting=node.phase == "serving",
            backplane_available=node.backplane_available,
            accepted_total=node.accepted_total,
            connects_total=node.accepted_total,
            deliveries_total=int(node.deliveries),
            loop_busy=min(1.0, self._busy(node)),
            loop_busy_s_total=node.worked_s,
            drain=ReportedDrain(phase=node.phase, closed_total=node.closed_total),
            shed=ReportedShed(remaining=node.to_shed) if node.to_shed else None,
            budget=ReportedBudget(connections_per_second_per_node=self.budget),
        )
        if not node.lies:
            return said
        return ReportedStatus.read(json.dumps(msgspec.to_builtins(said) | node.lies).encode())

    def _tell(
        self, node: SimulatedNode, action: CordonNode | DrainNode | AbortDrain | ShedNode
    ) -> None:
        if node.deleted_until is not None:
            return
        match action:
            case CordonNode():
                node.phase = "cordoned"
            case AbortDrain():
                node.phase, node.forces_at = "serving", None
            case DrainNode():
                node.phase = "draining" if action.deadline_s else "forcing"
                wanted = len(node.clients) / max(action.window_s, 1.0)
                node.rate_per_s = min(action.rate_per_s, max(wanted, 0.1))
                node.forces_at = self.now + action.deadline_s
            case ShedNode() if node.phase == "serving":
                node.to_shed, node.shed_rate_per_s = action.count, action.rate_per_s
            case ShedNode():
                pass  # a node that is to be empty refuses it
        if node.phase != "serving":
            node.to_shed = 0

    def _busy(self, node: SimulatedNode) -> float:
        """Share of its time that a node's loop works."""
        connects = node.accepted_total - node.connected
        standing = self.idle_busy + len(node.clients) * self.busy_per_client
        return standing + connects * self.connect_cost_s

    @property
    def letting_in(self) -> int:
        """Nodes that let clients in, by their own word: so many share the reconnect budget."""
        return sum(1 for node in self.live if node.is_ready and node.phase == "serving")

    def _granted(self) -> float:
        """Share of what nodes would close in this second that the budget lets them close."""
        wanted = sum(self._paced(node) for node in self.nodes.values())
        spare = self._leases.spare_per_s(self.budget, self.letting_in)
        return min(1.0, spare / wanted) if wanted else 1.0

    def _paced(self, node: SimulatedNode) -> float:
        """Clients that a node would close in this second at the pace that it was told."""
        if self._forces(node):
            return 0.0
        pace = node.rate_per_s / node.slowness if node.phase == "draining" else 0.0
        if node.to_shed:
            pace = min(node.shed_rate_per_s, node.to_shed)
        return min(pace, len(node.clients))

    def _forces(self, node: SimulatedNode) -> bool:
        is_late = node.forces_at is not None and self.now >= node.forces_at
        return node.phase == "forcing" or (node.phase == "draining" and is_late)

    def _age(self, node: SimulatedNode, granted: float) -> None:
        if node.is_broken:
            self._wait_for_image(node)
        elif not node.is_ready and self.now >= node.ready_at:
            self._set_ready(node, ready=True)
        node.deliveries += len(node.clients) * self.deliveries_per_client_s
        node.worked_s += min(1.0, self._busy(node))
        node.connected = node.accepted_total
        self._close(node, self._paced(node) * granted)
        if self._forces(node):
            node.phase = "forcing"
            self._force(node)
        is_done = not node.clients or self.now >= (node.deleted_until or 0)
        if node.deleted_until is not None and is_done:
            self._force(node)
            del self.nodes[node.name]

    def _close(self, node: SimulatedNode, permits: float) -> None:
        node.owed += permits
        count = min(int(node.owed), len(node.clients))
        if node.to_shed:
            count = min(count, node.to_shed)
            node.to_shed = min(node.to_shed - count, len(node.clients) - count)
            self.sheds.update(node.clients[:count])
        node.owed -= int(node.owed)
        node.closed_total += count
        self.closed += count
        self._lose(node, node.clients[:count])

    def _force(self, node: SimulatedNode) -> None:
        node.closed_total += len(node.clients)
        self.forced += len(node.clients)
        self._lose(node, node.clients)

    def _wait_for_image(self, node: SimulatedNode) -> None:
        waiting = {"reason": "ImagePullBackOff", "message": "there is no such image"}
        node.manifest["status"]["containerStatuses"] = [{"state": {"waiting": waiting}}]

    def _lose(self, node: SimulatedNode, clients: list[int]) -> None:
        self.waiting += clients
        self.reconnects.update(clients)
        lost = set(clients)
        node.clients = [each for each in node.clients if each not in lost]

    # --- clients ----------------------------------------------------------------------------

    def _route(self) -> int:
        """Load balancers spread waiting clients over what they still think is accepting.

        Returns how many were let in.
        """
        shown = [
            node.name
            for node in self.live
            if node.is_ready and node.labels[names.ACCEPTING] == "true"
        ]
        self._routes.append((self.now, shown))
        while len(self._routes) > 1 and self._routes[1][0] <= self.now - self.lag_s:
            self._routes.pop(0)
        targets = [self.nodes[name] for name in self._routes[0][1] if name in self.nodes]
        waiting, self.waiting = self.waiting, []
        for number, client in enumerate(waiting):
            node = targets[number % len(targets)] if targets else None
            if node and node.is_ready and node.phase == "serving":
                node.clients.append(client)
                node.accepted_total += 1
            else:
                self.waiting.append(client)
        return len(waiting) - len(self.waiting)


def stamp(seconds: float) -> str:
    """A time as Kubernetes writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def settled(clients: int = 60, **changed: Any) -> SimulatedCluster:
    """A cluster that serves, its clients connected once."""
    cluster = SimulatedCluster(make_spec(**changed), clients=clients)
    cluster.run_until(lambda: cluster.is_settled and not cluster.waiting, within_s=120)
    cluster.run(20)
    cluster.reconnects.clear()
    cluster.actions.clear()
    cluster.events.clear()
    return cluster


def guarded(cluster: SimulatedCluster) -> SimulatedCluster:
    """From now on, enough nodes accept and not too many drain, at every second."""
    spec = cluster.spec

    def watch() -> None:
        least = max(min(1, spec.replicas), spec.replicas - spec.disruption_budget.max_unavailable)
        assert len(cluster.accepting) >= least, cluster.describe()
        assert len(cluster.draining) <= spec.update.max_concurrent_drains, cluster.describe()

    cluster.watch = watch
    return cluster
