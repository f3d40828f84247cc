"""What is found out by watching nodes, and what is not believed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from realtime_operator.decide.scaling import Scaling
from realtime_operator.decide.snapshot import NodeLoad, Pod, Watched
from realtime_operator.observe.node_status import ReportedDrain, ReportedStatus
from realtime_operator.observe.watch import Watch
from tests.support.simulated_cluster import make_spec
from tests.unit.operator.fleets import NOW, make_pod, make_status

SPEC = make_spec(
    capacity={"maxConnections": 100},
    autoscaling={
        "scaleDown": {"stabilizationSeconds": 60},
        "metrics": {"intervalSeconds": 10, "staleAfterSeconds": 30},
    },
)


def said(clients: int = 0, boot: str = "b", **counters: Any) -> ReportedStatus:
    """A node's answer; `closed` counts clients that its drains have closed."""
    drain = {"closed_total": counters.pop("closed", 0)}
    known = {"boot_id": boot, "num_clients": clients, "drain": drain, **counters}
    report = ReportedStatus.read(json.dumps(known).encode())
    assert report
    return report


class Watcher:
    """A watch of a few nodes, and a clock that turns ten seconds a look."""

    def __init__(self) -> None:
        """Begin at no time in particular."""
        self.watch = Watch()
        self.now = NOW
        self.spec = SPEC
        self.pods: tuple[Pod, ...] = ()
        self.watched = Watched()

    def look(self, *, passed_s: float = 10.0, **reports: ReportedStatus | None) -> None:
        """Look at the nodes that are named; None is one that does not answer."""
        self.now += passed_s
        pods = [make_pod(name, status=None) for name in reports]
        answers = {name: report for name, report in reports.items() if report}
        self.pods, self.watched = self.watch.look(pods, answers, self.spec, self.now)

    def rate(self, number: int = 0) -> float | None:
        """The rate of deliveries of a node."""
        load = self.pods[number].load
        assert load
        return load.deliveries_per_s

    def growth(self) -> float | None:
        """Growth as it is known now."""
        return self.watched.growth_per_s

    def elsewhere(self) -> float:
        """Which share of the first node's clients is taken to be on others."""
        load = self.pods[0].load
        assert load is not None
        return load.elsewhere

    def since(self) -> float | None:
        """Since when all has been known."""
        return self.watched.since

    def drained_at(self) -> float | None:
        """When drains were last seen to have closed clients."""
        return self.watched.drained_at

    def most_needed(self) -> int | None:
        """The most nodes that were needed within the window."""
        return self.watched.most_needed

    def needs(self, nodes: int | None) -> None:
        """Tell the watch of a decision."""
        scaling = Scaling("Internal", self.now, 3, 3, 3, "", needed_to_shrink=nodes)
        self.watch.decided(scaling, self.spec)


@pytest.fixture
def watcher() -> Watcher:
    """A watch that knows nothing."""
    return Watcher()


def test_a_rate_needs_two_answers(watcher: Watcher) -> None:
    """The first answer gives none, the second what was counted in between."""
    watcher.look(a=said(deliveries_total=1000))
    assert watcher.rate() is None
    watcher.look(a=said(deliveries_total=1500))
    assert watcher.rate() == 50.0


def test_a_rate_is_measured_over_an_interval(watcher: Watcher) -> None:
    """Rounds that follow one another by a second do not take one broadcast for a load."""
    watcher.look(a=said(deliveries_total=0))
    watcher.look(a=said(deliveries_total=100))
    watcher.look(a=said(deliveries_total=9100), passed_s=1)
    assert watcher.rate() == 10.0
    watcher.look(a=said(deliveries_total=9100), passed_s=8)
    assert watcher.rate() == 1000.0


def busy(watcher: Watcher) -> float | None:
    """How busy the first node is."""
    load = watcher.pods[0].load
    assert load
    return load.busy


