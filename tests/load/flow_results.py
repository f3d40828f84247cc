"""What the scenarios of bench_flow.py return; see `results`."""

from __future__ import annotations

from dataclasses import dataclass

from tests.load.results import figure


@dataclass(frozen=True)
class Stalled:
    """A channel of which some clients read nothing."""

    user_kib: float  # by which memory grew at most, in the node and in the kernel
    kernel_kib: float
    p50_ms: float = figure("latency p50 of the others", "ms", 1)
    p99_ms: float = figure("latency p99 of the others", "ms", 1)
    cpu_s: float = figure("CPU of the node", "s", 2)
    whole_percent: float = figure("others that received everything once", "%", 1)
    lost_others: int = figure("others lost")
    user_kib_per_stalled: float = figure("memory per stalled client, in the node", "KiB", 1)
    kernel_kib_per_stalled: float = figure("the same, in the kernel", "KiB", 1)
    ended: int = figure("stalled clients that the node ended")
    waiting_percent: float = figure("server kept from its core by others", "%")


@dataclass(frozen=True)
class Spreading:
    """How a frame's arrival is spread over the clients of a huge channel."""

    p10_ms: float = figure("latency of the fastest tenth", "ms", 1)
    p30_ms: float = figure("of three tenths", "ms", 1)
    p50_ms: float = figure("of half", "ms", 1)
    p70_ms: float = figure("of seven tenths", "ms", 1)
    p90_ms: float = figure("of nine tenths", "ms", 1)
    p99_ms: float = figure("of 99 %", "ms", 1)
    whole_percent: float = figure("clients that received everything once", "%", 1)
    us_per_delivery: float = figure("CPU per delivery", "µs", 2)
    waiting_percent: float = figure("server kept from its core by others", "%")
