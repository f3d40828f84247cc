"""Kubernetes Events, each told once: its name is made of what it is about.

A second operator, or this one after a restart, makes the same name and meets the first (409). What
was told lately is remembered, so that a round that says the same again costs no call.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from realtime_operator.apply.kube_client import KubeClient
from realtime_operator.build.names import API_VERSION, FIELD_MANAGER, Owner
from realtime_operator.crd.realtime_cluster import KIND
from realtime_operator.decide.events import Event
from realtime_operator.errors import ApiServerError
from realtime_operator.supervision import Supervisor

logger = logging.getLogger(__name__)

REMEMBERED: Final = 500
"""Names that are remembered; the oldest is forgotten, and may be asked for in vain again."""


class EventTeller:
    """Tells the events of one cluster."""

    def __init__(self, kube: KubeClient, supervisor: Supervisor, *, instance: str) -> None:
        """Tell them through `kube`, as this replica."""
        self._kube = kube
        self._supervisor = supervisor
        self._instance = instance
        self._told: OrderedDict[str, None] = OrderedDict()

    async def tell(
        self,
        owner: Owner,
        events: tuple[Event, ...],
        now: float,
        *,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """Tell what was not told yet; what cannot be told is logged, since it decides nothing.

        `beat` is called before each.
        """
        for event in events:
            beat()
            with self._supervisor.guard("event"):
                await self._tell(owner, event, now)

    async def _tell(self, owner: Owner, event: Event, now: float) -> None:
        name = event_name(owner, event)
        if name in self._told:
            return
        try:
            await self._kube.create(manifest(owner, event, name, now, self._instance))
        except ApiServerError as error:
            logger.warning("event %s: %s", event.reason, error)
            return
        logger.info("%s/%s: %s: %s", owner.namespace, owner.name, event.reason, event.message)
        self._told[name] = None
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)


def event_name(owner: Owner, event: Event) -> str:
    """The name of an Event: the same for the same thing."""
    digest = hashlib.sha256(f"{owner.uid}\0{event.reason}\0{event.key}".encode())
    return f"{owner.name}.{digest.hexdigest()[:16]}"


def manifest(owner: Owner, event: Event, name: str, now: float, instance: str) -> dict[str, Any]:
    """The Event object."""
    at = datetime.fromtimestamp(now, UTC)
    stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": owner.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": owner.name,
            "namespace": owner.namespace,
            "uid": owner.uid,
        },
        "reason": event.reason,
        "message": event.message[:1024],
        "type": "Warning" if event.is_warning else "Normal",
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "eventTime": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "count": 1,
        "action": event.reason,
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": instance,
        "source": {"component": FIELD_MANAGER},
    }