def test_work_is_measured_over_an_interval(watcher: Watcher) -> None:
    """A loop that works for a moment, just as it is asked, is not a loop that always does."""
    watcher.look(a=said(loop_busy=0.9, loop_busy_s_total=100.0))
    assert busy(watcher) is None
    watcher.look(a=said(loop_busy=0.9, loop_busy_s_total=100.5))
    assert busy(watcher) == pytest.approx(0.05)
    watcher.look(a=said(loop_busy=0.9, loop_busy_s_total=101.5), passed_s=1)
    assert busy(watcher) == pytest.approx(0.05)
    watcher.look(a=said(loop_busy=0.0, loop_busy_s_total=118.5), passed_s=9)
    assert busy(watcher) == 1.0
    watcher.look(a=said(loop_busy=0.9, loop_busy_s_total=3.0))
    assert busy(watcher) is None


def test_a_node_that_only_tells_of_the_moment_is_believed(watcher: Watcher) -> None:
    """It is of an earlier version."""
    watcher.look(a=said(loop_busy=0.4))
    assert busy(watcher) == 0.4
    watcher.look(a=said(loop_busy=0.6))
    assert busy(watcher) == 0.6
    watcher.look(a=said())
    assert busy(watcher) is None


@pytest.mark.parametrize(
    "later",
    [
        said(5, boot="c", deliveries_total=10),
        said(5, boot="c", deliveries_total=99_999),
        said(5, deliveries_total=10),
        said(5, deliveries_total=2000, connects_total=1),
        said(5, deliveries_total=2000, connects_total=9, closed=0),
    ],
)
def test_a_counter_that_begins_anew_gives_no_rate(watcher: Watcher, later: ReportedStatus) -> None:
    """Another boot, or any counter that fell, is a new beginning: no rate, and no growth."""
    first = said(5, deliveries_total=1000, connects_total=5, closed=3)
    watcher.look(a=first)
    watcher.look(a=first)
    watcher.look(a=later)
    assert watcher.rate() is None
    assert watcher.growth() == 0.0


def test_growth_is_what_comes_more_than_goes(watcher: Watcher) -> None:
    """It is smoothed, known from the second look on, and falls when nobody comes any more."""
    watcher.look(a=said(10, connects_total=10))
    assert watcher.growth() is None
    for clients in range(20, 310, 10):
        watcher.look(a=said(clients, connects_total=clients))
    assert watcher.growth() == pytest.approx(1.0, rel=0.05)
    for _ in range(30):
        watcher.look(a=said(300, connects_total=300))
    assert watcher.growth() == pytest.approx(0.0, abs=0.01)
    watcher.look(a=said(0, connects_total=300))
    assert (watcher.growth() or 0.0) < 0.0


def test_clients_that_we_sent_away_are_no_growth(watcher: Watcher) -> None:
    """Whom a drain or a shed has closed is expected back; only who comes beyond that is new."""
    watcher.look(a=said(50, connects_total=50), b=said(50, connects_total=50))
    watcher.look(a=said(20, connects_total=50, closed=30), b=said(50, connects_total=50))
    assert watcher.growth() == 0.0
    watcher.look(a=said(20, connects_total=50, closed=30), b=said(75, connects_total=75))
    assert watcher.growth() == pytest.approx(0.0, abs=0.01)
    watcher.look(a=said(20, connects_total=50, closed=30), b=said(99, connects_total=99))
    assert (watcher.growth() or 0.0) > 0.3


def test_clients_of_a_node_that_was_lost_are_no_growth(watcher: Watcher) -> None:
    """Neither a Pod that is gone nor a container that restarted makes its clients new ones."""
    watcher.look(a=said(30, connects_total=30), b=said(50, connects_total=50), c=said(9, boot="1"))
    watcher.look(b=said(50, connects_total=50), c=said(0, boot="2"))
    watcher.look(b=said(80, connects_total=80), c=said(0, boot="2"))
    assert watcher.growth() == pytest.approx(0.0, abs=0.05)


