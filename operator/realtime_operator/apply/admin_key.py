"""The key by which a cluster's nodes let themselves be drained.

Where the spec names a Secret it is the user's. Otherwise the operator makes one with a random key;
it belongs to the cluster and goes with it.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Final

from realtime_operator.apply.kube_client import KubeClient
from realtime_operator.build.names import metadata
from realtime_operator.build.node_settings import ADMIN_KEY, admin_key_ref
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


async def read_admin_key(kube: KubeClient, snapshot: Snapshot) -> str:
    """The key. Raises `OperatorError` that says which Secret lacks it."""
    owner = snapshot.owner
    reference = admin_key_ref(owner.name, snapshot.spec)
    secret = await kube.read("v1", "Secret", owner.namespace, reference.name)
    encoded = (secret or {}).get("data", {}).get(reference.key, "")
    try:
        key = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        key = ""
    if not key:
        raise OperatorError(
            f"Secret {owner.namespace}/{reference.name} has no text under {reference.key!r}: the"
            " nodes cannot be told to drain"
        )
    return key.strip()
