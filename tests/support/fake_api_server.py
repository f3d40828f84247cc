"""As much of a Kubernetes API server as the operator speaks to, in this process and in memory.

Objects of any kind are created, listed by label, watched, merged (a patch of any type), replaced
under their resourceVersion, and deleted under a uid. It knows no controllers: a Pod becomes ready
when the test says so, and a deleted one goes at once. Every call is recorded.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

Object = dict[str, Any]

RESOURCES: Final = {
    "/api/v1": {
        "pods": "Pod",
        "services": "Service",
        "configmaps": "ConfigMap",
        "secrets": "Secret",
        "events": "Event",
        "nodes": "Node",
        "namespaces": "Namespace",
    },
    "/apis/policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
    "/apis/networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
    "/apis/coordination.k8s.io/v1": {"leases": "Lease"},
    "/apis/realtimecluster.dev/v1alpha1": {"realtimeclusters": "RealtimeCluster"},
}
CLUSTER_SCOPED: Final = ("nodes", "namespaces")


class FakeApiServer:
    """Holds objects by their path, such as `/api/v1/namespaces/team/pods/chat-0`."""

    def __init__(self) -> None:
        """Hold nothing."""
        self.selectors: dict[str, set[str]] = {}
        """What each kind was listed or watched by."""
        self.objects: dict[str, Object] = {}
        self.calls: list[tuple[str, str]] = []
        self.failing: dict[tuple[str, str], int] = {}
        """Method and ending of a path to the status that such calls are answered with."""
        self.stamps = False
        """Whether a webhook sets an annotation at each write of an object that has an owner."""
        self.hung = False
        """Whether no call is answered."""
        self.garbled = ""
        """What every call is answered with, as if by something else; empty: as it should be."""
        self.url = ""
        self._versions = itertools.count(1)
        self._watches: dict[asyncio.Queue[Object | None], tuple[str, str]] = {}
        self._runner: web.AppRunner | None = None
        self._uids = itertools.count(1)

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """End all watches and listen no more."""
        for queue in self._watches:
            queue.put_nowait(None)
        assert self._runner
        await self._runner.cleanup()

    # --- what tests do and look at ----------------------------------------------------------

    def put(self, path: str, manifest: Mapping[str, Any]) -> Object:
        """Create or replace an object, as if somebody else had."""
        before = self.objects.get(path)
        made: Object = json.loads(json.dumps(manifest))
        metadata = made.setdefault("metadata", {})
        metadata["name"] = path.rpartition("/")[2]
        if "/namespaces/" in path:
            metadata["namespace"] = path.split("/namespaces/")[1].partition("/")[0]
        old = before["metadata"] if before else {}
        metadata.setdefault("uid", old.get("uid", f"uid-{next(self._uids)}"))
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata.setdefault("creationTimestamp", old.get("creationTimestamp", created))
        if before and before.get("spec") != made.get("spec"):
            metadata["generation"] = old.get("generation", 1) + 1
        metadata.setdefault("generation", 1)
        metadata["resourceVersion"] = str(next(self._versions))
        self.objects[path] = made
        self._tell("MODIFIED" if before else "ADDED", path, made)
        return made

    def remove(self, path: str) -> None:
        """Take an object away, as if somebody else had."""
        gone = self.objects.pop(path)
        gone["metadata"]["resourceVersion"] = str(next(self._versions))
        self._tell("DELETED", path, gone)

    def of_kind(self, plural: str) -> list[Object]:
        """All objects of a kind."""
        return [each for path, each in self.objects.items() if path.split("/")[-2] == plural]

    # --- calls ------------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removesuffix("/status")
        self.calls.append((request.method, request.path))
        if self.hung:
            await asyncio.Event().wait()
        if self.garbled:
            return web.Response(text=self.garbled, content_type="application/json")
        for (method, ending), status in self.failing.items():
            if request.method == method and request.path.endswith(ending):
                return _refusal(status, "as the test wants it")
        if (discovered := _discovery(request.path)) is not None:
            return web.json_response(discovered)
        plural, selector = request.path.rpartition("/")[2], request.query.get("labelSelector", "")
        if request.method == "GET":
            self.selectors.setdefault(plural, set()).add(selector)
        if request.method == "GET" and request.query.get("watch") == "true":
            return await self._watch(request)
        if request.method == "GET":
            return self._read(path, request.query.get("labelSelector", ""))
        body = await request.json() if request.can_read_body else {}
        if "strategic" in request.content_type and path in self.objects:
            _keep_other_owners(self.objects[path]["metadata"], body.get("metadata", {}))
        applies = "apply" in request.content_type
        return self._write(request.method, path, body, applies=applies)

    def _write(self, method: str, path: str, body: Object, *, applies: bool) -> web.Response:
        match method:
            case "POST":
                path = f"{path}/{body['metadata']['name']}"
                if path in self.objects:
                    return _refusal(409, "it is there already", reason="AlreadyExists")
                return web.json_response(self.put(path, body), status=201)
            case "PUT":
                return self._replace(path, body)
            case "PATCH":
                return self._patch(path, body, applies=applies)
            case _:
                return self._delete(path, body)

    def _read(self, path: str, selector: str) -> web.Response:
        if path in self.objects:
            return web.json_response(self.objects[path])
        if path.rpartition("/")[2] not in _PLURALS:
            return _refusal(404, "there is none")
        items = [
            each
            for place, each in self.objects.items()
            if _is_listed(place, path) and _matches(each, selector)
        ]
        version = str(next(self._versions))
        return web.json_response({"metadata": {"resourceVersion": version}, "items": items})

    def _replace(self, path: str, body: Object) -> web.Response:
        if path not in self.objects:
            return _refusal(404, "there is none")
        version = body["metadata"].get("resourceVersion")
        if version and version != self.objects[path]["metadata"]["resourceVersion"]:
            return _refusal(409, "it has changed")
        return web.json_response(self.put(path, body))

    def _patch(  # noqa: PLR0911 - what a patch may meet
        self, path: str, body: Object, *, applies: bool
    ) -> web.Response:
        before = self.objects.get(path)
        if before is None:
            if not applies:
                return _refusal(404, "there is none")
            return web.json_response(self.put(path, body), status=201)
        uid = body.get("metadata", {}).get("uid")
        if uid and uid != before["metadata"]["uid"]:
            if applies:
                return _refusal(409, "uid mismatch")
            return _refusal(422, f"metadata.uid: Invalid value: {uid!r}: field is immutable")
        version = before["metadata"]["resourceVersion"]
        if body.get("metadata", {}).get("resourceVersion", version) != version:
            return _refusal(409, "it has changed", reason="Conflict")
        merged = _merged(before, body)
        merged["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
        if self.stamps and "ownerReferences" in merged["metadata"]:
            stamp = {"annotations": {"policy.example.com/stamp": str(next(self._versions))}}
            merged = _merged(merged, {"metadata": stamp})
        if merged == before:
            return web.json_response(before)
        return web.json_response(self.put(path, merged))

    def _delete(self, path: str, body: Object) -> web.Response:
        if path not in self.objects:
            return _refusal(404, "there is none")
        uid = body.get("preconditions", {}).get("uid")
        if uid and uid != self.objects[path]["metadata"]["uid"]:
            return _refusal(409, "it is another one")
        self.remove(path)
        return web.json_response({"kind": "Status", "status": "Success"})

    # --- watches ----------------------------------------------------------------------------

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        queue: asyncio.Queue[Object | None] = asyncio.Queue()
        self._watches[queue] = (request.path, request.query.get("labelSelector", ""))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        try:
            while (event := await queue.get()) is not None:
                await response.write(json.dumps(event).encode() + b"\n")
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            del self._watches[queue]
        return response

    def _tell(self, kind: str, path: str, manifest: Object) -> None:
        for queue, (watched, selector) in self._watches.items():
            if _is_listed(path, watched) and _matches(manifest, selector):
                queue.put_nowait({"type": kind, "object": manifest})


_PLURALS: Final = {plural for kinds in RESOURCES.values() for plural in kinds}


def _is_listed(path: str, listed: str) -> bool:
    """Whether an object belongs to a list, of a namespace or of all."""
    place, _, plural = listed.rpartition("/")
    parts = path.split("/")
    return parts[-2] == plural and path.startswith(place + "/")


def _matches(manifest: Object, selector: str) -> bool:
    labels = manifest["metadata"].get("labels", {})
    wanted = [each.partition("=") for each in selector.split(",") if each]
    return all(labels.get(key) == value if is_ else key in labels for key, is_, value in wanted)


def _keep_other_owners(kept: Object, changed: Object) -> None:
    """Owners are a list that a strategic merge joins by their uid."""
    if given := changed.get("ownerReferences"):
        new = {each["uid"] for each in given}
        before = [each for each in kept.get("ownerReferences", ()) if each["uid"] not in new]
        changed["ownerReferences"] = [*before, *given]


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> Object:
    result = dict(below)
    for key, value in above.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result


def _refusal(status: int, message: str, *, reason: str = "") -> web.Response:
    said = {"kind": "Status", "code": status, "reason": reason, "message": message}
    return web.json_response(said, status=status)


def _discovery(path: str) -> Object | None:
    """What a client asks to learn which kinds there are."""
    if path == "/api":
        return {"versions": ["v1"]}
    if path == "/apis":
        return {
            "groups": [
                {
                    "name": group,
                    "preferredVersion": {"version": version},
                    "versions": [{"version": version, "groupVersion": f"{group}/{version}"}],
                }
                for group, version in (
                    each.removeprefix("/apis/").split("/")
                    for each in RESOURCES
                    if each.startswith("/apis/")
                )
            ]
        }
    if path not in RESOURCES:
        return None
    return {
        "resources": [
            {
                "name": plural,
                "singularName": kind.lower(),
                "kind": kind,
                "namespaced": plural not in CLUSTER_SCOPED,
                "verbs": ["get", "list", "watch", "patch", "create", "delete"],
                "shortNames": [],
                "categories": [],
            }
            for plural, kind in RESOURCES[path].items()
        ]
    }
