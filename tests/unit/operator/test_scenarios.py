"""What a whole cluster goes through, round by round, on a cluster that is not there."""

from __future__ import annotations

import pytest

from realtime_operator.decide.actions import CordonNode, DeletePod, DrainNode
from tests.support.simulated_cluster import guarded, settled


def test_a_new_cluster_serves() -> None:
    """As many nodes as wanted start, are let in to the Service once they have settled, and stay."""
    cluster = settled()
    assert sum(len(node.clients) for node in cluster.nodes.values()) == 60
    assert cluster.condition("Available") == ("True", "EnoughNodes")
    assert cluster.condition("Progressing") == ("True", "Complete")
    cluster.run(60)
    assert not [a for _, a in cluster.actions if isinstance(a, (DeletePod, DrainNode, CordonNode))]


def test_a_rollout_moves_every_client_once() -> None:
    """All nodes are replaced, no client reconnects twice, and accepting nodes never lack."""
    cluster = guarded(settled())
    cluster.change(image="node:2")
    cluster.run_until(lambda: cluster.is_settled)
    assert max(cluster.reconnects.values()) == 1
    assert len(cluster.reconnects) == 60
    assert cluster.told("RolloutStarted")
    cluster.run(30)
    assert cluster.told("RolloutCompleted")


def test_a_frugal_rollout_needs_one_more_node() -> None:
    """No more Pods than wanted and the surge are there at any time."""
    cluster = guarded(settled(update={"mode": "Frugal", "minReadySeconds": 2}))
    most = 0
    cluster.change(image="node:2")
    while not cluster.is_settled:
        cluster.run(1)
        most = max(most, len(cluster.live))
    assert most == 4


def test_a_broken_image_costs_nobody_anything() -> None:
    """Nothing is cordoned, no client moves, and the conditions say which image and why."""
    cluster = guarded(settled())
    cluster.broken_images.add("node:broken")
    cluster.change(image="node:broken")
    cluster.run(120)
    assert cluster.revisions["node:1"] == 3
    assert not cluster.reconnects
    assert cluster.condition("Progressing") == ("False", "ProgressDeadlineExceeded")
    assert cluster.condition("Available") == ("True", "EnoughNodes")
    assert any("ImagePullBackOff" in each for each in cluster.told("ProgressDeadlineExceeded"))
    cluster.change(image="node:1")
    cluster.run_until(lambda: cluster.is_settled)
    assert not cluster.reconnects


def test_scaling_down_takes_who_is_missed_least() -> None:
    """The node with the fewest clients is drained, and then deleted."""
    cluster = guarded(settled())
    least = min(cluster.live, key=lambda node: len(node.clients))
    for client in least.clients[5:]:
        least.clients.remove(client)
    cluster.change(replicas=2)
    cluster.run_until(lambda: cluster.is_settled)
    assert least.name not in cluster.nodes
    assert len(cluster.reconnects) == 5


def test_scaling_to_nothing_and_back() -> None:
    """No node is left, and then as many as wanted are there again."""
    cluster = settled()
    cluster.change(replicas=0)
    cluster.run_until(lambda: not cluster.nodes)
    cluster.change(replicas=2)
    cluster.run_until(lambda: cluster.is_settled)


def test_a_cordoned_machine_is_emptied() -> None:
    """Another node starts elsewhere before the one on a cordoned Kubernetes node is drained."""
    cluster = guarded(settled())
    cluster.cordon_machine("a")
    cluster.run_until(
        lambda: (
            cluster.is_settled
            and all(node.manifest["spec"]["nodeName"] != "a" for node in cluster.live)
        )
    )
    assert max(cluster.reconnects.values()) == 1


def test_new_nodes_that_fail_give_the_old_ones_back_their_work() -> None:
    """Old nodes that were cordoned and not drained take clients again at once."""
    cluster = settled(drain={"propagationSeconds": 30, "windowSeconds": 30})
    cluster.change(image="node:2")
    cluster.run_until(lambda: any(isinstance(a, CordonNode) for _, a in cluster.actions))
    for node in cluster.live:
        if node.manifest["spec"]["containers"][0]["image"] == "node:2":
            cluster.restart_container(node)
            node.is_broken = True
    cluster.run_until(lambda: len(cluster.accepting) == 3)
    assert cluster.revisions["node:1"] == 3
    cluster.run(60)
    assert len(cluster.accepting) == 3
    assert cluster.told("DrainAborted")


