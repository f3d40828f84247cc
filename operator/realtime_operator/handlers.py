"""What kopf calls: every event becomes "look at this cluster again", and nothing else.

Only `on.event` is used. It leaves no annotation, no finalizer and no memory of what was handled; a
missed event costs the time to the next round. Daemons, timers and create or update handlers would
each put a finalizer on the resource, and nobody could delete it after the operator is gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, Final, ParamSpec

import kopf

from realtime_operator.build.names import CLUSTER, FIELD_MANAGER, MANAGED_BY
from realtime_operator.crd.realtime_cluster import GROUP, PLURAL, VERSION
from realtime_operator.reconcile import Keepers, Touched

registry: Final = kopf.OperatorRegistry()

P = ParamSpec("P")


def guarded(handler: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Count what a handler of an event raises: kopf would only log it."""

    @wraps(handler)
    async def call(*args: P.args, **kwargs: P.kwargs) -> None:
        memo: Any = kwargs["memo"]
        with memo.supervisor.guard("handler of an event"):
            await handler(*args, **kwargs)

    return call


_OURS: Final[Mapping[str, Any]] = {CLUSTER: kopf.PRESENT, MANAGED_BY: FIELD_MANAGER}

_WATCHED: Final = (
    ("v1", "pods"),
    ("v1", "services"),
    ("v1", "configmaps"),
    ("policy", "v1", "poddisruptionbudgets"),
    ("networking.k8s.io", "v1", "networkpolicies"),
)


@kopf.on.startup(registry=registry)
def configure(settings: kopf.OperatorSettings, **_: object) -> None:
    """Make watches notice that they are dead, and keep kopf's own traces out of the resources."""
    # kopf would kill the process some minutes after its end; it is run again instead.
    settings.process.ultimate_exiting_timeout = None
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70
    for watched in _WATCHED:  # the server filters: other people's Pods never come here
        settings.watching.label_selectors[watched] = CLUSTER
    settings.networking.request_timeout = 30
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.finalizer = f"{GROUP}/kopf"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)


@kopf.on.login(registry=registry)
def login(**kwargs: Any) -> kopf.ConnectionInfo | None:  # noqa: ANN401 - kopf hands on what it likes
    """Use the service account of the Pod, or else KUBECONFIG."""
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


@kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
@guarded
async def cluster_changed(
    *,
    type: str | None,  # noqa: A002 - as kopf names it
    name: str,
    namespace: str | None,
    meta: Mapping[str, Any],
    memo: kopf.Memo,
    **_: object,
) -> None:
    """A RealtimeCluster is there, has changed, or is gone: its keeper finds out.

    That only its status has changed is no news: the operator has just written it.
    """
    now_is = (meta.get("generation"), meta.get("deletionTimestamp"), meta.get("finalizers"))
    if type == "MODIFIED" and memo.get("seen") == now_is:
        return
    keepers: Keepers = memo.keepers
    keepers.look_after(namespace or "", name)
    memo["seen"] = now_is


@kopf.on.event("v1", "pods", labels={CLUSTER: kopf.PRESENT}, registry=registry)
@guarded
async def pod_changed(
    *, labels: Mapping[str, str], namespace: str | None, memo: kopf.Memo, **_: object
) -> None:
    """A Pod of a cluster has changed."""
    memo.keepers.wake(namespace or "", labels[CLUSTER])


@kopf.on.event("v1", "services", labels=_OURS, registry=registry)
@kopf.on.event("v1", "configmaps", labels=_OURS, registry=registry)
@kopf.on.event("networking.k8s.io", "v1", "networkpolicies", labels=_OURS, registry=registry)
@guarded
async def child_changed(  # noqa: PLR0913 - what kopf tells
    *,
    type: str | None,  # noqa: A002 - as kopf names it
    labels: Mapping[str, str],
    namespace: str | None,
    body: Mapping[str, Any],
    resource: kopf.Resource,
    memo: kopf.Memo,
    **_: object,
) -> None:
    """An object that the operator made was changed or deleted: it is applied anew."""
    memo.keepers.wake(namespace or "", labels[CLUSTER], _touched(type, body, resource))


@kopf.on.event("policy", "v1", "poddisruptionbudgets", labels=_OURS, registry=registry)
@guarded
async def budget_changed(  # noqa: PLR0913 - what kopf tells
    *,
    type: str | None,  # noqa: A002 - as kopf names it
    meta: Mapping[str, Any],
    labels: Mapping[str, str],
    namespace: str | None,
    body: Mapping[str, Any],
    resource: kopf.Resource,
    memo: kopf.Memo,
    **_: object,
) -> None:
    """As any object that the operator made; that Kubernetes counts Pods in its status is no change.

    Kubernetes does so whenever a Pod comes or goes. `memo` is kopf's own for each object.
    """
    now_is = (meta.get("generation"), dict(labels), meta.get("ownerReferences"))
    if type == "MODIFIED" and memo.get("seen") == now_is:
        return
    memo.keepers.wake(namespace or "", labels[CLUSTER], _touched(type, body, resource))
    memo["seen"] = now_is


def _touched(
    kind_of_event: str | None, body: Mapping[str, Any], resource: kopf.Resource
) -> Touched:
    live = None if kind_of_event == "DELETED" else dict(body)
    return Touched(resource.kind or "", body["metadata"]["name"], live)
