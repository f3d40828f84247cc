"""The circuit breaker: its table, its pauses, and what holds whatever happens."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from realtime_node.proxy.circuit_breaker import BreakerLimits, CircuitBreaker, State
from tests.support.selection import examples

LIMITS = BreakerLimits(failures=3, pause_s=1.0, longest_pause_s=4.0)


def _fail(breaker: CircuitBreaker, now: float, times: int = 3) -> None:
    for _ in range(times):
        ticket = breaker.admit(now).ticket
        assert ticket is not None
        breaker.failed(ticket, now)


def _probe(breaker: CircuitBreaker, now: float) -> int:
    ticket = breaker.admit(now).ticket
    assert ticket is not None
    return ticket


def test_failures_in_a_row_open_it() -> None:
    """As many as the limit open it; an answer between them begins the count anew."""
    breaker = CircuitBreaker(LIMITS)
    _fail(breaker, 0.0, 2)
    breaker.answered(_probe(breaker, 0.0))
    _fail(breaker, 0.0, 2)
    assert not breaker.refusal(0.0)
    _fail(breaker, 0.0, 1)
    assert breaker.state is State.OPEN
    admission = breaker.admit(0.9)
    assert admission.ticket is None
    assert "3 times in a row" in admission.reason


def test_one_question_tries_a_backend_after_the_pause() -> None:
    """The first is let by, the others are not until it is known what came of it."""
    breaker = CircuitBreaker(LIMITS)
    _fail(breaker, 0.0)
    ticket = _probe(breaker, 1.0)
    assert "one question is trying it" in breaker.admit(1.0).reason
    breaker.answered(ticket)
    assert breaker.state is State.CLOSED
    assert breaker.admit(1.0).ticket is not None


def test_a_failed_probe_doubles_the_pause_up_to_its_bound() -> None:
    """Each time it is asked less often; an answer brings the first pause back."""
    breaker = CircuitBreaker(LIMITS)
    now = 0.0
    _fail(breaker, now)
    for pause in (1.0, 2.0, 4.0, 4.0):
        assert breaker.admit(now + pause - 0.01).ticket is None
        now += pause
        breaker.failed(_probe(breaker, now), now)
    breaker.answered(_probe(breaker, now + 4.0))
    _fail(breaker, now + 4.0)
    assert breaker.admit(now + 5.0).ticket is not None


def test_a_probe_that_nobody_waits_for_makes_room_for_the_next() -> None:
    """A client that leaves while its question tries the backend blocks nobody."""
    breaker = CircuitBreaker(LIMITS)
    _fail(breaker, 0.0)
    breaker.abandoned(_probe(breaker, 1.0))
    assert breaker.admit(1.0).ticket is not None


def test_late_results_count_for_nothing() -> None:
    """What was asked before it opened neither closes it nor opens it anew."""
    breaker = CircuitBreaker(LIMITS)
    slow = [_probe(breaker, 0.0) for _ in range(4)]
    _fail(breaker, 0.0)
    breaker.answered(slow[0])
    assert breaker.refusal(0.0)
    probe = _probe(breaker, 1.0)
    breaker.failed(slow[1], 1.0)
    breaker.abandoned(slow[2])
    assert breaker.admit(1.0).ticket is None
    breaker.answered(probe)
    breaker.failed(slow[3], 1.0)
    assert breaker.state is State.CLOSED


class Calls(RuleBasedStateMachine):
    """Questions that come, are answered, fail and are abandoned in any order, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = CircuitBreaker(LIMITS)
        self.now = 0.0
        self.under_way: list[tuple[int, State]] = []
        self.silent_since = 0.0
        """Since when nothing was let by, while something wanted to be."""

    @rule(seconds=st.floats(0.0, 5.0))
    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @rule()
    def ask(self) -> None:
        """Ask; while it is open nothing is let by, and half open only one."""
        refusal = self.breaker.refusal(self.now)
        admission = self.breaker.admit(self.now)
        assert (admission.ticket is None) is bool(refusal)
        if admission.ticket is not None:
            assert self.breaker.state is not State.OPEN
            self.under_way.append((admission.ticket, self.breaker.state))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), result=st.sampled_from(["answered", "failed", "abandoned"]))
    def finish(self, data: st.DataObject, result: str) -> None:
        """Something comes of one of the questions under way."""
        index = data.draw(st.integers(0, len(self.under_way) - 1))
        ticket, _ = self.under_way.pop(index)
        before = self.breaker.state
        if result == "failed":
            self.breaker.failed(ticket, self.now)
        else:
            getattr(self.breaker, result)(ticket)
        if before is State.OPEN:
            assert self.breaker.state is State.OPEN
        if result == "abandoned":
            assert self.breaker.state is before

    @invariant()
    def one_probe_at_most(self) -> None:
        """Half open, one question of this period is under way at most."""
        if self.breaker.state is State.HALF_OPEN:
            newest = max((ticket for ticket, _ in self.under_way), default=-1)
            probes = [
                ticket
                for ticket, state in self.under_way
                if state is State.HALF_OPEN and ticket == newest
            ]
            assert len(probes) <= 1

    @invariant()
    def never_shut_for_good(self) -> None:
        """After the longest pause something is let by, unless a probe is under way."""
        if not self.under_way:
            assert not self.breaker.refusal(self.now + LIMITS.longest_pause_s)


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=examples(200), stateful_step_count=40)
