"""The keys by which a cluster's nodes let themselves be drained.

Where the spec names a Secret it is the user's. Otherwise the operator makes one with a random key;
it belongs to the cluster and goes with it. A node knows the key that it was started with: while one
Secret replaces another, each node is told with the key of the Secret that its own Pod names.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from typing import Final

from realtime_operator.apply.kube_client import KubeClient
from realtime_operator.build.names import metadata
from realtime_operator.build.node_settings import ADMIN_KEY, admin_key_ref
from realtime_operator.crd.realtime_cluster import SecretKeyRef
from realtime_operator.decide.snapshot import Snapshot
from realtime_operator.errors import OperatorError

RANDOM_BYTES: Final = 32


async def ensure_admin_secret(kube: KubeClient, snapshot: Snapshot) -> None:
    """Make the cluster's own Secret, if it should have one and has none."""
    owner, spec = snapshot.owner, snapshot.spec
    if spec.secrets.admin_key_secret_ref:
        return
    name = admin_key_ref(owner.name, spec).name
    if await kube.read("v1", "Secret", owner.namespace, name):
        return
    await kube.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": metadata(owner, name, "admin-key"),
            "stringData": {ADMIN_KEY: secrets.token_urlsafe(RANDOM_BYTES)},
        }
    )


class AdminKeys:
    """The keys of one round: each is read when the first node that needs it is told something."""

    def __init__(self, kube: KubeClient, snapshot: Snapshot) -> None:
        """Read nothing yet."""
        self._kube = kube
        self._snapshot = snapshot
        self._lock = asyncio.Lock()
        self._read: dict[SecretKeyRef, str | OperatorError] = {}

    async def of(self, pod_name: str) -> str:
        """The key of a node. Raises `OperatorError` that says which Secret lacks it."""
        owner, pod = self._snapshot.owner, self._snapshot.by_name.get(pod_name)
        own = pod.admin_key if pod else None
        reference = own or admin_key_ref(owner.name, self._snapshot.spec)
        async with self._lock:
            if reference not in self._read:
                self._read[reference] = await self._try(reference)
        key = self._read[reference]
        if isinstance(key, OperatorError):
            raise key
        return key

    async def _try(self, reference: SecretKeyRef) -> str | OperatorError:
        try:
            return await _read(self._kube, self._snapshot.owner.namespace, reference)
        except OperatorError as error:
            return error  # of this round: who needs the same key would wait for the same answer


async def _read(kube: KubeClient, namespace: str, reference: SecretKeyRef) -> str:
    secret = await kube.read("v1", "Secret", namespace, reference.name)
    encoded = (secret or {}).get("data", {}).get(reference.key, "")
    try:
        key = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        key = ""
    key = key.strip()  # as the node does
    if not key.isprintable():
        raise OperatorError(
            f"Secret {namespace}/{reference.name} has more than one line, or control characters,"
            f" under {reference.key!r}: no header can hold that, make it one line of text"
        )
    if not key:
        raise OperatorError(
            f"Secret {namespace}/{reference.name} has no text under {reference.key!r}: "
            " nodes that were started with it cannot be told to drain"
        )
    return key
