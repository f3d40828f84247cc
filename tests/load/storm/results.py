"""What the scenarios return; see `tests.load.results`. What has no label is kept for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.load.results import figure
from tests.load.storm.following import Verdict
from tests.load.storm.messages import AFFECTED, CALM, UNAFFECTED, Story
from tests.load.storm.timeline import Moment, Timeline
from tests.support.publishing_load import PublishingLoad


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What the ledger says, and the latencies, in every scenario."""

    clients: int = figure("clients")
    deliveries: int = figure("live deliveries")
    recovered: int = figure("publications recovered")
    lost: int = figure("publications lost")
    doubled: int = figure("doubled")
    disordered: int = figure("disordered or altered")
    told: int = figure("clients told of a gap")
    unacknowledged: int = figure("publications refused, or not answered")
    unchecked: int = figure("stretches whose content could not be checked, for that reason")
    ended: int = figure("clients told to stay away")
    calm_p99_ms: float = figure("p99 before", "ms", 1)
    unaffected_p99_ms: float = figure("p99 of those who kept their connection", "ms", 1)
    affected_p99_ms: float = figure("p99 of those who lost it", "ms", 1)
    unaffected_ratio: float = figure("p99 of those who kept it ÷ before", digits=2)


def delivered(
    verdict: Verdict, stories: Sequence[Story], timeline: Timeline, load: PublishingLoad
) -> Delivered:
    """Put together what every scenario tells."""
    p99 = {group: each.quantile_ms(0.99) for group, each in timeline.latencies.items()}
    return Delivered(
        clients=sum(len(story.followings) for story in stories),
        deliveries=sum(each.count for each in timeline.latencies.values()),
        recovered=sum(story.recovered for story in stories),
        lost=verdict.lost,
        doubled=verdict.doubled,
        disordered=verdict.disordered + verdict.altered,
        told=verdict.told,
        unacknowledged=load.refused + load.unknown + load.unsent,
        unchecked=verdict.unchecked,
        ended=sum(sum(story.ended.values()) for story in stories),
        calm_p99_ms=p99[CALM],
        unaffected_p99_ms=p99[UNAFFECTED],
        affected_p99_ms=p99[AFFECTED],
        unaffected_ratio=p99[UNAFFECTED] / max(p99[CALM], 1e-3),
    )


@dataclass(frozen=True, kw_only=True)
class Storm(Delivered):
    """A node is gone at once, and its clients come to the others."""

    returned: int = figure("clients that lost their node")
    peak_connects_per_s: float = figure("most connects in a second, all nodes")
    back_p50_s: float = figure("back after, median", "s", 1)
    all_back_s: float = figure("all back after", "s", 1)
    refused: int = figure("attempts refused")
    attempts_per_return: float = figure("attempts per client that came back", digits=2)
    crowd_cpu_percent: float = figure("cores that the crowd took", "%")
    timeline: Sequence[Moment] = field(default_factory=tuple)


@dataclass(frozen=True, kw_only=True)
class Admitted(Storm):
    """The same where the survivors let clients in at a rate."""

    rate_per_s: float = figure("admission rate of each node", "per s")
    judged_s: int = figure("seconds in which demand exceeded it, fewest of a node")
    slowest_ratio: float = figure("admitted ÷ rate, slowest node", digits=2)
    fastest_ratio: float = figure("admitted ÷ rate, fastest node", digits=2)
    peak_ratio: float = figure("most in any second ÷ rate", digits=2)
    back_ratio: float = figure("all back after ÷ clients/(rate · survivors) + 20 s", digits=2)


@dataclass(frozen=True, kw_only=True)
class Drained(Delivered):
    """Nodes that send their clients away, slowly."""

    moved: int = figure("clients sent away")
    budget_per_s: float = figure("reconnect budget of the cluster", "per s")
    closes_per_s: float = figure("closes per second, while draining")
    rate_ratio: float = figure("closes ÷ budget", digits=2)
    peak_ratio: float = figure("most closes in any second ÷ budget", digits=2)
    landed: int = figure("clients let in by a cordoned node")
    drained_s: float = figure("drained after", "s", 1)
    deadline_ratio: float = figure("drained after ÷ deadline", digits=2)
    exit_status: int = figure("worst exit status")
    peak_connects_per_s: float = figure("most connects in a second, all nodes")
    back_p50_s: float = figure("back after, median", "s", 1)
    all_back_s: float = figure("all back after", "s", 1)
    after_kill_ratio: float = figure("closes after a node was killed ÷ before", digits=2)
    timeline: Sequence[Moment] = field(default_factory=tuple)


@dataclass(frozen=True, kw_only=True)
class Soaked(Delivered):
    """Churn for a long time."""

    minutes: float = figure("minutes", digits=1)
    reconnects: int = figure("reconnects")
    rss_warm_mib: float = figure("resident after warming up", "MiB", 1)
    rss_end_mib: float = figure("resident at the end", "MiB", 1)
    rss_ratio: float = figure("the same, end ÷ warm", digits=3)
    spare_files: int = figure("open files beside clients, growth")
    presence_missing: int = figure("clients here but not present in Redis, or the reverse")
    left_clients: int = figure("clients that nodes count after all left")
    left_presence: int = figure("presence entries left in Redis")
    left_interest: int = figure("interest entries left in Redis")
    left_departures: int = figure("departures not told to Redis")
    resident_mib: Sequence[tuple[float, float]] = field(default_factory=tuple)
