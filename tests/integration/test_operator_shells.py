"""The operator's calls: to an API server, and to nodes that answer, hang or say no."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import kopf
import pytest
from msgspec import structs

from realtime_operator import health
from realtime_operator.app import run
from realtime_operator.apply.admin_key import AdminKeys
from realtime_operator.apply.drain_client import DrainClient, Order
from realtime_operator.apply.events import EventTeller
from realtime_operator.apply.executor import CONFLICTS_BORNE, CarriedOut, Executor
from realtime_operator.apply.kube_client import KubeClient
from realtime_operator.apply.orders import AT_ONCE, Orders
from realtime_operator.build import names
from realtime_operator.build.network_policy import network_policy
from realtime_operator.build.node_settings import config_map
from realtime_operator.build.workload import pod as pod_manifest
from realtime_operator.cli import main
from realtime_operator.crd.realtime_cluster import SecretKeyRef
from realtime_operator.crd.scaling import ScrapeSpec
from realtime_operator.decide.actions import (
    AbortDrain,
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
from realtime_operator.decide.events import Event
from realtime_operator.decide.snapshot import Pod, Snapshot
from realtime_operator.errors import (
    ApiServerError,
    LeaseLostError,
    MissingClusterError,
    NodeUnreachableError,
    OperatorError,
    SpecError,
)
from realtime_operator.explain import explain
from realtime_operator.health import STALE_AFTER_S, HealthServer, Heartbeats
from realtime_operator.lease import Lease
from realtime_operator.observe import node_metrics
from realtime_operator.observe.node_metrics import LONGEST_S, StatusReader
from realtime_operator.observe.observer import Machines, Observer
from realtime_operator.reconcile import Keeper, Keepers, Parts
from realtime_operator.settings import OperatorSettings
from realtime_operator.supervision import Supervisor
from realtime_operator.telemetry.metrics import Metrics
from tests.support.conditions import NEVER_S, eventually
from tests.support.failure_counts import is_cancelled_elsewhere
from tests.support.fake_api_server import FakeApiServer
from tests.support.fake_node import KEY, FakeNode
from tests.support.simulated_cluster import OWNER, make_spec

SCRAPE = ScrapeSpec()
TEAM = "/api/v1/namespaces/team"
CLUSTER = "/apis/realtimecluster.dev/v1alpha1/namespaces/team/realtimeclusters/chat"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/operators/leases/operator"


@pytest.fixture
async def api() -> AsyncIterator[FakeApiServer]:
    """An API server that holds a cluster with the admin key of the fake nodes."""
    server = FakeApiServer()
    await server.start()
    spec = make_spec().model_dump(by_alias=True, exclude_none=True)
    kind = {"apiVersion": names.API_VERSION, "kind": "RealtimeCluster"}
    server.put(CLUSTER, {**kind, "metadata": {"uid": OWNER.uid}, "spec": spec})
    server.put(f"{TEAM}/secrets/chat-admin", {"data": {"key": "dGhlIGFkbWluIGtleQ=="}})
    yield server
    await server.stop()


@pytest.fixture
async def kube(
    api: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[KubeClient]:
    """A client that found the server by KUBECONFIG."""
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path, api.url)))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    client = await KubeClient.connect()
    yield client
    await client.close()


@pytest.fixture
async def start_node() -> AsyncIterator[Callable[[], Awaitable[FakeNode]]]:
    """Start fake nodes, the next always on the next address and the first one's port."""
    nodes: list[FakeNode] = []

    async def start() -> FakeNode:
        node = FakeNode(f"127.0.0.{len(nodes) + 2}")
        await node.start(nodes[0].port if nodes else 0)
        nodes.append(node)
        return node

    yield start
    for node in nodes:
        await node.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session for calls to nodes."""
    async with aiohttp.ClientSession() as opened:
        yield opened


def write_kubeconfig(directory: Path, url: str) -> Path:
    """Write a file that leads to the server."""
    path = directory / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def make_pod(node: FakeNode, **changed: Any) -> Pod:
    """The Pod of a fake node."""
    pod = {"name": node.ip, "uid": "u", "revision": "r", "created_at": 0.0, "ip": node.ip}
    return Pod(**{**pod, **changed})


def make_executor(
    kube: KubeClient, session: aiohttp.ClientSession, port: int = 1, *, may_write: bool = True
) -> Executor:
    """An executor that may write, or not."""
    nodes = DrainClient(session, port=port)
    return Executor(kube, nodes, Metrics(), Supervisor(Metrics()), may_write=lambda: may_write)


def make_snapshot(**spec: Any) -> Snapshot:
    """What actions are about."""
    return Snapshot(OWNER, 1, make_spec(**spec))


def creation(name: str) -> CreatePod:
    """The creation of a Pod."""
    return CreatePod(name, "rev", pod_manifest(OWNER, make_spec(), "rev", name))


# --- nodes --------------------------------------------------------------------------------------


async def test_nodes_are_asked_at_once_and_bad_answers_are_missing(
    start_node: Callable[[], Awaitable[FakeNode]], session: aiohttp.ClientSession
) -> None:
    """A node that hangs, talks nonsense or is not there is left out, and keeps nobody waiting."""
    good, hung, odd, other = [await start_node() for _ in range(4)]
    hung.is_hung = True
    odd.status = "<html>"
    other.status = {"num_clients": "many"}
    pods = [make_pod(node) for node in (good, hung, odd, other)]
    pods += [make_pod(good, name="no address", ip=""), make_pod(good, name="away", ip="127.0.0.99")]
    reports = await StatusReader(session, Supervisor(Metrics()), port=good.port).read_all(
        pods, SCRAPE
    )
    assert list(reports) == [good.ip]
    assert reports[good.ip].boot_id == f"boot of {good.ip}"


async def test_who_is_gone_is_asked_last(
    start_node: Callable[[], Awaitable[FakeNode]], session: aiohttp.ClientSession
) -> None:
    """However many nodes of a lost zone hang, those that are ready are asked before time is up."""
    good, hung = await start_node(), await start_node()
    hung.is_hung = True
    lost = [make_pod(hung, name=f"lost-{n}", is_ready=n % 2 == 0) for n in range(2 * AT_ONCE)]
    lost = [structs.replace(pod, deleted_until=9.0) if pod.is_ready else pod for pod in lost]
    how = ScrapeSpec.model_construct(interval_seconds=1.2, timeout_seconds=1.0)
    pods = [*lost, make_pod(good, is_ready=True)]
    reports = await StatusReader(session, Supervisor(Metrics()), port=good.port).read_all(pods, how)
    assert list(reports) == [good.ip]


async def test_a_look_is_bounded_however_rarely_nodes_are_asked(
    start_node: Callable[[], Awaitable[FakeNode]],
    session: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The round has to come round before its heartbeat is missed."""
    monkeypatch.setattr(node_metrics, "LONGEST_S", 0.2)
    assert LONGEST_S < STALE_AFTER_S
    hung = await start_node()
    hung.is_hung = True
    how = ScrapeSpec(interval_seconds=300, timeout_seconds=60)
    async with asyncio.timeout(NEVER_S):
        assert not await StatusReader(session, Supervisor(Metrics()), port=hung.port).read_all(
            [make_pod(hung)], how
        )


