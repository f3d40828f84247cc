"""Instants that other clocks tell, put on the operator's own.

Kubelets say when a Pod became ready, the API server when one was made or deleted, and an operator
on another machine when it cordoned one. The difference between two clocks is no duration: with the
operator's 300 s behind, a node would wait 300 s longer for its clients. So each instant is taken
for one that this operator can have seen: after the look before, which did not show it, and no later
than the look that does. It then stays what it is.

The first look knows of no earlier one: an instant may lie anywhere before it. What an operator of
another machine wrote is off by the difference of the clocks then, and never ahead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from msgspec.structs import replace

from realtime_operator.decide.snapshot import DrainRecord, Pod


class Sightings:
    """Since when one cluster's operator has seen what it sees: some numbers for each Pod."""

    def __init__(self) -> None:
        """Begin without having looked."""
        self._looked_at = float("-inf")
        self._known: dict[tuple[str, str, float], float] = {}
        """The object's uid, the name of the instant and what the other clock says: our time."""
        self._following: dict[tuple[str, str, float], float] = {}
        """The same, of those that the present look shows."""

    def look(
        self, pods: Iterable[Pod], uid: str, deleted_at: float | None, now: float
    ) -> tuple[list[Pod], float | None]:
        """The Pods, and when the cluster `uid` was deleted, with times of the operator's clock."""
        if now < self._looked_at:  # the clock was set back: no look is earlier than this one
            self._looked_at, self._known = float("-inf"), {}
        self._following = {}
        seen = [self._of_pod(pod, now) for pod in pods]
        deleted = None if deleted_at is None else self._at(uid, "deleted", deleted_at, now)
        self._known, self._looked_at = self._following, now
        return seen, deleted

    def _of_pod(self, pod: Pod, now: float) -> Pod:
        uid, deleted_until = pod.uid, None
        if pod.deleted_until is not None:
            asked_at = pod.deleted_until - pod.deletion_grace_s
            deleted_until = self._at(uid, "deleted", asked_at, now) + pod.deletion_grace_s
        return replace(
            pod,
            created_at=self._at(uid, "created", pod.created_at, now),
            ready_changed_at=self._at(uid, "ready", pod.ready_changed_at, now),
            deleted_until=deleted_until,
            active_since=(
                None if pod.active_since is None else self._at(uid, "active", pod.active_since, now)
            ),
            reopened_at=self._at(uid, "reopened", pod.reopened_at, now),
            drain=pod.drain and self._of_drain(uid, pod.drain, now),
        )

    def _of_drain(self, uid: str, record: DrainRecord, now: float) -> DrainRecord:
        is_first_look = self._looked_at == float("-inf")
        cordoned_at = self._at(uid, "cordoned", record.cordoned_at, now)
        deadline = record.deadline
        if deadline is not None:
            # One that this operator has not written is as far off as the rest of its record.
            shift_s = cordoned_at - record.cordoned_at if is_first_look else 0.0
            key = (uid, "deadline", deadline)
            deadline = self._following[key] = self._known.get(key, deadline + shift_s)
        return dataclasses.replace(record, cordoned_at=cordoned_at, deadline=deadline)

    def _at(self, uid: str, what: str, told: float, now: float) -> float:
        """When something happened that another clock tells; 0 stays 0: it has not."""
        if not told:
            return told
        key = (uid, what, told)
        at = self._known.get(key)
        if at is None:
            at = max(self._looked_at, min(told, now))
        self._following[key] = at
        return at
