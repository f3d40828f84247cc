"""Rates are judged from the times at which things happened."""

from __future__ import annotations

from random import Random

import pytest

from tests.load.storm.backoff import DOCUMENTED, SDK_DEFAULT, Backoff
from tests.load.storm.histogram import Histogram, bin_of
from tests.load.storm.messages import CALM, Second, new_second
from tests.load.storm.rates import Admission, Demand, admission, by_second, peak_per_s
from tests.load.storm.scene import merged
from tests.load.storm.timeline import Timeline

NODE, OTHER = 8001, 8002


def _evenly(begun: float, per_s: float, count: int) -> list[float]:
    return [begun + number / per_s for number in range(count)]


def test_the_peak_is_found_wherever_its_second_begins() -> None:
    """Ten at the end of one second and ten at the start of the next are twenty within one."""
    times = [0.9 + n / 100 for n in range(10)] + [1.1 + n / 100 for n in range(10)]
    assert by_second(times, 0.0, 2) == [10, 10]
    assert peak_per_s(times) == 20


def test_a_second_does_not_hold_both_its_ends() -> None:
    """What happens every tenth of a second happens ten times in any second."""
    assert peak_per_s([n / 8 for n in range(80)]) == 8
    assert peak_per_s([]) == 0


def test_admission_is_judged_only_while_demand_exceeds_the_rate() -> None:
    """Seconds in which nobody waited say nothing about how fast a node lets clients in."""
    knocks = _evenly(0.0, 1_024, 512)  # all within the first half second
    admitted = _evenly(0.0, 128, 512)  # over four seconds
    late = _evenly(8.0, 4, 8)  # a few that come later, and are let in as they come
    demand = Demand([*knocks, *late], [*admitted, *late], [])
    judged = admission(demand, 128, 0.0, 10.0)
    assert judged == Admission(judged_s=4, per_s=128, peak_per_s=128)


def test_the_refused_do_not_wait() -> None:
    """Who was sent away is no demand any more, however many there were."""
    knocks = _evenly(0.0, 1_000, 500)
    demand = Demand(knocks, [], [at + 0.01 for at in knocks])
    assert demand.waiting(1.0) == 0
    assert admission(demand, 100, 1.0, 4.0).judged_s == 0


def test_a_node_that_lets_in_too_many_shows() -> None:
    """A burst above the rate is the peak, though the mean is right."""
    knocks = _evenly(0.0, 1_000, 400)
    admitted = [*_evenly(0.0, 1_000, 150), *_evenly(1.5, 100, 250)]
    judged = admission(Demand(knocks, admitted, []), 100, 0.0, 4.0)
    assert judged.peak_per_s == 150
    assert judged.per_s == pytest.approx(100)


def test_the_first_wait_is_between_once_and_twice_the_least() -> None:
    """Full jitter: whatever the server says, nobody comes back at once or much later."""
    random = Random(1)  # noqa: S311 - jitter
    waits = [DOCUMENTED.delay_s(0, random) for _ in range(1_000)]
    assert 1.0 <= min(waits) < 1.05
    assert 1.95 < max(waits) <= 2.0


def test_waits_double_up_to_the_most() -> None:
    """After many failures a wait is anywhere between the least and the most, never beyond."""
    random = Random(1)  # noqa: S311 - jitter
    waits = [SDK_DEFAULT.delay_s(50, random) for _ in range(1_000)]
    assert min(waits) >= 0.5
    assert max(waits) == 20.0
    assert max(Backoff(0.5, 20).delay_s(2, random) for _ in range(1_000)) <= 2.5


def test_latencies_add_up_over_processes() -> None:
    """Quantiles are those of all that was counted, to within a bin of two per cent."""
    histogram = Histogram()
    histogram.add({bin_of(1_000): 98})
    histogram.add({bin_of(50_000): 2})
    assert histogram.count == 100
    assert histogram.quantile_ms(0.5) == pytest.approx(1.0, rel=0.02)
    assert histogram.quantile_ms(0.99) == pytest.approx(50.0, rel=0.02)
    assert Histogram().quantile_ms(0.99) == 0


def _second(at_s: float, here: int, **times: dict[int, list[float]]) -> Second:
    second = new_second()
    second.at_s, second.here = at_s, here
    for name, of_node in times.items():
        setattr(second, name, of_node)
    return second


def test_what_members_tell_becomes_one_time_line() -> None:
    """Counts of all members are added up by second and by node."""
    timeline = Timeline()
    timeline.add(0, _second(101.0, 5, attempts={NODE: [100.2]}, upgrades={NODE: [100.3]}))
    timeline.add(1, _second(101.0, 7, attempts={OTHER: [100.5]}))
    second = _second(102.0, 8)
    second.closes = {3001: {NODE: [101.1, 101.2]}, 1006: {NODE: [101.5]}}
    second.refusals = {"503": {OTHER: [101.4]}, "error 111": {OTHER: [101.6]}}
    second.latencies[CALM] = {bin_of(2_000): 3}
    timeline.add(1, second)

    first, then = timeline.moments(100.0, 102.0, {NODE: "a", OTHER: "b"})
    assert (first.here, first.attempts, first.admitted, first.closed) == (12, 2, 1, 0)
    assert first.admitted_by_node == {"a": 1, "b": 0}
    assert (then.here, then.refused, then.closed_by_node) == (13, 2, {"a": 3, "b": 0})
    assert timeline.closed(NODE, 3001) == [101.1, 101.2]
    assert timeline.latencies[CALM].count == 3


def test_who_is_refused_after_the_upgrade_did_not_wait_at_the_door() -> None:
    """Error 111 answers a client that was let in: it is counted as refused, but not twice."""
    timeline = Timeline()
    second = _second(1.0, 0, attempts={NODE: [0.1, 0.2]}, upgrades={NODE: [0.3]})
    second.refusals = {"error 111": {NODE: [0.4]}, "503": {NODE: [0.5]}}
    timeline.add(0, second)
    assert timeline.demand(NODE).waiting(1.0) == 0
    assert timeline.refused(NODE) == [0.4, 0.5]


def test_settings_are_laid_over_each_other() -> None:
    """A section is added to, a value replaced, and nothing given is changed."""
    base = {"client": {"token": {"key": "x"}}, "log": 1}
    over = {"client": {"insecure": True}, "log": 2}
    assert merged(base, over) == {"client": {"token": {"key": "x"}, "insecure": True}, "log": 2}
    assert base == {"client": {"token": {"key": "x"}}, "log": 1}