async def test_an_answer_may_come_in_parts(
    start_node: Callable[[], Awaitable[FakeNode]], session: aiohttp.ClientSession
) -> None:
    """A status that the network cuts in two is read whole."""
    node = await start_node()
    node.pauses_s = 0.1
    reports = await StatusReader(session, Supervisor(Metrics()), port=node.port).read_all(
        [make_pod(node)], SCRAPE
    )
    assert reports[node.ip].boot_id == f"boot of {node.ip}"


async def test_orders_reach_who_has_the_key(
    start_node: Callable[[], Awaitable[FakeNode]], session: aiohttp.ClientSession
) -> None:
    """Orders are said as the nodes' internal API takes them, and a refusal is an error."""
    node = await start_node()
    client = DrainClient(session, port=node.port)
    where = (node.ip, node.ip)
    await client.tell(CordonNode(*where, "a\nb" + "c" * 300), KEY)
    await client.tell(DrainNode(*where, "why", 5.0, 27.0, 30.0), KEY)
    await client.tell(AbortDrain(*where, "why"), KEY)
    await client.tell(SetBudget(*where, 50), KEY)
    cordon, drain, abort, budget = node.told
    assert cordon[1]["reason"] == ("a b" + "c" * 300)[:200]
    assert drain == (
        "/drain",
        {"phase": "drain", "rate_per_s": 5, "window_s": 27, "deadline_s": 30, "reason": "why"},
    )
    assert abort[1]["phase"] == "abort"
    assert budget == ("/budget", {"connections_per_second_per_node": 50})
    with pytest.raises(NodeUnreachableError, match="401"):
        await client.tell(AbortDrain(*where, "why"), "a wrong key")
    with pytest.raises(NodeUnreachableError):
        await client.tell(AbortDrain("away", "127.0.0.99", "why"), KEY)


# --- API server ---------------------------------------------------------------------------------


async def test_what_is_gone_or_another_by_now_is_no_error(
    api: FakeApiServer, kube: KubeClient
) -> None:
    """A Pod is created once, and changed and deleted only while it is the same one."""
    manifest = creation("chat-0").manifest
    assert await kube.create(manifest)
    assert await kube.create(manifest) is None
    api.failing = {("POST", "/pods"): 409}  # with another reason, as a quota has
    with pytest.raises(ApiServerError):
        await kube.create(manifest)
    api.failing = {}
    path = f"{TEAM}/pods/chat-0"
    await kube.patch_pod(OWNER, "chat-0", "another uid", {"labels": {"a": "b"}})
    await kube.delete("v1", "Pod", OWNER, "chat-0", "another uid")
    assert "a" not in api.objects[path]["metadata"]["labels"]
    uid = api.objects[path]["metadata"]["uid"]
    await kube.patch_pod(OWNER, "chat-0", uid, {"labels": {"a": "b", names.ACCEPTING: None}})
    labels = api.objects[path]["metadata"]["labels"]
    assert labels["a"] == "b"
    assert names.ACCEPTING not in labels
    await kube.delete("v1", "Pod", OWNER, "chat-0", uid)
    await kube.delete("v1", "Pod", OWNER, "chat-0", uid)
    assert path not in api.objects
    assert await kube.read("v1", "Pod", "team", "chat-0") is None


async def test_an_api_server_that_fails_or_is_away_is_an_error(
    api: FakeApiServer, kube: KubeClient
) -> None:
    """The error tells what was tried, the status and what the server said."""
    for status in (403, 500):
        api.failing = {("GET", "/pods"): status, ("POST", "/pods"): status}
        with pytest.raises(ApiServerError, match=f"{status}.*as the test wants") as caught:
            await kube.list_pods(OWNER)
        assert caught.value.status == status
        with pytest.raises(ApiServerError):
            await kube.create(creation("chat-0").manifest)
    await api.stop()
    with pytest.raises(ApiServerError) as caught:
        await kube.list_pods(OWNER)
    assert caught.value.status is None


# --- executor -----------------------------------------------------------------------------------


async def test_a_plan_is_carried_out(
    api: FakeApiServer,
    kube: KubeClient,
    start_node: Callable[[], Awaitable[FakeNode]],
    session: aiohttp.ClientSession,
) -> None:
    """Every kind of action does what it says."""
    node = await start_node()
    theirs = {"uid": "theirs", "kind": "ConfigMap"}
    orphan = {"uid": "u-old", "labels": {}, "ownerReferences": [theirs]}
    api.put(f"{TEAM}/pods/old", {"metadata": orphan})
    api.put(f"{TEAM}/pods/gone", {"metadata": {"uid": "u-gone"}})
    api.put(f"{TEAM}/configmaps/chat-old", {})
    where = (node.ip, node.ip)
    outcome = await make_executor(kube, session, node.port).carry_out(
        make_snapshot(),
        (
            SetFinalizer(present=True),
            ApplyChild(config_map(OWNER, make_spec(), "rev")),
            creation("chat-0"),
            AdoptPod("old", "u-old"),
            PatchPod("old", "u-old", {"a": "b"}, {"c": "d"}),
            DeletePod("gone", "u-gone", "why"),
            CordonNode(*where, "why"),
            DrainNode(*where, "why", 1.0, 1.0, 1.0),
            AbortDrain(*where, "why"),
            ShedNode(*where, "why", 20, 2.5),
            SetBudget(*where, 7),
            DeleteSettings("old"),
        ),
    )
    assert outcome == CarriedOut()
    assert api.objects[CLUSTER]["metadata"]["finalizers"] == [names.FINALIZER]
    assert f"{TEAM}/configmaps/chat-rev" in api.objects
    assert f"{TEAM}/configmaps/chat-old" not in api.objects
    assert f"{TEAM}/pods/chat-0" in api.objects
    assert f"{TEAM}/pods/gone" not in api.objects
    old = api.objects[f"{TEAM}/pods/old"]["metadata"]
    assert (old["labels"]["a"], old["annotations"]["c"]) == ("b", "d")
    assert old["ownerReferences"] == [theirs, names.owner_reference(OWNER)]
    phases = ["cordon", "drain", "abort", None, None]
    assert [body.get("phase") for _, body in node.told] == phases
    assert ("/shed", {"count": 20, "rate_per_s": 2.5}) in node.told