def test_no_old_node_is_drained_while_another_one_is_open() -> None:
    """One that cannot be told to shut, and that load balancers still know, holds up all drains."""
    cluster = guarded(settled())
    cluster.lag_s = 60
    deaf = cluster.live[-1]
    deaf.hears = False
    cluster.change(image="node:2")
    cluster.run(60)
    assert not cluster.reconnects
    deaf.hears = True
    cluster.run_until(lambda: cluster.is_settled)
    assert max(cluster.reconnects.values()) == 1


def test_a_node_that_cannot_be_told_is_not_waited_for_without_end() -> None:
    """One that says nothing at all is deleted in the end, and the rollout comes to its own."""
    cluster = settled()
    hung = cluster.live[0]
    hung.answers = False
    cluster.change(image="node:2")
    cluster.run_until(lambda: cluster.is_settled)
    assert hung.name not in cluster.nodes


def test_nodes_that_stay_shut_are_replaced() -> None:
    """A rollout is called off, and the old nodes do not hear of it: new ones take their place."""
    cluster = settled(drain={"propagationSeconds": 30, "windowSeconds": 30})
    cluster.change(image="node:2")
    cluster.run_until(lambda: any(isinstance(a, CordonNode) for _, a in cluster.actions))
    for node in cluster.live:
        node.hears = node.phase == "serving"
    cluster.change(image="node:1")
    cluster.run_until(lambda: cluster.is_settled and not cluster.waiting, within_s=1500)
    assert all(node.hears for node in cluster.live)


@pytest.mark.parametrize("policy", ["Force", "Wait"])
def test_nodes_that_take_no_orders_are_replaced(policy: str) -> None:
    """Their key may have been replaced: their Pods go one by one, and every client moves once."""
    drain = {"propagationSeconds": 5, "windowSeconds": 30, "deadlinePolicy": policy}
    cluster = guarded(settled(drain=drain))
    for node in cluster.live:
        node.hears = False
    cluster.change(image="node:2")
    cluster.run_until(lambda: cluster.is_settled, within_s=900)
    assert max(cluster.reconnects.values()) == 1
    assert cluster.told("DrainGivenUp")


@pytest.mark.parametrize("policy", ["Force", "Wait"])
def test_clients_that_are_left_at_the_deadline(policy: str) -> None:
    """Force closes them, and Wait gives them as long again."""
    drain = {"propagationSeconds": 5, "windowSeconds": 30, "deadlinePolicy": policy}
    cluster = settled(drain=drain)
    for node in cluster.live:
        node.slowness = 4.0
    cluster.change(image="node:2")
    cluster.run_until(lambda: cluster.is_settled, within_s=1200)
    assert bool(cluster.told("DrainForced")) == (policy == "Force")
    assert max(cluster.reconnects.values()) == 1


@pytest.mark.parametrize("paused", [False, True])
def test_a_drain_on_deletion_ends_with_the_resource(*, paused: bool) -> None:
    """All nodes are drained, even in a pause, and then nothing holds the resource any more."""
    drain = {"propagationSeconds": 5, "windowSeconds": 30, "onDelete": "Drain"}
    cluster = settled(drain=drain)
    assert cluster.has_finalizer
    cluster.change(paused=paused)
    cluster.deleted_at = cluster.now
    cluster.run_until(lambda: not cluster.has_finalizer)
    assert not cluster.nodes


def test_a_network_policy_that_is_not_wanted_any_more_goes() -> None:
    """It is deleted when it is switched off, and made again when it is switched on."""
    cluster = settled()
    assert ("NetworkPolicy", "chat") in cluster.children
    cluster.change(networkPolicy={"enabled": False})
    cluster.run(20)
    assert ("NetworkPolicy", "chat") not in cluster.children
    cluster.change(networkPolicy={"enabled": True})
    cluster.run(20)
    assert ("NetworkPolicy", "chat") in cluster.children


def test_a_paused_cluster_waits() -> None:
    """Nothing is created or drained until the pause ends."""
    cluster = settled()
    cluster.change(paused=True, image="node:2", replicas=5)
    cluster.run(60)
    assert cluster.actions == []
    cluster.change(paused=False)
    cluster.run_until(lambda: cluster.is_settled)
    assert len(cluster.nodes) == 5
