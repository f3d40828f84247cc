"""One scenario, twice: as the operator runs the cluster, and as a Deployment with an HPA would.

Both begin as they would be after a long time of the first load, and have a few minutes of it before
second 0 that are not recorded. The same seed gives the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from random import Random
from typing import Final

from realtime_operator.crd.realtime_cluster import RealtimeClusterSpec
from realtime_operator.simulate.aggregate import AggregateCrowd
from realtime_operator.simulate.assumptions import DEFAULTS, Assumptions, limits_of
from realtime_operator.simulate.backoff import Backoff
from realtime_operator.simulate.crowd import Crowd
from realtime_operator.simulate.deployment import Deployment
from realtime_operator.simulate.hpa import Autoscaler
from realtime_operator.simulate.individual import IndividualCrowd
from realtime_operator.simulate.operated import OperatedCluster
from realtime_operator.simulate.record import Line, Recorder, Summary
from realtime_operator.simulate.rounds import Rounds
from realtime_operator.simulate.scenarios import Scenario
from realtime_operator.simulate.settings import Size
from realtime_operator.simulate.traffic import Traffic
from realtime_operator.simulate.world import World

BEGIN: Final = 1_800_000_000.0
"""The scenario's second 0, as decisions tell time."""
WARM_UP_S: Final = 180.0
CALM_S: Final = 120.0
"""How long a run goes on after all has settled, where it waits for that."""
HUGE: Final = 500
"""Nodes from which on steps, and the time between rounds in a day, are twice as long."""
MOST_INDIVIDUALS: Final = 200_000

OPERATOR: Final = "operator"
RIVAL: Final = "Deployment + HPA"


@dataclass(frozen=True)
class Case:
    """What is simulated."""

    scenario: Scenario
    spec: RealtimeClusterSpec
    size: Size
    seed: int = 1
    is_per_client: bool = False
    """Whether each client is followed; else only their numbers are."""
    assumptions: Assumptions = DEFAULTS

    @property
    def step_s(self) -> float:
        """How far time goes at once: of a large cluster twice as far."""
        return self.scenario.step_s * (2 if self.size.nodes >= HUGE else 1)

    @property
    def rounds_every_s(self) -> float:
        """The shortest time between rounds, where the scenario has one.

        Not so long that the operator would take what it knows for stale.
        """
        slower_s = self.scenario.rounds_every_s * (2 if self.size.nodes >= HUGE else 1)
        return min(slower_s, self.spec.autoscaling.metrics.stale_after_seconds)


@dataclass(frozen=True)
class Run:
    """What came out for one of the rivals."""

    name: str
    lines: list[Line]
    summary: Summary
    rounds: int = 0
    """Decisions that were made."""
    events: Mapping[str, int] | None = None
    """What the operator told, by reason."""


def run_operator(case: Case) -> Run:
    """The scenario with the operator's decisions."""
    random = Random(f"{case.seed} operator")  # noqa: S311 - a simulation
    crowd = _crowd(case, random)
    nodes = _nodes_at_first(case)
    if case.spec.autoscaling.mode == "Internal":
        nodes = _within_bounds(case, nodes + case.spec.autoscaling.headroom_nodes)
    elif case.spec.autoscaling.mode == "Disabled":
        nodes = case.spec.replicas
    spec = case.spec.model_copy(update={"replicas": nodes})
    began = BEGIN - WARM_UP_S
    cluster = OperatedCluster(spec, nodes, crowd, case.assumptions, random, now=began)
    rounds = Rounds(cluster, case.assumptions, every_s=case.rounds_every_s)
    recorder = _run(case, cluster, crowd, rounds.run_until, random)
    summary = recorder.summary(crowd.reconnects)
    return Run(OPERATOR, recorder.lines, summary, rounds.count, dict(rounds.events))


def run_rival(case: Case) -> Run:
    """The scenario with a Deployment, and a HorizontalPodAutoscaler where the operator scales.

    Where a run waits until all has settled, hand in the operator's duration as the scenario's, so
    that both are of the same time.
    """
    random = Random(f"{case.seed} rival")  # noqa: S311 - a simulation
    crowd = _crowd(case, random)
    scaling = case.spec.autoscaling
    autoscaler, nodes = None, case.spec.replicas
    if scaling.mode != "Disabled":
        target = case.spec.capacity.max_connections * scaling.target_connection_percent / 100
        autoscaler = Autoscaler(scaling.min_replicas, scaling.max_replicas, target)
        nodes = _within_bounds(case, _nodes_at_first(case))
    began = BEGIN - WARM_UP_S
    world = Deployment(nodes, crowd, case.assumptions, random, autoscaler=autoscaler, now=began)
    recorder = _run(case, world, crowd, lambda _now: None, random)
    return Run(RIVAL, recorder.lines, recorder.summary(crowd.reconnects))


def _nodes_at_first(case: Case) -> int:
    """Nodes that carry the first load at the target, without any headroom."""
    spec = case.spec
    target = spec.capacity.max_connections * spec.autoscaling.target_connection_percent / 100
    return max(1, ceil(case.size.clients * case.scenario.demand(0.0) / target))


def _within_bounds(case: Case, nodes: int) -> int:
    scaling = case.spec.autoscaling
    return min(scaling.max_replicas, max(scaling.min_replicas, nodes))


def _crowd(case: Case, random: Random) -> Crowd:
    kind = IndividualCrowd if case.is_per_client else AggregateCrowd
    assumed = case.assumptions
    backoff = Backoff(assumed.least_wait_s, assumed.most_wait_s)
    return kind(random, backoff, assumed.noticed_after_s, case.step_s)


def _run(
    case: Case, world: World, crowd: Crowd, turn: Callable[[float], None], random: Random
) -> Recorder:
    """Let the scenario happen; `turn` is called in each step: the rounds, where there are any."""
    scenario, limits = case.scenario, limits_of(case.spec)

    def demand(now: float) -> int:
        return round(case.size.clients * scenario.demand(max(0.0, now - BEGIN)))

    traffic = Traffic(crowd, demand, case.assumptions, limits, random)
    _seat(world, crowd, demand(BEGIN), limits.max_connections)
    recorder = Recorder(case.assumptions, limits.max_connections)
    happenings = list(scenario.happenings)
    passed_s, step = case.step_s, 0
    warm_steps = ceil(WARM_UP_S / passed_s)
    while not _is_over(scenario, recorder):
        step += 1
        at_s = (step - warm_steps) * passed_s
        now = BEGIN + at_s
        if step == warm_steps:
            crowd.forget()
        while happenings and happenings[0].at_s <= at_s:
            happenings.pop(0).do(world)
        losses = world.advance(now, passed_s)
        turn(now)
        census = world.census
        traffic.show(now, census.accepting)
        flow = traffic.step(now, step, passed_s, census.nodes)
        if at_s >= 0:
            recorder.add(at_s, passed_s, demand(now), census, losses, flow)
    return recorder


def _seat(world: World, crowd: Crowd, clients: int, most: int) -> None:
    """Clients are spread evenly, as many as there is room for; the others knock."""
    nodes = world.census.nodes
    for index, node in enumerate(nodes):
        share = clients // (len(nodes) - index)
        seated = min(share, most)
        crowd.seat(node, seated)
        clients -= seated


def _is_over(scenario: Scenario, recorder: Recorder) -> bool:
    if not recorder.lines:
        return False
    at_s = recorder.lines[-1].at_s
    if at_s < scenario.duration_s:
        return False
    if not scenario.longest_s or at_s >= scenario.longest_s:
        return True
    return recorder.has_been_settled_s >= CALM_S