async def test_an_action_that_fails_does_not_stop_the_others(
    api: FakeApiServer, kube: KubeClient, session: aiohttp.ClientSession
) -> None:
    """What the API server refuses is told to the user, who has to mend it."""
    api.failing = {("POST", "/pods"): 422}
    manifest = config_map(OWNER, make_spec(), "rev")
    actions = (
        creation("a"),
        creation("b"),
        CordonNode("x", "127.0.0.99", "why"),
        ApplyChild(manifest),
    )
    outcome = await make_executor(kube, session).carry_out(make_snapshot(), actions)
    assert f"{TEAM}/configmaps/chat-rev" in api.objects
    assert outcome.refusals == ("a Pod cannot be made: as the test wants it",)


async def test_nodes_are_told_at_once_and_each_in_order(
    kube: KubeClient,
    start_node: Callable[[], Awaitable[FakeNode]],
    session: aiohttp.ClientSession,
) -> None:
    """No node waits for another one's answer; what one is told arrives in the order of the plan."""
    nodes = [await start_node() for _ in range(4)]
    gate = asyncio.Barrier(len(nodes))
    for node in nodes:
        node.gate = gate
    beats: list[None] = []
    actions = [
        order
        for node in nodes
        for order in (
            CordonNode(node.ip, node.ip, "why"),
            DrainNode(node.ip, node.ip, "why", 1.0, 1.0, 1.0),
        )
    ]
    executor = make_executor(kube, session, nodes[0].port)
    async with asyncio.timeout(4):  # less than one order may take
        await executor.carry_out(make_snapshot(), tuple(actions), beat=lambda: beats.append(None))
    for node in nodes:
        assert [body["phase"] for _, body in node.told] == ["cordon", "drain"]
    assert len(beats) == len(actions)


async def test_no_more_nodes_are_told_at_once_than_may_be() -> None:
    """The others wait for their turn, and an end of the round ends them."""
    under_way = 0
    most = 0
    told: list[str] = []

    async def give(order: Order) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        told.append(order.name)
        under_way -= 1

    orders = Orders(give)
    for number in range(3 * AT_ONCE):
        orders.begin(AbortDrain(f"chat-{number}", "", "why"))
    await orders.finish()
    assert (most, len(told)) == (AT_ONCE, 3 * AT_ONCE)
    orders.begin(AbortDrain("chat-0", "", "why"))
    await orders.cancel()
    assert len(told) == 3 * AT_ONCE


async def test_a_node_is_not_told_what_could_not_be_written(
    api: FakeApiServer,
    kube: KubeClient,
    start_node: Callable[[], Awaitable[FakeNode]],
    session: aiohttp.ClientSession,
) -> None:
    """Any operator goes on from what the Pod's annotations say: they come first, or nothing."""
    node, other = await start_node(), await start_node()
    api.put(f"{TEAM}/pods/{node.ip}", {"metadata": {"uid": "u"}})
    api.failing = {("PATCH", f"/pods/{node.ip}"): 500}
    actions = (
        PatchPod(node.ip, "u", {}, {"a": "b"}),
        CordonNode(node.ip, node.ip, "why"),
        CordonNode(other.ip, other.ip, "why"),
    )
    await make_executor(kube, session, node.port).carry_out(make_snapshot(), actions)
    assert (len(node.told), len(other.told)) == (0, 1)


async def test_a_name_that_is_taken_is_told_to_the_next_round(
    api: FakeApiServer, kube: KubeClient, session: aiohttp.ClientSession
) -> None:
    """A create that meets a Pod is no error; the round after that sees whose it is."""
    api.put(f"{TEAM}/pods/chat-0", {"metadata": {"labels": {}}})
    executor = make_executor(kube, session)
    outcome = await executor.carry_out(make_snapshot(), (creation("chat-0"), creation("chat-1")))
    assert outcome == CarriedOut(taken_names=frozenset({"chat-0"}))
    assert await executor.carry_out(make_snapshot(), ()) == CarriedOut()


async def test_nothing_is_written_without_the_lease(
    api: FakeApiServer, kube: KubeClient, session: aiohttp.ClientSession
) -> None:
    """A replica that may have lost the lease stops before the next write."""
    executor = make_executor(kube, session, may_write=False)
    with pytest.raises(LeaseLostError):
        await executor.carry_out(make_snapshot(), (creation("chat-0"),))
    assert f"{TEAM}/pods/chat-0" not in api.objects


async def test_a_round_with_nothing_to_do_needs_the_lease_too(
    api: FakeApiServer, kube: KubeClient, session: aiohttp.ClientSession
) -> None:
    """Neither status nor Events of a paused cluster are written by who may have lost it."""
    resource = api.objects[CLUSTER]
    api.put(CLUSTER, {**resource, "spec": {**resource["spec"], "paused": True}})
    reader = StatusReader(session, Supervisor(Metrics()), port=1)
    metrics = Metrics()
    parts = Parts(
        observer=Observer(kube, reader, Machines(kube), operator_namespace="operators"),
        executor=make_executor(kube, session, may_write=False),
        events=EventTeller(kube, Supervisor(Metrics()), instance="a"),
        kube=kube,
        metrics=metrics,
        heartbeats=Heartbeats(),
    )
    with pytest.raises(LeaseLostError):
        await Keeper("team", "chat", parts).round()
    assert {method for method, _ in api.calls} == {"GET"}
    parts = parts._replace(executor=make_executor(kube, session))
    await Keeper("team", "chat", parts).round()
    assert api.objects[CLUSTER]["status"]["observedGeneration"]


async def test_what_has_not_changed_is_applied_once(
    api: FakeApiServer, kube: KubeClient, session: aiohttp.ClientSession
) -> None:
    """An object is applied again when it should be another, or somebody has touched one."""
    executor, snapshot = make_executor(kube, session), make_snapshot()
    first = (ApplyChild(config_map(OWNER, make_spec(), "rev")),)
    other = (ApplyChild(config_map(OWNER, make_spec(node={"log": {"level": "debug"}}), "rev")),)
    path = f"{TEAM}/configmaps/chat-rev"
    for actions, patches in ((first, 1), (first, 1), (other, 2)):
        await executor.carry_out(snapshot, actions)
        assert api.calls.count(("PATCH", path)) == patches
    api.remove(path)
    executor.touched("ConfigMap", "chat-rev", None)
    await executor.carry_out(snapshot, other)
    assert path in api.objects


