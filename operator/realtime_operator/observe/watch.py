"""What the operator finds out by watching: rates, growth, and how many nodes were needed lately.

One object for each cluster holds all that is kept between rounds: a few numbers for each Pod, and
sixty for the window of stabilization. It may be lost at any time, and what it says then is careful:
no rate, no growth, and no node is taken away before the window was watched anew.

Rates are made of counters that grow from a node's boot. Another boot id, or a counter that has
become smaller, is a new beginning: it gives no rate, so that none is ever negative or huge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Self

from msgspec import Struct
from msgspec.structs import replace

from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec
from realtime_operator.decide.scaling import Scaling
from realtime_operator.decide.snapshot import NodeLoad, NodeStatus, Pod, Watched
from realtime_operator.observe.growth import Growth, Moves
from realtime_operator.observe.node_status import Quietness, ReportedStatus
from realtime_operator.observe.sheds import Sheds

RATE_SPAN: Final = 0.8
"""Share of metrics.intervalSeconds that a rate is measured over at least: rounds may come every
second, and one broadcast within a second says little about a node's load, be it deliveries or
work."""

ABSURD: Final = 10
"""How many times capacity.maxConnections a node may say that it has: beyond, it is not believed."""

RUNS_AFTER_S: Final = 90.0
"""A node that has been silent for so long, and is still called ready, is not lost: Kubernetes finds
a lost machine, or a process that hangs, sooner. Its clients are there, all of them."""

BUCKETS: Final = 60
"""Parts of the window of stabilization, each of which is remembered by its highest number."""


class _Seen(Struct, frozen=True):
    """The last answer of one Pod's node that was believed, and the rates that it gave."""

    said: ReportedStatus
    at: float
    since: ReportedStatus
    """An earlier answer, or this one: rates will be measured from it on."""
    since_at: float
    deliveries_per_s: float | None
    busy: float | None
    """None, as the deliveries, until two answers tell."""

    @classmethod
    def first(cls, said: ReportedStatus, now: float) -> Self:
        """A node of which nothing is known but this answer."""
        # The work of a moment says little; it has to do where a node says nothing better.
        busy = said.loop_busy if said.loop_busy_s_total is None else None
        return cls(said, now, said, now, None, busy)

    def is_followed_by(self, said: ReportedStatus) -> bool:
        """Whether a later answer is of the same boot, and its counters have gone on."""
        before = self.said
        return (
            said.boot_id == before.boot_id
            and said.connects_total >= before.connects_total
            and said.drain.closed_total >= before.drain.closed_total
            and said.deliveries_total >= before.deliveries_total
            and (said.loop_busy_s_total or 0.0) >= (before.loop_busy_s_total or 0.0)
        )

    def followed_by(self, said: ReportedStatus, now: float, least_s: float) -> Self:
        """A later answer with rates: measured anew over `least_s` or more, else as before."""
        since, passed_s = self.since, now - self.since_at
        if passed_s < least_s:
            return replace(self, said=said, at=now)
        deliveries = said.deliveries_total - since.deliveries_total
        return type(self)(said, now, said, now, deliveries / passed_s, _busy(since, said, passed_s))

    @property
    def load(self) -> NodeLoad:
        """As decisions see it."""
        return NodeLoad(self.said.num_clients, self.deliveries_per_s, self.busy, self.at)


def _busy(before: ReportedStatus, said: ReportedStatus, passed_s: float) -> float | None:
    """Share of the time between two answers that a node's loop has worked."""
    if said.loop_busy_s_total is None or before.loop_busy_s_total is None:
        return said.loop_busy
    return min(1.0, (said.loop_busy_s_total - before.loop_busy_s_total) / passed_s)


