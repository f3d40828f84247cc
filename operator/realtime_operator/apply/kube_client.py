"""The API server, as far as the operator speaks to it: plain JSON in, plain JSON out.

Objects are made and kept by server-side apply under one field manager, so that what users add
beside it stays theirs. Every call has a timeout and is made once: who calls comes back in the next
round. Errors are `ApiServerError`; that something is there, gone or another by now is the caller's
to judge.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import aiohttp
from kubernetes.aio import client, config

from realtime_operator.build.names import (
    API_VERSION,
    CLUSTER,
    FIELD_MANAGER,
    FINALIZER,
    Owner,
    owner_reference,
)
from realtime_operator.crd.realtime_cluster import GROUP, KIND, PLURAL, VERSION
from realtime_operator.errors import ApiServerError, SettingsError

Object = dict[str, Any]

TIMEOUT_S: Final = 10.0
PAGE: Final = 500
"""Objects in one answer to a list."""

CONFLICT: Final = 409
NOT_FOUND: Final = 404
FORBIDDEN: Final = 403
INVALID: Final = 422

_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_STRATEGIC: Final = "application/strategic-merge-patch+json"
_FINALIZER_MANAGER: Final = f"{FIELD_MANAGER}-finalizer"

_PLACES: Final[Mapping[tuple[str, str], str]] = {
    ("v1", "ConfigMap"): "/api/v1/namespaces/{namespace}/configmaps",
    ("v1", "Event"): "/api/v1/namespaces/{namespace}/events",
    ("v1", "Pod"): "/api/v1/namespaces/{namespace}/pods",
    ("v1", "Secret"): "/api/v1/namespaces/{namespace}/secrets",
    ("v1", "Service"): "/api/v1/namespaces/{namespace}/services",
    ("policy/v1", "PodDisruptionBudget"): (
        "/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
    ),
    ("networking.k8s.io/v1", "NetworkPolicy"): (
        "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
    ),
    ("coordination.k8s.io/v1", "Lease"): (
        "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    ),
    (API_VERSION, KIND): f"/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/{PLURAL}",
}


class KubeClient:
    """A connection to one API server."""

    def __init__(
        self, api: client.ApiClient, left_s: Callable[[], float] = lambda: TIMEOUT_S
    ) -> None:
        """Speak through `api`, which knows address and credentials.

        A call takes no longer than `left_s` says at its beginning, and never than `TIMEOUT_S`.
        """
        self._api = api
        self._left_s = left_s

    @classmethod
    async def connect(cls) -> Self:
        """Use the service account of the Pod that this runs in, or else KUBECONFIG.

        Raises `SettingsError` if neither says where the API server is.
        """
        configuration = client.Configuration()
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ:
                config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            else:
                await config.load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=os.environ.get("KUBECONFIG"), client_configuration=configuration
                )
        except config.ConfigException as error:
            raise SettingsError(
                f"no API server is known: {error} Set KUBECONFIG to a file that names one"
            ) from None
        return cls(client.ApiClient(configuration))

    def bounded(self, left_s: Callable[[], float]) -> KubeClient:
        """A client of the same connections whose calls are over within what `left_s` says."""
        return KubeClient(self._api, left_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    # --- what is there ----------------------------------------------------------------------

    async def read(self, api_version: str, kind: str, namespace: str, name: str) -> Object | None:
        """One object; None if there is none."""
        return await self._unless_gone(
            self._call("GET", f"{_place(api_version, kind, namespace)}/{name}")
        )

    async def read_cluster(self, namespace: str, name: str) -> Object | None:
        """A RealtimeCluster; None if there is none."""
        return await self.read(API_VERSION, KIND, namespace, name)

    async def is_namespace_ending(self, namespace: str) -> bool:
        """Whether a namespace is being deleted; False where that may not be read."""
        try:
            found = await self._unless_gone(self._call("GET", f"/api/v1/namespaces/{namespace}"))
        except ApiServerError as error:
            if error.status != FORBIDDEN:
                raise
            return False
        return found is None or "deletionTimestamp" in found.get("metadata", {})

    async def list_pods(self, owner: Owner) -> list[Object]:
        """All Pods with a cluster's label, as they are and not as some cache remembers them."""
        return await self._list(_place("v1", "Pod", owner.namespace), f"{CLUSTER}={owner.name}")

    async def list_config_maps(self, owner: Owner) -> list[Object]:
        """All ConfigMaps with a cluster's label."""
        place = _place("v1", "ConfigMap", owner.namespace)
        return await self._list(place, f"{CLUSTER}={owner.name}")

    async def list_network_policies(self, owner: Owner) -> list[Object]:
        """All NetworkPolicies with a cluster's label."""
        place = _place("networking.k8s.io/v1", "NetworkPolicy", owner.namespace)
        return await self._list(place, f"{CLUSTER}={owner.name}")

    async def list_kubernetes_nodes(self) -> list[Object]:
        """All machines."""
        return await self._list("/api/v1/nodes", "")

    # --- what it becomes --------------------------------------------------------------------

    async def apply(self, manifest: Mapping[str, Any]) -> Object:
        """Make an object be as its manifest says; create it if there is none."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._call("PATCH", _place_of(manifest), query, manifest, _APPLY)

    async def create(self, manifest: Mapping[str, Any]) -> Object | None:
        """Create an object; None if one of its name is there.

        A quota that somebody else has just drawn on is a conflict too, and raised like any error.
        """
        metadata = manifest["metadata"]
        place = _place(manifest["apiVersion"], manifest["kind"], metadata["namespace"])
        try:
            return await self._call("POST", place, {"fieldManager": FIELD_MANAGER}, manifest)
        except ApiServerError as error:
            if error.status == CONFLICT and error.reason == "AlreadyExists":
                return None
            raise

    async def replace(self, manifest: Mapping[str, Any]) -> Object | None:
        """Replace an object; None if it has changed since it was read (resourceVersion)."""
        try:
            return await self._call("PUT", _place_of(manifest), body=manifest)
        except ApiServerError as error:
            if error.status == CONFLICT:
                return None
            raise

    async def patch_pod(
        self, owner: Owner, name: str, uid: str, changed: Mapping[str, Any], *, version: str = ""
    ) -> None:
        """Merge `changed` into the metadata of exactly this Pod; nothing if it is gone.

        With a `version` (resourceVersion) it is an error (409) that the Pod has changed since.
        """
        exactly = {"uid": uid} | ({"resourceVersion": version} if version else {})
        body = {"metadata": {**exactly, **changed}}
        place = f"{_place('v1', 'Pod', owner.namespace)}/{name}"
        call = self._call("PATCH", place, {"fieldManager": FIELD_MANAGER}, body, _MERGE)
        try:
            await call
        except ApiServerError as error:
            is_conflict = error.status == CONFLICT and bool(version)
            if is_conflict or not (error.status == NOT_FOUND or _is_another(error)):
                raise

    async def adopt_pod(self, owner: Owner, name: str, uid: str) -> None:
        """Add the cluster to the owners of exactly this Pod, as its controller.

        Nothing happens if it is gone; that it has got another controller since is an error.
        """
        body = {"metadata": {"uid": uid, "ownerReferences": [owner_reference(owner)]}}
        place = f"{_place('v1', 'Pod', owner.namespace)}/{name}"
        call = self._call("PATCH", place, {"fieldManager": FIELD_MANAGER}, body, _STRATEGIC)
        await self._unless_gone(call, or_another=True)

    async def delete(self, api_version: str, kind: str, owner: Owner, name: str, uid: str) -> None:
        """Delete an object, exactly this one if `uid` is given; nothing if it is gone."""
        place = f"{_place(api_version, kind, owner.namespace)}/{name}"
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            body["preconditions"] = {"uid": uid}
        await self._unless_gone(self._call("DELETE", place, body=body), or_another=True)

    async def write_status(self, owner: Owner, status: Mapping[str, Any]) -> None:
        """Write the status of a RealtimeCluster; nothing if it is gone."""
        manifest = _identity(owner) | {"status": status}
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        call = self._call("PATCH", f"{_place_of(manifest)}/status", query, manifest, _APPLY)
        await self._unless_gone(call, or_another=True)

    async def set_finalizer(self, owner: Owner, *, present: bool) -> None:
        """Add our finalizer to a RealtimeCluster, or take it away; others stay."""
        manifest = _identity(owner)
        if present:
            manifest["metadata"]["finalizers"] = [FINALIZER]
        query = {"fieldManager": _FINALIZER_MANAGER, "force": "true"}
        call = self._call("PATCH", _place_of(manifest), query, manifest, _APPLY)
        await self._unless_gone(call, or_another=True)

    # --- calls ------------------------------------------------------------------------------

    async def _list(self, place: str, selector: str) -> list[Object]:
        items: list[Object] = []
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            answer = await self._call("GET", place, query)
            try:
                items += answer["items"]
                following = answer["metadata"].get("continue")
            except (KeyError, TypeError, AttributeError) as error:
                raise ApiServerError(f"GET {place}", message="the answer is no list") from error
            if not following:
                return items
            query["continue"] = following

    @staticmethod
    async def _unless_gone(call: Any, *, or_another: bool = False) -> Object | None:  # noqa: ANN401 - a coroutine
        try:
            answer: Object = await call
        except ApiServerError as error:
            if error.status == NOT_FOUND or (or_another and _is_another(error)):
                return None
            raise
        return answer

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        timeout_s = min(TIMEOUT_S, self._left_s())
        if timeout_s <= 0:
            raise ApiServerError(f"{method} {path}", message="no time is left for it")
        if method != "GET":  # the server gives up by then as well, and writes nothing later
            query = {**(query or {}), "timeout": f"{timeout_s:.1f}s"}
        try:
            method, url, headers, data, _ = await self._api.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await self._api.call_api(
                method, url, headers, data, _request_timeout=timeout_s
            )
            text: bytes = await response.read()  # type: ignore[no-untyped-call]
        except (
            aiohttp.ClientError,
            config.ConfigException,  # the file with the token is being replaced
            TimeoutError,
            OSError,
        ) as error:
            raise ApiServerError(f"{method} {path}", message=repr(error)) from error
        if response.status >= 400:  # noqa: PLR2004 - HTTP
            reason, message = _said(text)
            raise ApiServerError(
                f"{method} {path}", status=response.status, reason=reason, message=message
            )
        return _read_answer(f"{method} {path}", text)


def _place(api_version: str, kind: str, namespace: str) -> str:
    return _PLACES[api_version, kind].format(namespace=namespace)


def _place_of(manifest: Mapping[str, Any]) -> str:
    metadata = manifest["metadata"]
    place = _place(manifest["apiVersion"], manifest["kind"], metadata["namespace"])
    return f"{place}/{metadata['name']}"


def _identity(owner: Owner) -> Object:
    """A RealtimeCluster with nothing but what says which; its uid keeps apart one made anew."""
    metadata = {"name": owner.name, "namespace": owner.namespace, "uid": owner.uid}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata}


def _is_another(error: ApiServerError) -> bool:
    """Whether an object of this name is there, with another uid than was meant.

    A delete and an apply meet a conflict then; a merge is said to change what cannot be changed.
    """
    is_uid = error.status == INVALID and "metadata.uid" in error.message
    return error.status == CONFLICT or is_uid


def _read_answer(what: str, text: bytes) -> Object:
    """The object in an answer. Raises `ApiServerError` if something else has answered."""
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ApiServerError(what, message=f"the answer is no object: {text[:100]!r}")
    return answer


def _said(text: bytes) -> tuple[str, str]:
    """What the API server says about a refusal: in a word, and in a sentence."""
    try:
        said = json.loads(text)
        return str(said.get("reason", "")), str(said.get("message", ""))[:1000]
    except (ValueError, AttributeError):
        return "", text[:200].decode(errors="replace")
