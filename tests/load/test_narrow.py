"""The bookkeeping of `narrow`: whose CPU time counts for what, over how many."""

from __future__ import annotations

import pytest

from tests.load import narrow
from tests.load.generators import LoadSummary, PublisherSummary
from tests.load.latencies import Latencies
from tests.load.machine import Clock, Memory
from tests.load.narrow import Spent

_SPENT = Spent(
    connecting=Clock(2.0, 0.5),
    memory_before=Memory(resident=50_000, proportional=40_000),
    memory_after=Memory(resident=90_000, proportional=70_000),
    publishing=Clock(4.0, 1.0),
    delivering=Clock(1.5, 1.0),
)


def _received(*, complete: int) -> LoadSummary:
    return LoadSummary(
        clients=10_000,
        subscribed=10_000,
        stalled=0,
        lost=0,
        lost_stalled=0,
        errors=0,
        unreachable=0,
        closed={},
        refused={},
        setup_s=10.0,
        seconds=10.0,
        active_s=10.0,
        expected=1,
        complete=complete,
        fewest=0,
        most=1,
        publications=complete,
        frames=complete,
        publications_per_frame=1.0,
        most_per_frame=1,
        bytes=248 * complete,
        deliveries_per_s=complete / 10,
        p50_ms=1.0,
        p99_ms=5.0,
        max_ms=9.0,
        latencies=Latencies.read([]),
        disordered=0,
        cpu_s=0.5,
        timeline=[],
    )


def _published(*, accepted: int) -> PublisherSummary:
    return PublisherSummary(
        requests=10_000,
        answered=10_000,
        accepted=accepted,
        rejected=10_000 - accepted,
        late=0,
        seconds=10.0,
        requests_per_s=1_000.0,
        publications_per_s=1_000.0,
        p50_ms=1.0,
        p99_ms=3.0,
        max_ms=5.0,
        cpu_s=0.2,
    )


def test_each_node_pays_for_its_own_part() -> None:
    """The one that was posted to for publishes, the one with the clients for deliveries."""
    result = narrow.summarize(_received(complete=10_000), _published(accepted=10_000), _SPENT)
    assert result.us_per_publish == pytest.approx(400)
    assert result.us_per_delivery == pytest.approx(150)
    assert result.us_per_client == pytest.approx(200)
    assert result.kib_per_client == pytest.approx(4.0)
    assert result.servers_busy_percent == pytest.approx(55)
    assert result.whole_percent == 100


def test_what_was_refused_or_lost_makes_no_publish_or_delivery_cheaper() -> None:
    """8,000 accepted, 5,000 delivered: the same CPU time is shared by so many."""
    result = narrow.summarize(_received(complete=5_000), _published(accepted=8_000), _SPENT)
    assert result.us_per_publish == pytest.approx(500)
    assert result.us_per_delivery == pytest.approx(300)
    assert (result.whole_percent, result.rejected) == (50, 2_000)
