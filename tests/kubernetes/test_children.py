"""Objects that the operator keeps: whoever changes or deletes one finds it restored."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final, NamedTuple

import pytest

from tests.support.kubernetes.realtime_cluster import RealtimeCluster, until

RESTORED_S: Final = 20


class Child(NamedTuple):
    """One of the objects, and a change of it that does harm."""

    kind: str
    change: dict[str, Any]

    def name(self, tried: RealtimeCluster) -> str:
        """Its name."""
        if self.kind != "configmap":
            return tried.name
        return f"{tried.name}-{tried.resource()['status']['revision']}"

    def content(self, tried: RealtimeCluster) -> dict[str, Any]:
        """What the operator is responsible for."""
        child = tried.cluster.get(self.kind, self.name(tried), tried.namespace)
        content = child.get("spec") or child["data"]
        return {key: value for key, value in content.items() if not key.startswith("clusterIP")}


CHILDREN: Final = (
    Child("service", {"spec": {"selector": {"realtimecluster.dev/accepting": "never"}}}),
    Child("poddisruptionbudget", {"spec": {"minAvailable": 0}}),
    Child("networkpolicy", {"spec": {"ingress": [{}]}}),
    Child("configmap", {"data": {"settings.json": "{"}}),
)


@pytest.mark.parametrize("child", CHILDREN, ids=lambda child: child.kind)
async def test_a_change_by_hand_is_undone(tried: RealtimeCluster, child: Child) -> None:
    """A Service that finds no node, a budget of nothing, an open port: all are put right."""
    before = await asyncio.to_thread(tried.incarnations)
    content, name = child.content(tried), child.name(tried)
    patch = ("patch", child.kind, name, "-n", tried.namespace, "--type=merge")
    tried.cluster.kubectl(*patch, f"--patch={json.dumps(child.change)}")
    await until(lambda: child.content(tried) == content, within_s=RESTORED_S)
    assert await asyncio.to_thread(tried.incarnations) == before


@pytest.mark.parametrize("child", CHILDREN, ids=lambda child: child.kind)
async def test_a_deleted_one_is_made_again(tried: RealtimeCluster, child: Child) -> None:
    """Without being asked, the operator makes what somebody has deleted."""
    before = await asyncio.to_thread(tried.incarnations)
    content, name = child.content(tried), child.name(tried)
    tried.cluster.kubectl("delete", child.kind, name, "-n", tried.namespace)
    await until(lambda: child.content(tried) == content, within_s=RESTORED_S)
    assert await asyncio.to_thread(tried.incarnations) == before
