"""What waits for one congested client, in the order in which it will be written.

A transport's buffer cannot be taken back, so a congested client's messages wait here, where the
policies of their channels can still act on them. Frames stand in one line, over all channels and
the client's own replies. The values of a channel that keeps the newest stand in it together: they
leave together, so that a value that changes all the time holds up no other, and a later change
begins a new place at the end. So offsets of a channel only grow, whatever was left out.

Pure: no I/O, the clock is passed in. `outbound` puts in and takes out.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from realtime_node.delivery.batching import Batch, Key, in_frames
from realtime_node.delivery.budget import Budget, Shared
from realtime_node.delivery.flow import BatchRule, Policy, SlowRule
from realtime_node.delivery.policies import (
    NO_GROWTH,
    Action,
    Growth,
    Load,
    Reason,
    Verdict,
    decide,
)
from realtime_node.protocol.deflate import UNCOMPRESSED, Wire

FRAMES: Final = BatchRule()
"""Bounds of the frames that values are written in."""

Framing = Callable[[Sequence[bytes], Wire], bytes]
"""Makes one frame of encoded messages, for one client on a wire."""


class Lane:
    """One channel's part of the line."""

    __slots__ = ("arrivals", "bytes", "messages", "rule", "values")

    def __init__(self, rule: SlowRule) -> None:
        """Begin empty."""
        self.rule = rule
        self.messages = 0
        self.bytes = 0
        self.arrivals: deque[float] = deque()
        """When each of its frames came."""
        self.values: _Values | None = None
        """The place in line of its values that may still be replaced."""

    def load(self) -> Load:
        """Return what waits in it."""
        return Load(self.messages, self.bytes, self.arrivals[0] if self.arrivals else math.inf)


class _Frame(NamedTuple):
    """A place in line: a frame as all get it, or one of the client's own (without a lane)."""

    frame: Shared
    lane: Lane | None
    messages: int


class _Values:
    """A place in line: the newest values of a channel."""

    __slots__ = ("lane", "newest")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.newest: dict[Key, Shared] = {}


class Taken(NamedTuple):
    """Frames to write now, each held on behalf of whoever took them."""

    frames: list[Shared]
    messages: int


