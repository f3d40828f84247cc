"""What the handlers make of events: who has a round, and whether objects are made anew."""

from __future__ import annotations

from typing import Any

import kopf

from realtime_operator.build import names
from realtime_operator.handlers import budget_changed, cluster_changed
from realtime_operator.supervision import Supervisor
from realtime_operator.telemetry.metrics import Metrics

LABELS = {names.CLUSTER: "chat"}


class FakeKeepers:
    """Records who was woken."""

    def __init__(self) -> None:
        """Nobody was."""
        self.woken: list[tuple[str, str, bool]] = []

    def wake(self, namespace: str, name: str, touched: object = None) -> None:
        """Record it."""
        self.woken.append((namespace, name, touched is not None))

    def look_after(self, namespace: str, name: str) -> None:
        """Record that as well."""
        self.wake(namespace, name)


async def test_a_disruption_budget_whose_status_changes_is_as_it_was() -> None:
    """Only a change of what it asks for, of its labels or owners, or its deletion, is one."""
    keepers = FakeKeepers()
    memo = kopf.Memo(keepers=keepers, supervisor=Supervisor(Metrics()))
    handler: Any = budget_changed  # kopf types all that it could be called with

    async def event(kind: str | None, generation: int, **labels: str) -> int:
        before = len(keepers.woken)
        meta: dict[str, Any] = {"generation": generation, "ownerReferences": [{"uid": "u"}]}
        await handler(
            type=kind,
            meta=meta,
            labels={**LABELS, **labels},
            namespace="team",
            body={"metadata": {"name": "chat"}},
            resource=kopf.Resource("policy", "v1", "poddisruptionbudgets"),
            memo=memo,
        )
        return len(keepers.woken) - before

    assert await event(None, 1) == 1
    assert await event("MODIFIED", 1) == 0
    assert await event("MODIFIED", 2) == 1
    assert await event("MODIFIED", 2) == 0
    assert await event("MODIFIED", 2, added="by hand") == 1
    assert await event("DELETED", 2, added="by hand") == 1
    assert set(keepers.woken) == {("team", "chat", True)}


async def test_a_status_that_the_operator_has_written_is_no_news() -> None:
    """Or every write would have a round of its own, and a large cluster one a second."""
    keepers = FakeKeepers()
    memo = kopf.Memo(keepers=keepers, supervisor=Supervisor(Metrics()))
    handler: Any = cluster_changed

    async def event(kind: str | None, generation: int, **meta: Any) -> int:
        before = len(keepers.woken)
        told = {"generation": generation, **meta}
        await handler(type=kind, meta=told, name="chat", namespace="team", memo=memo)
        return len(keepers.woken) - before

    assert await event("ADDED", 1) == 1
    assert await event("MODIFIED", 1) == 0
    assert await event("MODIFIED", 2) == 1
    assert await event("MODIFIED", 2, finalizers=["somebody/else"]) == 1
    assert await event("MODIFIED", 2, finalizers=["somebody/else"]) == 0
    assert await event("MODIFIED", 2, deletionTimestamp="2026-01-01T00:00:00Z") == 1
    assert await event(None, 2, deletionTimestamp="2026-01-01T00:00:00Z") == 1
    assert await event("DELETED", 2, deletionTimestamp="2026-01-01T00:00:00Z") == 1
