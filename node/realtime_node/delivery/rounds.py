"""Whose turn it is: the channels that have something to write, in bounded passes of the loop.

A channel is *ready*, and served in turn with the others, or waits in the agenda for the end of its
interval, or of the gap between two cohorts. Waiting for the clock is a courtesy: who has a full
frame waiting does without, and while the node is *hurried*, because too much waits in it, everybody
does, so that a bound that all channels share is never reached for waiting alone. A pass serves
channels until its budget of writes is used up and then lets the loop breathe; what is left is for
the next.

A channel that cannot be served costs itself: `on_failed` makes of it what it can, and the pass goes
on with the next one.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from realtime_node.delivery.agenda import RESOLUTION_S, Agenda
from realtime_node.delivery.channel import Channel
from realtime_node.failures import current
from realtime_node.supervision import guard, guarded

WRITES_PER_PASS: Final = 1000
"""About 4 ms of writes on one core: the longest the loop is kept from reading sockets."""
MOST_WOKEN: Final = 1000
"""Channels whose time has come that are queued at once; the others in the next step of the loop."""


class Rounds:
    """The order in which channels are served."""

    def __init__(
        self,
        serve: Callable[[Channel, int], int],
        *,
        on_failed: Callable[[Channel], None],
        on_pass: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        """Call `serve` with a channel and the writes that are left for it; it returns those spent.

        What `serve` raises is noted, and `on_failed` called with the channel. `on_pass` is called
        at the end of each pass, `now` is in seconds of the loop's clock.
        """
        self._serve = serve
        self._on_failed = on_failed
        self._on_pass = on_pass
        self._now = now
        self._ready: deque[Channel] = deque()
        self._agenda: Agenda[Channel] = Agenda()
        self._alarm: asyncio.TimerHandle | None = None
        self._is_scheduled = False
        self._is_hurried = False
        self._guarded_pass = guarded(self._pass, where="delivery")
        self._guarded_wake = guarded(self.wake_due, where="delivery")

    def plan(self, channel: Channel) -> None:
        """Queue a channel that has something to write, or let it wait for its time."""
        due = channel.due_at
        if not due or self._is_hurried or due <= self._now():
            channel.due = None
            self._ready.append(channel)
            channel.is_queued = True
        else:
            channel.due = due
            is_next = self._agenda.put(due, channel)
            channel.is_queued = True
            if is_next:
                self._set_alarm()

    def hasten(self, channel: Channel) -> None:
        """Look again when a channel is due that waits for its time, now that more waits in it."""
        if channel.due is not None and channel.due_at < channel.due - RESOLUTION_S:
            self.plan(channel)  # its place in the agenda is void by that

    def enqueue(self, channel: Channel) -> None:
        """Queue a channel whatever it waits for."""
        if channel.due is not None or not channel.is_queued:
            channel.due = None  # a place in the agenda is void by that
            channel.is_queued = True
            self._ready.append(channel)

    def hurry(self) -> None:
        """Let nobody wait for the clock until `relax`."""
        if not self._is_hurried:
            self._is_hurried = True
            self._set_alarm()

    def relax(self) -> None:
        """Let channels wait for their time again."""
        self._is_hurried = False

    def schedule(self) -> None:
        """Let the next pass of the loop serve who is ready."""
        if self._ready and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._guarded_pass)

    def wake_due(self) -> None:
        """Queue channels whose time has come, or, in a hurry, that wait for it."""
        try:
            now = math.inf if self._is_hurried else self._now()
            self._queue(self._agenda.take_due(now, MOST_WOKEN))
        finally:
            with guard("delivery"):
                self._set_alarm()
            self.schedule()

    def _queue(self, places: Iterable[tuple[float, Channel]]) -> None:
        for due, channel in places:
            if channel.due == due:  # else it is due earlier by now, and its place here is void
                channel.due = None
                self._ready.append(channel)

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due = self._agenda.next_due()
        if due is not None:
            delay = 0 if self._is_hurried else max(due - self._now(), 0)
            self._alarm = asyncio.get_running_loop().call_later(delay, self._guarded_wake)

    def _pass(self) -> None:
        """Write to a bounded number of clients, taking channels in turn."""
        self._is_scheduled = False
        budget = WRITES_PER_PASS
        try:
            while self._ready and budget > 0:
                channel = self._ready.popleft()
                try:
                    if channel.waiting or channel.has_work:  # else deserted since it was queued
                        budget -= self._serve(channel, budget)
                    channel.is_queued = False
                    if channel.waiting or channel.has_work:
                        self.plan(channel)
                except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is noted
                    budget -= 1
                    self._failed(channel, error)
        finally:
            with guard("delivery"):
                self._on_pass()
            self.schedule()

    def _failed(self, channel: Channel, error: BaseException) -> None:
        error.add_note(f"while channel {channel.name!r} was served")
        current().callback_failed("delivery", error)
        channel.is_queued = False
        channel.due = None
        with guard("delivery"):
            self._on_failed(channel)
            if channel.has_work and not channel.is_queued:
                self.plan(channel)
        if channel.has_work and not channel.is_queued:
            channel.is_queued = True
            self._ready.append(channel)