async def test_what_others_change_at_each_write_is_told(
    api: FakeApiServer, kube: KubeClient, session: aiohttp.ClientSession
) -> None:
    """With the field; the writes become rare."""
    clock = Clock()
    executor = Executor(
        kube,
        DrainClient(session, port=1),
        Metrics(),
        Supervisor(Metrics()),
        may_write=lambda: True,
        monotonic=clock,
    )
    actions = (ApplyChild(config_map(OWNER, make_spec(), "rev")),)
    path = f"{TEAM}/configmaps/chat-rev"
    api.stamps = True
    outcome = CarriedOut()
    for _ in range(1000):
        clock.now += 1
        outcome = await executor.carry_out(make_snapshot(), actions)
        executor.touched("ConfigMap", "chat-rev", api.objects[path])
    assert api.calls.count(("PATCH", path)) < 20
    assert "metadata.annotations.policy.example.com/stamp" in outcome.contested[0]


async def test_an_admin_key_is_made_where_none_is_named(
    api: FakeApiServer, kube: KubeClient, session: aiohttp.ClientSession
) -> None:
    """The Secret is made once, belongs to the cluster, and no other is touched."""
    path = f"{TEAM}/secrets/chat-admin"
    api.remove(path)
    executor = make_executor(kube, session)
    await executor.carry_out(make_snapshot(), (creation("chat-0"), creation("chat-1")))
    made = api.objects[path]
    assert len(made["stringData"]["key"]) > 40
    assert made["metadata"]["ownerReferences"][0]["uid"] == OWNER.uid
    api.remove(path)
    named = make_snapshot(secrets={"adminKeySecretRef": {"name": "mine", "key": "k"}})
    await executor.carry_out(named, (creation("chat-2"),))
    assert path not in api.objects


async def test_events_are_told_once(api: FakeApiServer, kube: KubeClient) -> None:
    """Neither the same operator nor another one tells the same thing twice."""
    events = (Event("DrainStarted", "chat-0: …", "drain-1"),)
    first = EventTeller(kube, Supervisor(Metrics()), instance="a")
    for teller in (first, first, EventTeller(kube, Supervisor(Metrics()), instance="b")):
        await teller.tell(OWNER, events, 1_800_000_000.0)
    told = api.of_kind("events")
    assert [each["reason"] for each in told] == ["DrainStarted"]
    assert len([call for call in api.calls if call[0] == "POST"]) == 2
    api.failing = {("POST", "/events"): 500}
    await first.tell(OWNER, (Event("DrainForced", "x", "drain-2", is_warning=True),), 0.0)
    api.failing = {}
    await first.tell(OWNER, (Event("DrainForced", "x", "drain-2", is_warning=True),), 0.0)
    assert api.of_kind("events")[1]["type"] == "Warning"


# --- observer -----------------------------------------------------------------------------------


async def test_a_look_brings_everything_together(
    api: FakeApiServer,
    kube: KubeClient,
    start_node: Callable[[], Awaitable[FakeNode]],
    session: aiohttp.ClientSession,
) -> None:
    """The resource, its Pods with what nodes say, machines and ConfigMaps are one snapshot."""
    node = await start_node()
    for name in ("chat-0", "chat-1"):
        manifest = pod_manifest(OWNER, make_spec(), "rev", name)
        ip = node.ip if name == "chat-0" else "127.0.0.99"
        api.put(f"{TEAM}/pods/{name}", {**manifest, "status": {"podIP": ip}})
    api.put(f"{TEAM}/configmaps/chat-rev", config_map(OWNER, make_spec(), "rev"))
    api.put("/api/v1/nodes/a", {"spec": {"unschedulable": True}})
    reader = StatusReader(session, Supervisor(Metrics()), port=node.port)
    observer = Observer(kube, reader, Machines(kube), operator_namespace="operators")
    snapshot = await observer.look("team", "chat")
    assert snapshot
    assert [pod.status is not None for pod in snapshot.pods] == [True, False]
    assert snapshot.kubernetes_nodes["a"].is_cordoned
    assert snapshot.settings_revisions == {"rev"}
    assert await observer.look("team", "another") is None


async def test_rates_are_found_from_one_look_to_the_next(
    api: FakeApiServer,
    kube: KubeClient,
    start_node: Callable[[], Awaitable[FakeNode]],
    session: aiohttp.ClientSession,
) -> None:
    """What a node counts becomes a rate; a node that hangs or lies keeps what it had."""
    node = await start_node()
    manifest = pod_manifest(OWNER, make_spec(), "rev", "chat-0")
    api.put(f"{TEAM}/pods/chat-0", {**manifest, "status": {"podIP": node.ip}})
    clock = iter([1000.0, 1010.0, 1020.0, 1030.0])
    observer = Observer(
        kube,
        StatusReader(session, Supervisor(Metrics()), port=node.port),
        Machines(kube),
        operator_namespace="operators",
        wall_clock=lambda: next(clock),
    )
    loads = []
    for change in (
        {"deliveries_total": 500, "loop_busy": 0.25},
        {"deliveries_total": 1500},
        {"deliveries_total": 9000, "loop_busy": "very"},
        {"deliveries_total": 10, "loop_busy": 0.5},
    ):
        node.status |= change
        snapshot = await observer.look("team", "chat")
        assert snapshot
        load = snapshot.pods[0].load
        assert load
        loads.append((load.deliveries_per_s, load.busy, load.seen_at))
        assert (snapshot.pods[0].status is None) == (change.get("loop_busy") == "very")
    assert loads == [
        (None, 0.25, 1000.0),
        (100.0, 0.25, 1010.0),
        (100.0, 0.25, 1010.0),
        (None, 0.5, 1030.0),
    ]