def test_when_drains_closed_clients_is_remembered(watcher: Watcher) -> None:
    """Sheds go on for minutes and make little work: they do not count. A clock set back forgets."""
    watcher.look(a=said(50), b=said(50, boot="2"))
    watcher.look(a=said(40, closed=10), b=said(60, boot="2"))
    assert watcher.drained_at() is None
    draining = ReportedDrain(phase="draining", closed_total=20)
    watcher.look(a=replace(said(30), drain=draining), b=said(70, boot="2"))
    drained_at = watcher.now
    assert watcher.drained_at() == drained_at
    watcher.look(a=replace(said(30), drain=draining), b=said(70, boot="2"))
    assert watcher.drained_at() == drained_at
    watcher.look(a=said(30, closed=20), b=said(70, boot="2"), passed_s=-3600)
    assert watcher.drained_at() is None


def test_who_does_not_come_back_is_not_waited_for(watcher: Watcher) -> None:
    """After some minutes whoever comes is new again."""
    watcher.look(a=said(90, connects_total=90))
    watcher.look(a=said(0, connects_total=90, closed=90))
    for _ in range(30):
        watcher.look(a=said(0, connects_total=90, closed=90))
    watcher.look(a=said(50, connects_total=140, closed=90))
    assert (watcher.growth() or 0.0) > 0.7


def test_a_silent_node_has_what_it_had(watcher: Watcher) -> None:
    """Its load stays, and is not growth when it answers again after long."""
    watcher.look(a=said(50, connects_total=50), b=said(0))
    for _ in range(9):
        watcher.look(a=None, b=said(0))
    assert watcher.pods[0].status is None
    assert watcher.pods[0].load
    assert watcher.pods[0].load.clients == 50
    assert watcher.pods[0].load.seen_at == watcher.now - 90
    watcher.look(a=said(60, connects_total=60), b=said(0))
    assert watcher.growth() == pytest.approx(0.015, abs=0.005)


def test_clients_of_a_silent_node_are_not_counted_twice(watcher: Watcher) -> None:
    """As many as come to the others beyond the growth of before are taken for its clients."""
    for _ in range(3):
        watcher.look(a=said(50, connects_total=50), b=said(50, connects_total=50))
    watcher.look(a=None, b=said(50, connects_total=50))
    assert watcher.elsewhere() == 0.0, "it may only hang"
    watcher.look(a=None, b=said(90, connects_total=90))
    assert watcher.elsewhere() == pytest.approx(0.8)
    assert watcher.growth() == pytest.approx(0.0, abs=0.01)
    watcher.look(a=None, b=said(200, connects_total=200))
    assert watcher.elsewhere() == 1.0
    assert (watcher.growth() or 0.0) > 0.5, "more than it had are new"
    watcher.look(a=said(50, connects_total=50), b=said(200, connects_total=200))
    assert watcher.elsewhere() == 0.0


def test_a_silent_node_that_stays_ready_has_all_its_clients(watcher: Watcher) -> None:
    """Kubernetes would have called a lost one not ready by then."""
    watcher.look(a=said(50), b=said(50, boot="2"))
    for _ in range(8):
        watcher.look(a=None, b=said(90, boot="2", connects_total=40))
    assert watcher.elsewhere() > 0.5
    watcher.look(a=None, b=said(90, boot="2", connects_total=40))
    assert watcher.elsewhere() == 0.0


def test_a_node_that_was_never_heard_has_no_load(watcher: Watcher) -> None:
    """Nothing is made up for it."""
    watcher.look(a=None)
    assert watcher.pods[0].load is None
    assert watcher.since() is None


def test_absurd_numbers_are_no_answer(watcher: Watcher) -> None:
    """A node that says it has many times what it can hold is as silent as one that hangs."""
    watcher.look(a=said(1000), b=said(1001, boot="2"))
    believed, absurd = watcher.pods
    assert believed.status
    assert absurd.status is None
    watcher.look(a=said(1001), b=None)
    assert [pod.status for pod in watcher.pods] == [None, None]
    assert [pod.load and pod.load.clients for pod in watcher.pods] == [1000, None]


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_clients": -1},
        {"num_clients": "many"},
        {"deliveries_total": -5},
        {"connects_total": 0.5},
        {"accepted_total": -1},
        {"loop_busy": -0.1},
        {"loop_busy": 7},
        {"loop_busy": float("nan")},
        {"loop_busy": float("inf")},
        {"loop_busy_s_total": -1},
        {"loop_busy_s_total": float("nan")},
        {"drain": {"closed_total": -1}},
        {"shed": {"remaining": -1}},
    ],
)
def test_numbers_that_cannot_be_make_the_answer_worthless(wrong: dict[str, Any]) -> None:
    """Negative counts, NaN and infinity are not read."""
    answer = json.dumps({"boot_id": "b", "num_clients": 1, **wrong})
    assert ReportedStatus.read(answer.encode()) is None


