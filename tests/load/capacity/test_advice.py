"""Settings follow from what was measured, and never promise more."""

from __future__ import annotations

import dataclasses

import pytest

from tests.load.capacity.advice import (
    Measured,
    MemoryFit,
    advise,
    cluster_spec,
    extrapolated,
    fit_memory,
    node_settings,
    rounded_down,
)

MEASURED = Measured(
    connections=19_800,
    connections_stopped_by="20,000 file descriptors per process here; the node may hold more",
    memory=MemoryFit(idle_mib=80, kib_per_client=3.0),
    ping_busy_percent=12,
    deliveries_per_s=171_300,
    busy_percent=91,
    connects_per_s=1_240,
    lag_bound_ms=50,
)


def test_limits_are_what_was_measured_and_targets_a_share_of_it() -> None:
    """A limit is what held, rounded down; rates and targets are seven tenths of it."""
    advice = advise(MEASURED)
    assert advice.max_connections == 19_000
    assert advice.max_deliveries_per_s == 170_000
    assert advice.connects_per_second == 860
    assert advice.target_connection_percent == 70
    assert advice.target_deliveries_per_s == 110_000
    assert advice.target_loop_busy_percent == 64


def test_a_burst_takes_the_loop_no_longer_than_it_may_lag() -> None:
    """At 1,240 connects per second, 62 are what 50 ms let in."""
    assert advise(MEASURED).burst == 62


def test_a_memory_limit_lowers_the_connections() -> None:
    """What fits into the Pod's memory, beside slow clients and a tenth to spare, is the limit."""
    advice = advise(MEASURED, memory_limit_mib=400)
    assert advice.max_connections == 8_100  # (360 - 80 - 256) MiB / 3 KiB = 8,192
    assert advice.max_connections_because == "the memory limit of 400 MiB"


def test_a_large_memory_limit_promises_no_more_than_was_held() -> None:
    """Memory for more clients than were ever held does not raise the limit."""
    assert advise(MEASURED, memory_limit_mib=16_000) == advise(MEASURED)


def test_a_memory_limit_without_room_is_refused() -> None:
    """A limit that the idle node and slow clients fill is an error that names the least."""
    with pytest.raises(ValueError, match="give more than 373"):
        advise(MEASURED, memory_limit_mib=300)


def test_where_nothing_held_nothing_is_advised() -> None:
    """A limit of zero would shut a node: it is an error instead."""
    nothing = dataclasses.replace(MEASURED, connects_per_s=0)
    with pytest.raises(ValueError, match="repeat on a quiet machine"):
        advise(nothing)


def test_memory_is_a_line_through_the_idle_node() -> None:
    """Two parts that each add three KiB per client are told exactly."""
    fit = fit_memory(
        [(0, 80 * 1024.0), (6_600, 80 * 1024 + 19_800.0), (13_200, 80 * 1024 + 39_600)]
    )
    assert fit.idle_mib == 80
    assert fit.kib_per_client == pytest.approx(3.0)


def test_what_is_extrapolated_is_bound_by_memory_and_by_pings() -> None:
    """The lesser of what fits into memory and what a share of the core can ping is told."""
    assert extrapolated(MEASURED, 400, most_busy_percent=70) == 8_192
    assert extrapolated(MEASURED, 4_096, most_busy_percent=70) == 115_500


@pytest.mark.parametrize(
    ("value", "rounded"), [(0.4, 0), (1, 1), (9.9, 9), (19, 19), (199, 190), (123_456, 120_000)]
)
def test_two_digits_are_told(value: float, rounded: int) -> None:
    """No figure pretends to a precision that a ramp does not have."""
    assert rounded_down(value) == rounded


def test_snippets_hold_what_is_advised() -> None:
    """Both snippets are YAML with the keys of their place."""
    advice = advise(MEASURED)
    assert node_settings(advice) == (
        "admission:\n"
        "  max_connections: 19000"
        "  # 20,000 file descriptors per process here; the node may hold more\n"
        "  connects_per_second: 860\n"
        "  burst: 62\n"
    )
    assert cluster_spec(advice) == (
        "spec:\n"
        "  capacity:\n"
        "    maxConnections: 19000\n"
        "    maxDeliveriesPerSecond: 170000\n"
        "  autoscaling:\n"
        "    targetConnectionPercent: 70\n"
        "    targetDeliveriesPerSecond: 110000\n"
        "    targetLoopBusyPercent: 64\n"
    )
