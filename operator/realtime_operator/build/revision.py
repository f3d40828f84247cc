"""The revision: what of a spec makes a node another node.

It is the hash of what the user has written and a running node cannot take over, with the version of
our own template. A newer operator reads the same spec and finds the same revision, so upgrading it
replaces no Pod: fields that it added are at their defaults and do not count, and its own changes to
the template reach Pods that are made anyway, until somebody raises the version on purpose.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

from realtime_operator.build.node_settings import restart_settings
from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec

TEMPLATE_VERSION: Final = 1
"""Raise it only for a change that running Pods need: every cluster rolls."""

LENGTH: Final = 10


def revision_of(spec: RealtimeClusterSpec) -> str:
    """The revision of a spec, short enough for names."""
    counted = {
        "version": TEMPLATE_VERSION,
        "image": spec.image,
        "engine": spec.engine.model_dump(exclude_defaults=True),
        "secrets": spec.secrets.model_dump(exclude_defaults=True),
        "template": spec.template.model_dump(exclude_defaults=True),
        "node": restart_settings(spec.node),
    }
    text = json.dumps(counted, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]