def test_the_watch_begins_anew_when_something_was_missed(watcher: Watcher) -> None:
    """Every node has to be known without a gap; one that was silent for long ends the watch."""
    watcher.look(a=said(1), b=said(1, boot="2"))
    begun = watcher.since()
    assert begun == watcher.now
    watcher.look(a=said(1), b=None)
    watcher.look(a=said(1), b=None, passed_s=20)
    assert watcher.since() == begun
    watcher.look(a=said(1), b=None)
    assert watcher.since() is None
    watcher.look(a=said(1), b=said(1, boot="2"))
    assert watcher.since() == watcher.now
    watcher.look(a=said(1), b=said(1, boot="2"), passed_s=31)
    assert watcher.since() == watcher.now


def test_a_round_that_takes_its_time_is_no_gap(watcher: Watcher) -> None:
    """However short the time is after which an answer counts as old."""
    metrics = {"intervalSeconds": 10, "staleAfterSeconds": 10}
    watcher.spec = make_spec(autoscaling={"metrics": metrics})
    watcher.look(a=said(1))
    begun = watcher.now
    watcher.look(a=said(1), passed_s=10.4)
    assert watcher.since() == begun
    watcher.look(a=said(1), passed_s=21)
    assert watcher.since() == watcher.now


def test_a_clock_that_is_set_back_begins_all_anew(watcher: Watcher) -> None:
    """No rate is made over a time that did not pass."""
    watcher.look(a=said(1, deliveries_total=5))
    watcher.look(a=said(90, deliveries_total=900), passed_s=-3600)
    assert watcher.rate() is None
    assert watcher.growth() is None
    assert watcher.since() == watcher.now


def test_two_looks_at_once_are_one(watcher: Watcher) -> None:
    """Nothing is divided by a time that did not pass."""
    watcher.look(a=said(1))
    watcher.look(a=said(9, deliveries_total=9), passed_s=0)
    assert watcher.rate() is None
    assert watcher.growth() is None


def test_the_highest_need_of_the_window_is_remembered(watcher: Watcher) -> None:
    """Until the window has passed over it; rounds in which it was not known say nothing."""
    watcher.look(a=said(1))
    watcher.needs(7)
    watcher.needs(5)
    for _ in range(6):
        watcher.look(a=said(1))
        watcher.needs(3)
        watcher.needs(None)
        assert watcher.watched.most_needed == 7
    watcher.look(a=said(1))
    assert watcher.watched.most_needed == 3


def test_another_window_is_watched_anew(watcher: Watcher) -> None:
    """What is remembered of one says nothing about another that is longer, or divided otherwise."""
    for _ in range(20):
        watcher.look(a=said(1))
        watcher.needs(7)
    assert watcher.most_needed() == 7
    watcher.spec = make_spec(autoscaling={"scaleDown": {"stabilizationSeconds": 600}})
    watcher.look(a=said(1))
    assert watcher.most_needed() is None
    assert watcher.since() == watcher.now
    watcher.look(a=said(1))
    assert watcher.since() == watcher.now - 10


@given(st.lists(st.integers(0, 50), min_size=1, max_size=300))
@settings(deadline=None)
def test_no_more_is_remembered_than_the_window_has_parts(needs: list[int]) -> None:
    """However long and often is watched, sixty numbers are kept, and one entry for each Pod."""
    watcher = Watcher()
    for number, nodes in enumerate(needs):
        watcher.look(**{f"pod-{number}": said(1)}, passed_s=1)
        watcher.needs(nodes)
        assert len(watcher.watch._needed) <= 62
        assert len(watcher.watch._seen) == 1
    watcher.look(a=said(1), passed_s=1)
    assert watcher.watched.most_needed == max(needs[-61:])


