"""What can go wrong with a cluster of `realtime-node dev`."""

from __future__ import annotations

from realtime_node.errors import RealtimeError


class DevClusterError(RealtimeError):
    """The cluster cannot start or go on; the message says why and what to do."""