async def test_a_number_is_written_down_before_it_is_acted_upon(
    api: FakeApiServer, kube: KubeClient, session: aiohttp.ClientSession
) -> None:
    """An operator that dies in between is followed by one that goes on from the same number."""
    resource = api.objects[CLUSTER]
    internal = {**resource["spec"], "autoscaling": {"mode": "Internal", "minReplicas": 4}}
    api.put(CLUSTER, {**resource, "spec": internal})
    metrics = Metrics()
    parts = Parts(
        observer=Observer(
            kube,
            StatusReader(session, Supervisor(Metrics()), port=1),
            Machines(kube),
            operator_namespace="operators",
        ),
        executor=make_executor(kube, session),
        events=EventTeller(kube, Supervisor(Metrics()), instance="a"),
        kube=kube,
        metrics=metrics,
        heartbeats=Heartbeats(),
    )
    assert await Keeper("team", "chat", parts).round() == 5
    order = [method for method, path in api.calls if path.endswith(("/status", "/pods"))]
    assert order[-5:] == ["PATCH", "POST", "POST", "POST", "POST"]
    scaling = api.objects[CLUSTER]["status"]["autoscaling"]
    assert (scaling["desired"], scaling["limitedBy"]) == (4, "MinReplicas")
    assert scaling["decisions"][0]["inputs"]["nodes"] == 0
    exposed = metrics.expose().decode()
    place = 'cluster="chat",{}namespace="team"'
    assert f"realtime_operator_recommended_nodes{{{place.format('')}}} 1.0" in exposed
    limited = place.format('limit="MinReplicas",')
    assert f"realtime_operator_scaling_limited{{{limited}}} 1.0" in exposed


async def test_a_policy_that_is_not_wanted_goes_if_it_is_ours(
    api: FakeApiServer, kube: KubeClient, session: aiohttp.ClientSession
) -> None:
    """What somebody labelled like ours stays; ours is made again if it is wanted again at once."""
    policies = "/apis/networking.k8s.io/v1/namespaces/team/networkpolicies"
    ours = ApplyChild(network_policy(OWNER, make_spec(), "operators"))
    executor = make_executor(kube, session)
    await executor.carry_out(make_snapshot(), (ours,))
    api.put(f"{policies}/theirs", {"metadata": {"labels": names.cluster_labels("chat")}})
    reader = StatusReader(session, Supervisor(Metrics()), port=1)
    observer = Observer(kube, reader, Machines(kube), operator_namespace="operators")
    wanted = await observer.look("team", "chat")
    assert wanted
    assert wanted.policies == {}
    resource = api.objects[CLUSTER]
    off = {**resource["spec"], "networkPolicy": {"enabled": False}}
    api.put(CLUSTER, {**resource, "spec": off})
    snapshot = await observer.look("team", "chat")
    assert snapshot
    [(name, uid)] = snapshot.policies.items()
    await executor.carry_out(snapshot, (DeletePolicy(name, uid),))
    assert set(api.objects) >= {f"{policies}/theirs"}
    assert f"{policies}/chat" not in api.objects
    await executor.carry_out(snapshot, (ours,))
    assert f"{policies}/chat" in api.objects


async def test_a_look_without_the_right_to_see_machines(
    api: FakeApiServer, kube: KubeClient, session: aiohttp.ClientSession
) -> None:
    """Where the operator may not list Kubernetes nodes it goes without; other errors count."""
    reader = StatusReader(session, Supervisor(Metrics()), port=1)
    api.failing = {("GET", "/nodes"): 403}
    observer = Observer(kube, reader, Machines(kube), operator_namespace="operators")
    snapshot = await observer.look("team", "chat")
    assert snapshot
    assert snapshot.kubernetes_nodes == {}
    api.failing = {("GET", "/nodes"): 500}
    with pytest.raises(ApiServerError):
        await Machines(kube).all()


async def test_a_spec_that_cannot_be_understood(
    api: FakeApiServer, kube: KubeClient, session: aiohttp.ClientSession
) -> None:
    """It is an error of the operator's own kind; a status of another version is none."""
    reader = StatusReader(session, Supervisor(Metrics()), port=1)
    observer = Observer(kube, reader, Machines(kube), operator_namespace="operators")
    api.put(CLUSTER, {**api.objects[CLUSTER], "status": {"conditions": "none"}})
    assert await observer.look("team", "chat")
    api.put(CLUSTER, {**api.objects[CLUSTER], "spec": {"image": 7}})
    with pytest.raises(SpecError, match="image"):
        await observer.look("team", "chat")


# --- lease and health ---------------------------------------------------------------------------


class WallClock:
    """The time of day, that the test turns."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


class Clock:
    """A clock that the test turns."""

    now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def make_lease(kube: KubeClient, identity: str, clock: Clock) -> Lease:
    """A part in the lease, by the test's clock."""
    return Lease(
        kube,
        namespace="operators",
        name="operator",
        identity=identity,
        duration_s=15,
        monotonic=clock,
    )


async def test_one_holds_the_lease_at_a_time(api: FakeApiServer, kube: KubeClient) -> None:
    """The second waits for the first's silence, or for its release, and no longer."""
    clock = Clock()
    first, second = make_lease(kube, "first", clock), make_lease(kube, "second", clock)
    await first.acquire()
    assert first.is_held()
    assert not await second.attempt()
    clock.now += 10
    assert not first.is_held()
    assert not await second.attempt()
    assert await first.attempt()
    clock.now += 15.1
    assert not await second.attempt()  # it has just seen that the first was alive
    clock.now += 15.1
    await second.acquire()
    assert not await first.attempt()
    assert api.objects[LEASE]["spec"]["leaseTransitions"] == 1
    await second.release()
    assert not second.is_held()
    assert await first.attempt()


