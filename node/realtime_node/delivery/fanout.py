"""A fan-out: one frame on its way to everybody who listens to a channel, slice by slice.

The hub asks for a slice whenever it has time; a channel with `stagger` spreads them, cohort by
cohort, over its window. Healthy members get the same bytes with one call each, congested ones are
handed to `slow_clients`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from realtime_node.delivery.batching import Batch
from realtime_node.delivery.subscribers import Members, Send, Subscriber
from realtime_node.protocol.deflate import Wire

if TYPE_CHECKING:
    from realtime_node.delivery.flow import Flow
    from realtime_node.delivery.slow_clients import SlowClients

SMALLEST_COHORT: Final = 50
"""Members below which it is not worth to spread them further."""
SHORTEST_GAP_S: Final = 0.002
"""Between two cohorts: timers are not much finer than a millisecond."""


class Present(Protocol):
    """Who is in a channel at this moment: others than when the fan-out's snapshot was taken."""

    @property
    def members(self) -> Mapping[Subscriber, Send]:
        """Everybody, and how to write to each."""

    @property
    def congested(self) -> AbstractSet[Subscriber]:
        """Those of them that are written to no more for now."""

    @property
    def revision(self) -> int:
        """Changes with any of this."""

    @property
    def frames_waiting(self) -> float:
        """How many frames what waits behind this one would fill."""

    @property
    def flow(self) -> Flow:
        """The channel's rules."""


class Pace(NamedTuple):
    """How a frame's way to many members is spread over time."""

    cohort: int
    """Members written to at one moment."""
    gap_s: float
    """From one cohort to the next; 0: as fast as the loop lets."""


def pace(members: int, stagger_s: float) -> Pace:
    """Return how a frame reaches `members` within `stagger_s`."""
    cohorts = min(members // SMALLEST_COHORT, int(stagger_s / SHORTEST_GAP_S))
    if cohorts <= 1:
        return Pace(max(members, 1), 0.0)
    return Pace(-(-members // cohorts), stagger_s / cohorts)


FASTER_PER_FRAME: Final = 8.0
"""By so many times its pace a frame goes faster for each full frame that waits beyond one."""


def faster(frames_waiting: float) -> float:
    """Return by what a frame's way is sped up when so many frames wait behind it.

    One may wait: it is next when this one has arrived. With more than one frame per window each has
    its part of it, so that the load stays spread and what waits stays bounded.
    """
    return 1.0 + FASTER_PER_FRAME * max(frames_waiting - 1.0, 0.0)


class Fanout:
    """One frame on its way to the members it was made for, slice by slice.

    It walks over a snapshot, run by run, so who joins meanwhile is not in it (a joiner got the
    batch already) and who leaves has to be skipped: it may be back, further on in the stream,
    before the last slice. Order holds because a channel has one fan-out at a time.
    """

    __slots__ = (
        "_batch",
        "_cohort_at",
        "_left",
        "_members",
        "_next",
        "_pace",
        "_present",
        "_run",
        "_slow",
    )

    following: Final = None
    """What comes behind it: nothing of this batch."""

    def __init__(
        self, present: Present, batch: Batch, members: Members, slow: SlowClients, now: float
    ) -> None:
        """Prepare to write a batch's frame to each of `members`, from `now` on."""
        self._present = present
        self._batch = batch
        self._members = members
        self._slow = slow
        self._cohort_at = now
        """When the last cohort was due."""
        self._pace = pace(len(members.subscribers), present.flow.stagger_s)
        self._left: set[Subscriber] = set()
        self._run = 0
        self._next = 0

    def skip(self, subscriber: Subscriber) -> None:
        """Leave out a member that is gone."""
        self._left.add(subscriber)

    def write_slice(self, limit: int) -> int:
        """Write to at most `limit` members of one cohort and run; return how many were reached.

        Of one run, because the next may be the first to need its form of the frame: what making it
        costs is to be counted before more is done.
        """
        start = self._next
        if start and self._pace.gap_s and not start % self._pace.cohort:
            self._begin_cohort()
        subscribers, sends, runs, revision = self._members
        run = runs[self._run] if self._run < len(runs) else None
        left_of_cohort = self._pace.cohort - start % self._pace.cohort
        end_of_run = run.end if run is not None else len(subscribers)
        self._next = end = min(start + limit, start + left_of_cohort, end_of_run)
        if end == end_of_run:
            self._run += 1
        if run is None:
            # Whoever of these has drained since then writes what it reads by itself.
            self._slow.offer(self._still_there(subscribers[start:end]), self._batch)
        elif revision == self._present.revision:
            self._write(sends[start:end], run.wire)
        else:
            self._write_present(subscribers[start:end], run.wire)
        return end - start

    def _still_there(self, part: Iterable[Subscriber]) -> list[Subscriber]:
        """Leave out those that are gone, or were meanwhile."""
        members = self._present.members
        return [each for each in part if each in members and each not in self._left]

    def _write_present(self, part: Iterable[Subscriber], wire: Wire) -> None:
        """Write to those that are still there, by what they are now."""
        there, congested = self._still_there(part), self._present.congested
        members = self._present.members
        # Told apart before anything is written: whoever this very frame congests has it.
        slow = [each for each in there if each in congested] if congested else []
        self._write([members[each] for each in there if each not in congested], wire)
        if slow:
            self._slow.offer(slow, self._batch)

    def _write(self, sends: Sequence[Send], wire: Wire) -> None:
        if not sends:
            return
        shared = self._slow.writing = self._batch.frame.on(wire)
        frame = shared.data
        remaining = iter(sends)
        try:
            while True:
                try:
                    for send in remaining:
                        send(frame)
                except RuntimeError:
                    # A transport closed under our hands. The iterator stands behind it: the rest
                    # of the members are served as if nothing had happened.
                    continue
                return
        finally:
            self._slow.writing = None

    def _begin_cohort(self) -> None:
        """Go on to the next cohort; of a delay one gap at most is made up for."""
        gap_s = self._pace.gap_s / faster(self._present.frames_waiting)
        self._cohort_at = max(self._cohort_at + gap_s, self._slow.now() - gap_s)

    def next_at(self) -> float:
        """Tell when the next slice is due; a time in the past: at once."""
        cohort, gap_s = self._pace
        if not gap_s or self._next % cohort:
            return 0.0
        return self._cohort_at + gap_s / faster(self._present.frames_waiting)

    @property
    def num_messages(self) -> int:
        """Messages in the frame."""
        return len(self._batch.messages)

    @property
    def is_finished(self) -> bool:
        """Whether every member was written to."""
        return self._next >= len(self._members.subscribers)