class Backlog:
    """The line of one client."""

    __slots__ = (
        "_budget",
        "_framing",
        "_lanes",
        "_limit_bytes",
        "_line",
        "_wire",
        "bytes",
        "replaced",
    )

    def __init__(
        self, budget: Budget, framing: Framing, limit_bytes: int, wire: Wire = UNCOMPRESSED
    ) -> None:
        """Hold frames on account of `budget`; at most `limit_bytes` may wait, over everything.

        What is held of a batch is the form that the client on `wire` reads.
        """
        self._budget = budget
        self._framing = framing
        self._limit_bytes = limit_bytes
        self._wire = wire
        self._line: deque[_Frame | _Values] = deque()
        self._lanes: dict[str, Lane] = {}
        self.bytes = 0
        self.replaced = 0
        """Values that gave way to newer ones."""

    # --- in ------------------------------------------------------------------------------------

    def offer(self, batch: Batch, now: float) -> Verdict:
        """Treat a batch as its channel's policy says; a close is the caller's to do."""
        rule = batch.rule
        lane = self._lanes.get(batch.channel) or Lane(rule)
        growth = self._growth(lane, batch)
        verdict = decide(rule, lane.load(), growth, now)
        if verdict.action is not Action.KEEP:
            return verdict
        if self._is_full(growth.bytes):
            return Verdict(Action.CLOSE, Reason.CLIENT_BYTES)
        self._lanes[batch.channel] = lane
        lane.messages += growth.messages
        lane.bytes += growth.bytes
        self.bytes += growth.bytes
        if rule.policy is Policy.LATEST:
            self._replace(lane, batch.values())
        else:
            frame = batch.frame.on(self._wire)
            lane.arrivals.append(now)
            self._budget.hold(frame)
            self._line.append(_Frame(frame, lane, len(batch.messages)))
        return verdict

    def add_own(self, frame: bytes) -> bool:
        """Put a frame for this client alone at the end; return whether it fitted."""
        if self._is_full(len(frame)):
            return False
        own = Shared(frame)
        self._budget.hold(own)
        self.bytes += len(frame)
        self._line.append(_Frame(own, None, 0))
        return True

    def _is_full(self, growth: int) -> bool:
        return self.bytes > 0 and growth > 0 and self.bytes + growth > self._limit_bytes

    def _growth(self, lane: Lane, batch: Batch) -> Growth:
        if batch.rule.policy is Policy.QUEUE:
            return Growth(len(batch.messages), len(batch.frame.on(self._wire).data))
        if batch.rule.policy is not Policy.LATEST:
            return NO_GROWTH  # nothing is kept, so no form of the frame need be made
        waiting = lane.values.newest if lane.values is not None else {}
        messages = size = 0
        for key, value in batch.values().items():
            older = waiting.get(key)
            messages += older is None
            size += len(value.data) - (0 if older is None else len(older.data))
        return Growth(messages, size)

    def _replace(self, lane: Lane, values: dict[Key, Shared]) -> None:
        place = lane.values
        if place is None:
            place = lane.values = _Values(lane)
            self._line.append(place)
        for key, value in values.items():
            self._budget.hold(value)
            older = place.newest.pop(key, None)
            if older is not None:
                self._budget.release(older)
                self.replaced += 1
            place.newest[key] = value

    # --- out -----------------------------------------------------------------------------------

    def take(self) -> Taken | None:
        """Remove and return what is first in line; None if nothing waits."""
        if not self._line:
            return None
        place = self._line.popleft()
        if isinstance(place, _Values):
            return self._take_values(place)
        size = len(place.frame.data)
        self.bytes -= size
        if place.lane is not None:
            place.lane.arrivals.popleft()
            place.lane.messages -= place.messages
            place.lane.bytes -= size
        return Taken([place.frame], place.messages)

    def _take_values(self, place: _Values) -> Taken:
        payloads = [value.data for value in place.newest.values()]
        frames = [Shared(self._framing(run, self._wire)) for run in in_frames(payloads, FRAMES)]
        for frame in frames:
            self._budget.hold(frame)
        for value in place.newest.values():
            self._budget.release(value)
        lane = place.lane
        lane.values = None
        self.bytes -= lane.bytes
        lane.messages = lane.bytes = 0
        return Taken(frames, len(payloads))

    def overdue(self, now: float) -> tuple[SlowRule, Verdict] | None:
        """Return the close that some channel's rule asks for by now, if any does."""
        for lane in self._lanes.values():
            if lane.arrivals:
                verdict = decide(lane.rule, lane.load(), NO_GROWTH, now)
                if verdict.action is Action.CLOSE:
                    return lane.rule, verdict
        return None

    # --- letting go ----------------------------------------------------------------------------

    def forget(self, channel: str) -> None:
        """Let go of what waits of one channel.

        Otherwise a client that subscribes anew could get a later value in the place of an earlier
        one, before the reply to its subscribe.
        """
        lane = self._lanes.pop(channel, None)
        if lane is None or not lane.messages:
            return
        self.bytes -= lane.bytes
        kept = []
        for place in self._line:
            if place.lane is lane:
                self._release(place)
            else:
                kept.append(place)
        self._line = deque(kept)

    def clear(self) -> None:
        """Let go of everything."""
        for place in self._line:
            self._release(place)
        self._line.clear()
        self._lanes.clear()
        self.bytes = 0

    def _release(self, place: _Frame | _Values) -> None:
        held = place.newest.values() if isinstance(place, _Values) else (place.frame,)
        for shared in held:
            self._budget.release(shared)
