"""Whose turn it is: the channels that have something to write, in bounded passes of the loop.

A channel is *ready*, and served in turn with the others, or waits in the agenda for the end of its
interval, or of the gap between two cohorts. Waiting for the clock is a courtesy: who has a full
frame waiting does without, and while the node is *hurried*, because too much waits in it, everybody
does, so that a bound that all channels share is never reached for waiting alone. A pass serves
channels until its budget of writes is used up and then lets the loop breathe; what is left is for
the next.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from realtime_node.delivery.agenda import Agenda
from realtime_node.delivery.channel import Channel

WRITES_PER_PASS: Final = 1000
"""About 4 ms of writes on one core: the longest the loop is kept from reading sockets."""


class Rounds:
    """The order in which channels are served."""

    def __init__(
        self,
        serve: Callable[[Channel, int], int],
        *,
        on_pass: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        """Call `serve` with a channel and the writes that are left for it; it returns those spent.

        `on_pass` is called at the end of each pass, `now` is in seconds of the loop's clock.
        """
        self._serve = serve
        self._on_pass = on_pass
        self._now = now
        self._ready: deque[Channel] = deque()
        self._agenda: Agenda[Channel] = Agenda()
        self._alarm: asyncio.TimerHandle | None = None
        self._is_scheduled = False
        self._is_hurried = False

    def plan(self, channel: Channel) -> None:
        """Queue a channel that has something to write, or let it wait for its time."""
        due = channel.next_frame_at
        if channel.fanout is not None:
            due = channel.fanout.next_at
        if not due or self._is_hurried or channel.is_full or due <= self._now():
            self._ready.append(channel)
        else:
            channel.due = due
            if self._agenda.put(due, channel):
                self._set_alarm()

    def hasten(self, channel: Channel) -> None:
        """Queue a channel that became full while it waited for its time."""
        channel.due = None
        self._ready.append(channel)

    def hurry(self) -> None:
        """Let nobody wait for the clock until `relax`."""
        if not self._is_hurried:
            self._is_hurried = True
            self._queue(self._agenda.take_due(math.inf))

    def relax(self) -> None:
        """Let channels wait for their time again."""
        self._is_hurried = False

    def schedule(self) -> None:
        """Let the next pass of the loop serve who is ready."""
        if self._ready and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._pass)

    def wake_due(self) -> None:
        """Queue the channels whose time has come."""
        self._queue(self._agenda.take_due(self._now()))
        self.schedule()

    def _queue(self, places: Iterable[tuple[float, Channel]]) -> None:
        for due, channel in places:
            if channel.due == due:  # else it became full before, and its place here is void
                channel.due = None
                self._ready.append(channel)
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due = self._agenda.next_due()
        if due is not None:
            delay = max(due - self._now(), 0)
            self._alarm = asyncio.get_running_loop().call_later(delay, self.wake_due)

    def _pass(self) -> None:
        """Write to a bounded number of clients, taking channels in turn."""
        self._is_scheduled = False
        budget = WRITES_PER_PASS
        while self._ready and budget > 0:
            channel = self._ready.popleft()
            if channel.fanout is None and not channel.waiting:
                channel.is_queued = False  # deserted since it was queued
                continue
            budget -= self._serve(channel, budget)
            if channel.fanout is not None or channel.waiting:
                self.plan(channel)
            else:
                channel.is_queued = False
        self._on_pass()
        self.schedule()