counters = st.integers(0, 10**12)
answers = st.one_of(
    st.none(),
    st.builds(
        lambda clients, boot, deliveries, connects, closed: said(
            clients,
            boot,
            deliveries_total=deliveries,
            connects_total=connects,
            closed=closed,
        ),
        st.integers(0, 10**6),
        st.sampled_from("bc"),
        counters,
        counters,
        counters,
    ),
)


@given(st.lists(st.tuples(st.floats(-100, 100), answers, answers), max_size=30))
@settings(deadline=None)
def test_no_rate_is_ever_negative(
    looks: list[tuple[float, ReportedStatus | None, ReportedStatus | None]],
) -> None:
    """Whatever nodes say, in whatever order, rates stay numbers that can be."""
    watcher = Watcher()
    for passed_s, one, other in looks:
        watcher.look(passed_s=passed_s, a=one, b=other)
        for pod in watcher.pods:
            assert pod.load is None or (pod.load.deliveries_per_s or 0.0) >= 0.0
            assert pod.load is None or 0 <= pod.load.clients <= 1000


def shed_and_look(watcher: Watcher, hot: int, cold: int, *, closed: int, **others: Any) -> bool:
    """Let a node shed so many and have so many afterwards; whether that was in vain."""
    watcher.look(hot=said(1000, shed={"remaining": closed}), cold=said(200, boot="2"))
    watcher.look(hot=said(900, shed={"remaining": 1}, closed=99), cold=said(300, boot="2"))
    assert not watcher.watched.shed_in_vain
    watcher.look(hot=said(hot, closed=closed), cold=said(cold, boot="2"), **others)
    return "hot" in watcher.watched.shed_in_vain


@pytest.mark.parametrize(
    ("hot", "cold", "closed", "is_in_vain"),
    [
        (1000, 200, 400, True),
        (960, 240, 400, True),
        (800, 400, 400, False),
        (1300, 900, 400, False),  # all of them grow: it is no further above the others than half
        (1000, 200, 100, False),  # so few may be chance
    ],
)
def test_a_node_whose_clients_came_back_has_shed_in_vain(
    watcher: Watcher, hot: int, cold: int, closed: int, *, is_in_vain: bool
) -> None:
    """Then a load balancer sends them there; what counts is how far it is above the average."""
    watcher.spec = make_spec()
    assert shed_and_look(watcher, hot, cold, closed=closed) == is_in_vain


def test_a_shed_beside_which_nodes_came_or_went_says_nothing(watcher: Watcher) -> None:
    """The average is another one then."""
    watcher.spec = make_spec()
    assert not shed_and_look(watcher, 1000, 200, closed=400, new=said(0, boot="3"))


def test_a_node_that_has_shed_in_vain_is_left_alone_for_an_hour(watcher: Watcher) -> None:
    """After that it may be tried again, and with a clock that was set back at once."""
    watcher.spec = make_spec()
    assert shed_and_look(watcher, 1000, 200, closed=400)
    after = {"hot": said(1000, closed=400), "cold": said(200, boot="2")}
    watcher.look(passed_s=3590, **after)
    assert watcher.watched.shed_in_vain == {"hot"}
    watcher.look(passed_s=10, **after)
    assert not watcher.watched.shed_in_vain
    again = Watcher()
    again.spec = make_spec()
    assert shed_and_look(again, 1000, 200, closed=400)
    again.look(passed_s=-3600, **after)
    assert not again.watched.shed_in_vain


def test_an_answer_changes_nothing_else_of_a_pod() -> None:
    """Whatever fields a Pod gets: the quick way to make it is as good as the slow one."""
    pod = make_pod("chat-0", ip="192.0.2.7", grace_s=30, reopened_at=5.0)
    status, load = make_status(7), NodeLoad(7, 1.0, 0.5, 9.0)
    assert pod.answered(status, load) == replace(pod, status=status, load=load)
    assert pod.answered(None, None) == replace(pod, status=None, load=None)