async def test_a_lease_that_cannot_be_renewed_is_lost(
    api: FakeApiServer, kube: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the API server is away the holder goes on until another one may begin."""
    clock = Clock()
    lease = make_lease(kube, "me", clock)
    await lease.acquire()
    api.failing = {("GET", "/operator"): 500}
    tries: list[float] = []

    async def turn_the_clock(seconds: float) -> None:
        tries.append(seconds)
        clock.now += seconds

    monkeypatch.setattr("realtime_operator.lease.asyncio.sleep", turn_the_clock)
    with pytest.raises(LeaseLostError):
        await lease.keep()
    assert tries == [2.5] * 4
    await lease.release()


async def test_a_pod_that_another_operator_has_changed_is_looked_at_again(
    api: FakeApiServer,
    kube: KubeClient,
    start_node: Callable[[], Awaitable[FakeNode]],
    session: aiohttp.ClientSession,
) -> None:
    """A late write is refused, and its node not told; one that others always change is written."""
    node = await start_node()
    path = f"{TEAM}/pods/{node.ip}"
    seen = api.put(path, {"metadata": {"uid": "u"}})["metadata"]["resourceVersion"]
    snapshot = replace(make_snapshot(), pods=(make_pod(node, version=seen),))
    api.put(path, {"metadata": {"uid": "u", "labels": {"by": "another"}}})
    actions = (PatchPod(node.ip, "u", {"a": "b"}), CordonNode(node.ip, node.ip, "why"))
    executor = make_executor(kube, session, node.port)
    for _ in range(CONFLICTS_BORNE):
        await executor.carry_out(snapshot, actions)
        assert api.objects[path]["metadata"]["labels"] == {"by": "another"}
    assert not node.told
    await executor.carry_out(snapshot, actions)
    assert api.objects[path]["metadata"]["labels"] == {"by": "another", "a": "b"}
    assert len(node.told) == 1


async def test_no_call_outlasts_the_lease(
    api: FakeApiServer, kube: KubeClient, session: aiohttp.ClientSession
) -> None:
    """A call has what is left until another replica may act, and none is begun after that."""
    clock = Clock()
    lease = make_lease(kube, "me", clock)
    await lease.acquire()
    bounded = kube.bounded(lease.left_s)
    api.hung = True
    clock.now += 14.9
    began = time.monotonic()
    with pytest.raises(ApiServerError, match="no answer"):
        await bounded.create(creation("chat-0").manifest)
    assert time.monotonic() - began < 9  # KubeClient.TIMEOUT_S is 10
    api.hung = False
    clock.now += 0.1
    api.calls.clear()
    with pytest.raises(ApiServerError, match="no time is left"):
        await bounded.create(creation("chat-1").manifest)
    nodes = DrainClient(session, port=1, left_s=lease.left_s)
    with pytest.raises(NodeUnreachableError, match="no time is left"):
        await nodes.tell(AbortDrain("chat-0", "127.0.0.1", "why"), KEY)
    assert not api.calls


async def test_a_renewal_that_hangs_leaves_time_for_another(
    api: FakeApiServer, kube: KubeClient
) -> None:
    """It has a third of the duration, and a lease that came too late is not taken for held."""
    clock = Clock()
    lease = Lease(
        kube, namespace="operators", name="operator", identity="me", duration_s=1, monotonic=clock
    )
    api.hung = True
    async with asyncio.timeout(9):  # less than a call may take otherwise
        assert not await lease.attempt()
    api.hung = False
    await lease.acquire()
    clock.now += 0.5
    assert lease.is_held()
    assert lease.left_s() == pytest.approx(0.5)


async def test_health_tells_a_stuck_loop(session: aiohttp.ClientSession) -> None:
    """Healthy while every loop comes round, ready since the first has; an ended one is fine."""
    clock = Clock()
    heartbeats = Heartbeats(clock)
    supervisor = Supervisor(Metrics(), monotonic=clock)
    server = HealthServer(heartbeats, Metrics(), supervisor, address="127.0.0.1", port=0)
    port = await server.start()

    async def status(path: str) -> int:
        async with session.get(f"http://127.0.0.1:{port}{path}") as response:
            await response.read()
            return response.status

    try:
        assert await status("/readyz") == 503
        heartbeats.beat("team/chat")
        assert await status("/readyz") == 200
        assert await status("/healthz") == 200
        clock.now += 121
        assert await status("/healthz") == 503
        heartbeats.ended("team/chat")
        assert await status("/healthz") == 200
        assert await status("/metrics") == 200
    finally:
        await server.stop()


async def test_health_decompresses_nothing() -> None:
    """A body of a megabyte that would become 200 is thrown away as it is."""
    server = HealthServer(
        Heartbeats(), Metrics(), Supervisor(Metrics()), address="127.0.0.1", port=0
    )
    port = await server.start()
    bomb = gzip.compress(b" " * (200 << 20), compresslevel=6)
    head = "{} /healthz HTTP/1.1\r\nHost: operator\r\n{}\r\n"
    encoded = head.format("GET", f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        began_at = time.thread_time()
        writer.write(encoded.encode() + bomb)
        # Answered when the body before it is through.
        writer.write(head.format("GET", "Connection: close\r\n").encode())
        async with asyncio.timeout(30):
            answers = await reader.read()
        assert answers.count(b"HTTP/1.1 200 OK") == 2
        assert time.thread_time() - began_at < 0.1
    finally:
        writer.close()
        await server.stop()


@pytest.mark.parametrize("subject", ["team/chat", ""])
async def test_health_tells_a_loop_that_fails_for_long(
    subject: str, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First `/readyz`; `/healthz` follows only for a loop that all clusters need."""
    clock = Clock()
    heartbeats = Heartbeats(clock)
    supervisor = Supervisor(Metrics(), monotonic=clock, uniform=lambda _low, _high: 0.0)
    server = HealthServer(heartbeats, Metrics(), supervisor, address="127.0.0.1", port=0)
    port = await server.start()

    async def answer(path: str) -> tuple[int, str]:
        async with session.get(f"http://127.0.0.1:{port}{path}") as response:
            return response.status, await response.text()

    async def run() -> None:
        raise ValueError("a bug")

    heartbeats.beat("lease")
    loop = supervisor.supervise(run, name="watch", subject=subject)
    try:
        await eventually(supervisor.failing)
        assert (await answer("/readyz"))[0] == 200
        clock.now += health.UNREADY_AFTER_S
        monkeypatch.setattr(health, "STALE_AFTER_S", 10_000.0)
        status, text = await answer("/readyz")
        assert status == 503
        assert "watch" in text
        assert "ValueError: a bug" in text
        assert (await answer("/healthz"))[0] == 200
        clock.now += health.UNHEALTHY_AFTER_S
        assert (await answer("/healthz"))[0] == (200 if subject else 503)
    finally:
        loop.cancel()
        await asyncio.wait([loop])
        await server.stop()


# --- what nobody expected -----------------------------------------------------------------------


async def has_a_bug() -> None:
    """Raise what no code expects."""
    raise ValueError("a bug")


FAULTS = {"a bug": has_a_bug, "a cancellation nobody asked for": is_cancelled_elsewhere}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_action_that_raises_does_not_stop_the_others(  # noqa: PLR0913, PLR0917 - fixtures
    fault: str,
    api: FakeApiServer,
    kube: KubeClient,
    start_node: Callable[[], Awaitable[FakeNode]],
    session: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is counted, and a node whose state was not written is not told."""
    node, other = await start_node(), await start_node()

    async def patch_pod(*_: object, **__: object) -> None:
        await FAULTS[fault]()

    monkeypatch.setattr(kube, "patch_pod", patch_pod)
    metrics = Metrics()
    executor = Executor(
        kube,
        DrainClient(session, port=node.port),
        metrics,
        Supervisor(metrics),
        may_write=lambda: True,
    )
    actions = (
        PatchPod(node.ip, "u", {"a": "b"}),
        CordonNode(node.ip, node.ip, "why"),
        CordonNode(other.ip, other.ip, "why"),
        creation("chat-0"),
    )
    await executor.carry_out(make_snapshot(), actions)
    assert (len(node.told), len(other.told)) == (0, 1)
    assert f"{TEAM}/pods/chat-0" in api.objects
    assert b'callback_errors_total{where="action"} 1.0' in metrics.expose()


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_one_node_answers_hides_no_other(
    fault: str,
    start_node: Callable[[], Awaitable[FakeNode]],
    session: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An exception that nobody expected costs that node's answer."""
    good, bad = await start_node(), await start_node()
    reader = StatusReader(session, Supervisor(Metrics()), port=good.port)
    read = reader._read

    async def read_or_fail(pod: Pod, *rest: Any) -> Any:
        if pod.name == bad.ip:
            await FAULTS[fault]()
        return await read(pod, *rest)

    monkeypatch.setattr(reader, "_read", read_or_fail)
    assert list(await reader.read_all([make_pod(bad), make_pod(good)], SCRAPE)) == [good.ip]


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_event_that_cannot_be_told_stops_no_other(
    fault: str, api: FakeApiServer, kube: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events decide nothing: the status is written after them whatever they raise."""
    create = kube.create

    async def create_or_fail(manifest: Any) -> Any:
        if manifest["reason"] == "Bad":
            await FAULTS[fault]()
        return await create(manifest)

    monkeypatch.setattr(kube, "create", create_or_fail)
    teller = EventTeller(kube, Supervisor(Metrics()), instance="a")
    await teller.tell(OWNER, (Event("Bad", "m", "k"), Event("Good", "m", "k")), 0.0)
    assert [each["reason"] for each in api.of_kind("events")] == ["Good"]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_round_that_raises_costs_its_cluster_a_pause(
    fault: str, kube: KubeClient, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another cluster's rounds go on, and so do its own when the cause is gone."""
    metrics = Metrics()
    supervisor = Supervisor(metrics, uniform=lambda _low, _high: 0.0)
    monkeypatch.setattr("realtime_operator.reconcile.BETWEEN_ROUNDS_S", 0.0)
    rounds: Counter[str] = Counter()

    def make(namespace: str, name: str) -> Keeper:
        parts = Parts(
            observer=Observer(
                kube,
                StatusReader(session, supervisor, port=1),
                Machines(kube),
                operator_namespace="operators",
            ),
            executor=make_executor(kube, session),
            events=EventTeller(kube, supervisor, instance="a"),
            kube=kube,
            metrics=metrics,
            heartbeats=Heartbeats(),
        )
        keeper = Keeper(namespace, name, parts)

        async def look() -> float:
            rounds[name] += 1
            if name == "bad" and rounds[name] <= 3:
                await FAULTS[fault]()
            return 0.001

        monkeypatch.setattr(keeper, "round", look)
        return keeper

    lost: list[None] = []
    keepers = Keepers(make, lambda: lost.append(None), supervisor)
    keepers.look_after("team", "bad")
    keepers.look_after("team", "good")
    await eventually(lambda: rounds["bad"] > 5 and rounds["good"] > 5)
    assert not lost
    assert len(keepers) == 2
    assert b'loop_restarts_total{loop="reconcile"} 3.0' in metrics.expose()
    await keepers.stop()
    await eventually(lambda: not len(keepers))


async def test_a_cluster_whose_namespace_goes_is_seen_as_such(
    api: FakeApiServer, kube: KubeClient, session: aiohttp.ClientSession
) -> None:
    """Only where it was deleted and is kept; without the right to read it nothing is assumed."""
    namespace = "/api/v1/namespaces/team"
    metadata = {**api.objects[CLUSTER]["metadata"], "finalizers": [names.FINALIZER]}
    ending = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    reader = StatusReader(session, Supervisor(Metrics()), port=1)
    observer = Observer(kube, reader, Machines(kube), operator_namespace="operators")

    async def ends() -> bool:
        snapshot = await observer.look("team", "chat")
        assert snapshot
        return snapshot.ends_with_namespace

    api.put(namespace, {"metadata": {"name": "team"}})
    assert not await ends()
    assert ("GET", namespace) not in api.calls
    api.put(CLUSTER, {**api.objects[CLUSTER], "metadata": metadata | ending})
    assert not await ends()
    api.put(namespace, {"metadata": {"name": "team", **ending}})
    assert await ends()
    api.failing = {("GET", "/namespaces/team"): 403}
    assert not await ends()


async def test_a_cluster_that_cannot_be_let_go_any_more_is_left_alone(
    api: FakeApiServer,
    kube: KubeClient,
    session: aiohttp.ClientSession,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the operator's rights went first: the log says how to free it, and the rounds end."""
    monkeypatch.setattr("realtime_operator.reconcile.BETWEEN_ROUNDS_S", 0.0)
    monkeypatch.setattr("realtime_operator.reconcile.FIRST_RETRY_S", 0.0)
    monkeypatch.setattr("realtime_operator.reconcile.LONGEST_RETRY_S", 0.0)
    metrics, clock = Metrics(), WallClock()
    reader = StatusReader(session, Supervisor(metrics), port=1)
    parts = Parts(
        observer=Observer(
            kube, reader, Machines(kube), operator_namespace="operators", wall_clock=clock
        ),
        executor=make_executor(kube, session),
        events=EventTeller(kube, Supervisor(metrics), instance="a"),
        kube=kube,
        metrics=metrics,
        heartbeats=Heartbeats(),
    )
    deleted = datetime.fromtimestamp(clock.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {"finalizers": [names.FINALIZER], "deletionTimestamp": deleted}
    metadata = {**api.objects[CLUSTER]["metadata"], **about}
    manifest = pod_manifest(OWNER, make_spec(), "rev", "chat-0")
    api.put(f"{TEAM}/pods/chat-0", manifest)
    api.put(TEAM, {"metadata": {"name": "team"}})
    api.put(CLUSTER, {**api.objects[CLUSTER], "metadata": metadata})
    keeper = Keeper("team", "chat", parts, wall_clock=clock)
    await keeper.round()
    api.failing = {(method, ""): 403 for method in ("GET", "PATCH", "POST", "DELETE")}
    rounds = asyncio.create_task(keeper.run())
    await eventually(lambda: "kubectl -n team patch realtimecluster chat" in caplog.text)
    assert not rounds.done()
    clock.now += 10_000
    await asyncio.wait_for(rounds, NEVER_S)


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_lease_is_renewed_after_a_bug(
    fault: str, api: FakeApiServer, kube: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal that raises is tried again while the lease is held; one that is lost ends it."""
    clock = Clock()
    lease = make_lease(kube, "me", clock)
    supervisor = Supervisor(Metrics(), uniform=lambda _low, _high: 0.0)
    tries: list[None] = []
    attempt = lease.attempt

    async def attempt_or_fail() -> bool:
        tries.append(None)
        if len(tries) % 3:
            await FAULTS[fault]()
        return await attempt()

    monkeypatch.setattr(lease, "attempt", attempt_or_fail)
    monkeypatch.setattr("realtime_operator.lease.PERIOD_SHARE", 0.0)
    await asyncio.wait_for(supervisor.supervise(lease.acquire, name="lease"), NEVER_S)
    assert lease.is_held()
    keep = supervisor.supervise(lease.keep, name="lease", ends_with=(LeaseLostError,))
    await eventually(lambda: len(tries) > 9)
    clock.now += 10
    api.failing = {("GET", "/operator"): 500}
    with pytest.raises(LeaseLostError):
        await asyncio.wait_for(keep, NEVER_S)


@pytest.mark.parametrize("fault", [*FAULTS, "an end"])
@pytest.mark.usefixtures("kube")  # for KUBECONFIG
async def test_the_operator_outlives_its_watches(
    fault: str, api: FakeApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends kopf, it is run again, and all clusters are looked after; a signal ends all."""
    starts: list[None] = []
    monkeypatch.setattr("realtime_operator.supervision.FIRST_PAUSE_S", 0.0)

    async def spawn_tasks(*, memo: kopf.Memo, **_: object) -> list[asyncio.Task[Any]]:
        memo.keepers.look_after("team", "chat")
        return []

    async def run_tasks(_: object, *, ignored: Collection[asyncio.Task[Any]]) -> None:
        starts.append(None)
        if len(starts) == 2:
            await asyncio.Event().wait()
        names = {task.get_name() for task in asyncio.all_tasks() if task in ignored}
        assert {"lease", "watch", "reconcile of team/chat"} <= names  # kopf leaves them alone
        if fault in FAULTS:
            await FAULTS[fault]()

    monkeypatch.setattr("realtime_operator.app.kopf.spawn_tasks", spawn_tasks)
    monkeypatch.setattr("realtime_operator.app.kopf.run_tasks", run_tasks)
    settings = OperatorSettings(http_address="127.0.0.1", http_port=0, namespace="operators")
    running = asyncio.create_task(run(settings, ["team"]))
    await eventually(lambda: running.done() or "status" in api.objects[CLUSTER])
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(running, NEVER_S)
    assert len(starts) == 2


@pytest.mark.parametrize("said", ["<html>", "[]", "null", '{"items": 5}', "{}"])
async def test_an_answer_that_is_no_list_is_an_error_of_the_api_server(
    said: str, api: FakeApiServer, kube: KubeClient
) -> None:
    """A proxy in between may answer anything: rounds expect that, and it is no bug."""
    api.garbled = said
    with pytest.raises(ApiServerError):
        await kube.list_pods(OWNER)


async def test_health_logs_nothing_of_broken_requests(caplog: pytest.LogCaptureFixture) -> None:
    """Their headers may hold a token, and anybody may send as many as he likes."""
    caplog.set_level(logging.DEBUG)
    server = HealthServer(
        Heartbeats(), Metrics(), Supervisor(Metrics()), address="127.0.0.1", port=0
    )
    port = await server.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nAuthorization: SECRET\0\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
    finally:
        await server.stop()
    assert "SECRET" not in caplog.text
    assert all(record.levelno < logging.WARNING for record in caplog.records)


async def test_an_admin_key_that_is_missing_is_told(api: FakeApiServer, kube: KubeClient) -> None:
    """Nodes cannot be drained without it: the error says which Secret lacks what."""
    assert await AdminKeys(kube, make_snapshot()).of("chat-0") == KEY
    named = make_snapshot(secrets={"adminKeySecretRef": {"name": "mine", "key": "k"}})
    with pytest.raises(OperatorError, match="team/mine"):
        await AdminKeys(kube, named).of("chat-0")
    api.put(f"{TEAM}/secrets/mine", {"data": {"k": "not base64!"}})
    with pytest.raises(OperatorError, match="'k'"):
        await AdminKeys(kube, named).of("chat-0")
    api.put(f"{TEAM}/secrets/mine", {"data": {"k": base64.b64encode(b"two\nlines").decode()}})
    with pytest.raises(OperatorError, match="one line"):
        await AdminKeys(kube, named).of("chat-0")
    api.put(f"{TEAM}/secrets/mine", {"data": {"k": base64.b64encode(b"one line\n").decode()}})
    assert await AdminKeys(kube, named).of("chat-0") == "one line"


async def test_each_node_is_told_with_the_key_that_it_knows(
    api: FakeApiServer,
    kube: KubeClient,
    start_node: Callable[[], Awaitable[FakeNode]],
    session: aiohttp.ClientSession,
) -> None:
    """Old ones obey while another Secret replaces theirs; each is read once a round."""
    old, other, new = [await start_node() for _ in range(3)]
    new.key = "another key"
    api.put(f"{TEAM}/secrets/mine", {"data": {"k": "YW5vdGhlciBrZXk="}})
    reference = {"name": "mine", "key": "k"}
    own = SecretKeyRef(name="chat-admin", key="key")
    pods = (make_pod(old, admin_key=own), make_pod(other, admin_key=own), make_pod(new))
    snapshot = replace(make_snapshot(secrets={"adminKeySecretRef": reference}), pods=pods)
    orders = tuple(CordonNode(node.ip, node.ip, "why") for node in (old, other, new))
    await make_executor(kube, session, old.port).carry_out(snapshot, orders)
    assert [len(node.told) for node in (old, other, new)] == [1, 1, 1]
    assert api.calls.count(("GET", f"{TEAM}/secrets/chat-admin")) == 1


async def test_explain_reads_a_cluster_by_the_kubeconfig(
    api: FakeApiServer, kube: KubeClient
) -> None:
    """What the status says is told; a cluster that is not there is named."""
    await kube.write_status(OWNER, {"observedGeneration": 1, "desiredReplicas": 3})
    told = await explain("team", "chat")
    assert told.startswith("team/chat: autoscaling Disabled; 3 nodes wanted")
    with pytest.raises(MissingClusterError, match="team/other"):
        await explain("team", "other")
    assert ("GET", CLUSTER) in api.calls


def test_without_a_kubeconfig_explain_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not by a traceback."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert main(["explain", "chat"]) == 1
    assert "Set KUBECONFIG to a file that names one" in capsys.readouterr().err