class Watch:
    """What is known of one cluster from earlier rounds."""

    def __init__(self) -> None:
        """Begin without knowing anything."""
        self._quietness = Quietness()
        self._seen: Mapping[str, _Seen] = {}
        self._silent: Mapping[str, int] = {}
        """What those Pods' nodes had last that may be lost."""
        self._growth = Growth()
        self._sheds = Sheds()
        self._drained_at: float | None = None
        self._looked_at: float | None = None
        self._since: float | None = None
        self._needed: dict[int, int] = {}
        self._window_s: int | None = None
        """Of what `_needed` has the parts."""

    def look(
        self,
        pods: Sequence[Pod],
        reports: Mapping[str, ReportedStatus],
        spec: RealtimeClusterSpec,
        now: float,
    ) -> tuple[tuple[Pod, ...], Watched]:
        """The Pods with what their nodes said and carry, and what is known of them together.

        `reports` are the answers of this round by name of the Pod; one that cannot be true is as if
        it were missing.
        """
        most = ABSURD * spec.capacity.max_connections
        believed = {name: said for name, said in reports.items() if said.num_clients <= most}
        statuses = {name: self._quietness.seen(said, now) for name, said in believed.items()}
        self._quietness.keep_only(said.boot_id for said in believed.values())
        self._follow(pods, believed, spec, now)
        seen = tuple(self._completed(pod, statuses.get(pod.name)) for pod in pods)
        self._keep_watch(seen, spec, now)
        self._looked_at = now
        closed = {uid: each.said.drain.closed_total for uid, each in self._seen.items()}
        watched = Watched(
            growth_per_s=self._growth.per_s,
            since=self._since,
            most_needed=self._most_needed(spec, now),
            shed_in_vain=self._sheds.look(seen, closed, now),
            drained_at=self._drained_at,
        )
        return seen, watched

    def decided(self, scaling: Scaling, spec: RealtimeClusterSpec) -> None:
        """Remember how many nodes a round needed."""
        if scaling.needed_to_shrink is not None:
            bucket = _bucket(spec, scaling.at)
            most = max(self._needed.get(bucket, 0), scaling.needed_to_shrink)
            self._needed[bucket] = most

    def _completed(self, pod: Pod, status: NodeStatus | None) -> Pod:
        seen = self._seen.get(pod.uid)
        load = seen.load if seen else None
        if load and pod.uid in self._silent:
            load = replace(load, elsewhere=self._growth.elsewhere)
        return pod.answered(status, load)

    def _follow(
        self,
        pods: Iterable[Pod],
        reports: Mapping[str, ReportedStatus],
        spec: RealtimeClusterSpec,
        now: float,
    ) -> None:
        """Take in the answers, and what has moved since those before."""
        passed_s = 0.0 if self._looked_at is None else now - self._looked_at
        if passed_s < 0:  # the clock was set back
            self._seen, self._silent, self._growth = {}, {}, Growth()
            self._drained_at = None
        least_s = RATE_SPAN * spec.autoscaling.metrics.interval_seconds
        following: dict[str, _Seen] = {}
        silent: dict[str, int] = {}
        moves = []
        for pod in pods:
            before, said = self._seen.get(pod.uid), reports.get(pod.name)
            seen = before
            if said and before and before.is_followed_by(said):
                seen = before.followed_by(said, now, least_s)
                moves.append(_moved(before, seen, passed_s))
                if said.drain.phase != "serving" and moves[-1].closed:
                    self._drained_at = now
            elif said:
                seen = _Seen.first(said, now)
                moves.append(Moves(lost=self._lost([pod.uid])))
            elif before and not (pod.is_ready and now - before.at >= RUNS_AFTER_S):
                silent[pod.uid] = before.said.num_clients
            if seen:
                following[pod.uid] = seen
        gone = self._seen.keys() - following.keys()
        settled = sum(self._silent[uid] for uid in self._silent.keys() - silent.keys())
        moves.append(Moves(lost=self._lost(gone), silent=sum(silent.values()), settled=settled))
        self._seen = following
        if passed_s > 0:
            self._silent = silent
            self._growth.add(Moves(*map(sum, zip(*moves, strict=True))), passed_s)

    def _lost(self, uids: Iterable[str]) -> float:
        """What nodes had that are gone, but for what is back already."""
        stayed = 1 - self._growth.elsewhere
        return sum(
            self._seen[uid].said.num_clients * (stayed if uid in self._silent else 1.0)
            for uid in uids
            if uid in self._seen
        )

    def _keep_watch(self, pods: Iterable[Pod], spec: RealtimeClusterSpec, now: float) -> None:
        """Note since when the load of every node that may have clients has been known."""
        stale_after_s = spec.autoscaling.metrics.stale_after_seconds
        serving = [pod for pod in pods if pod.may_serve]
        is_known = bool(serving) and all(
            pod.load and now - pod.load.seen_at <= stale_after_s for pod in serving
        )
        gap_s = 0.0 if self._looked_at is None else now - self._looked_at
        # A round takes its time on top of the interval; that alone is no gap.
        longest_gap_s = max(stale_after_s, 2 * spec.autoscaling.metrics.interval_seconds)
        window_s = spec.autoscaling.scale_down.stabilization_seconds
        is_other_window = window_s != self._window_s  # its parts are others, too
        self._window_s = window_s
        if not is_known or is_other_window or not 0 <= gap_s <= longest_gap_s:
            self._since = None
            self._needed.clear()
        if is_known and self._since is None:
            self._since = now

    def _most_needed(self, spec: RealtimeClusterSpec, now: float) -> int | None:
        """The most nodes that were needed within the window; older numbers are forgotten."""
        newest = _bucket(spec, now)
        self._needed = {
            bucket: most
            for bucket, most in self._needed.items()
            if newest - BUCKETS <= bucket <= newest
        }
        return max(self._needed.values(), default=None)


def _moved(before: _Seen, seen: _Seen, passed_s: float) -> Moves:
    """What became of a node's clients, as of this round if it was silent for longer."""
    share = passed_s / (seen.at - before.at) if seen.at > before.at else 0.0
    was, now_is = before.said, seen.said
    return Moves(
        change=share * (now_is.num_clients - was.num_clients),
        closed=share * (now_is.drain.closed_total - was.drain.closed_total),
        arrivals=share * (now_is.connects_total - was.connects_total),
    )


def _bucket(spec: RealtimeClusterSpec, now: float) -> int:
    window_s = max(1, spec.autoscaling.scale_down.stabilization_seconds)
    return int(now * BUCKETS // window_s)
