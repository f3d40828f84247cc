"""What to do with a message for a client that does not take its messages: one function a policy.

Pure: the channel's rule, what already waits for the client there, by how much that would grow, and
the time go in; what to do and why comes out. `backlog` does it, `outbound` closes.

A message that meets an empty queue is kept whatever its size: it may be larger than every bound,
and a client is not slow for having been sent one such.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from realtime_node.delivery.flow import Policy, SlowRule


class Action(Enum):
    """What becomes of a message for a congested client."""

    KEEP = "kept"
    SKIP = "skipped"
    CLOSE = "closed"


class Reason(StrEnum):
    """Why; for a close it is what operators see in the metrics."""

    CONGESTED = "congested"
    """The client had not taken what was written before."""
    MESSAGES = "messages"
    """Too many would wait in the channel."""
    BYTES = "bytes"
    """Too much would wait in the channel."""
    AGE = "age"
    """The oldest in the channel has waited for too long."""
    CLIENT_BYTES = "client_bytes"
    """Too much would wait for the client, over all channels and replies."""
    NODE_BYTES = "node_bytes"
    """Too much waits for all clients of the node, and for this one the most."""
    STALLED = "stalled"
    """Nothing could be sent to the client for the write timeout."""

    @property
    def cuts_off(self) -> bool:
        """Whether the connection ends without a close frame: there is no way or no room for it."""
        return self in (Reason.STALLED, Reason.NODE_BYTES)


class Load(NamedTuple):
    """What waits for one client in one channel."""

    messages: int = 0
    bytes: int = 0
    oldest: float = math.inf
    """When the oldest came, in seconds of the monotonic clock."""


class Growth(NamedTuple):
    """By how much more would wait; bytes may be negative where a value replaces a larger one."""

    messages: int
    bytes: int


class Verdict(NamedTuple):
    """A decision and its reason."""

    action: Action
    reason: Reason


NO_GROWTH: Final = Growth(0, 0)
_KEEP: Final = Verdict(Action.KEEP, Reason.CONGESTED)


def decide(rule: SlowRule, load: Load, growth: Growth, now: float) -> Verdict:
    """Decide about a message; with `NO_GROWTH`, about what waits already."""
    return _DECIDE[rule.policy](rule, load, growth, now)


def _queue(rule: SlowRule, load: Load, growth: Growth, now: float) -> Verdict:
    if now - load.oldest > rule.max_age_s:
        return Verdict(Action.CLOSE, Reason.AGE)
    return _bounded(rule, load, growth)


def _latest(rule: SlowRule, load: Load, growth: Growth, _now: float) -> Verdict:
    return _bounded(rule, load, growth)


def _bounded(rule: SlowRule, load: Load, growth: Growth) -> Verdict:
    if load.messages:
        if load.messages + growth.messages > rule.max_messages:
            return Verdict(Action.CLOSE, Reason.MESSAGES)
        if growth.bytes > 0 and load.bytes + growth.bytes > rule.max_bytes:
            return Verdict(Action.CLOSE, Reason.BYTES)
    return _KEEP


def _drop(_rule: SlowRule, _load: Load, _growth: Growth, _now: float) -> Verdict:
    return Verdict(Action.SKIP, Reason.CONGESTED)


def _disconnect(_rule: SlowRule, _load: Load, _growth: Growth, _now: float) -> Verdict:
    return Verdict(Action.CLOSE, Reason.CONGESTED)


_DECIDE: Final[Mapping[Policy, Callable[[SlowRule, Load, Growth, float], Verdict]]] = (
    MappingProxyType(
        {
            Policy.QUEUE: _queue,
            Policy.LATEST: _latest,
            Policy.DROP: _drop,
            Policy.DISCONNECT: _disconnect,
        }
    )
)
