"""The agenda: everything in its time, once, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from realtime_node.delivery.agenda import RESOLUTION_S, Agenda


@given(st.lists(st.integers(0, 20)), st.integers(0, 20))
def test_takes_what_is_due_in_order(times: list[int], now: int) -> None:
    """What is due comes once, earliest first, equal times in the order they were put."""
    agenda: Agenda[int] = Agenda()
    for number, due in enumerate(times):
        agenda.put(due, number)
    taken = agenda.take_due(now, 100)
    assert taken == sorted((due, number) for number, due in enumerate(times) if due <= now)
    assert agenda.next_due() == min((due for due in times if due > now), default=None)


def test_a_timer_may_be_a_moment_early() -> None:
    """A loop's timer that comes within its resolution finds its item, and need not come again."""
    agenda: Agenda[str] = Agenda()
    agenda.put(10.0, "a")
    assert agenda.take_due(10.0 - 2 * RESOLUTION_S, 100) == []
    assert agenda.take_due(10.0 - RESOLUTION_S / 2, 100) == [(10.0, "a")]


def test_says_what_is_next() -> None:
    """Only an item that comes before all others moves the timer."""
    agenda: Agenda[str] = Agenda()
    assert agenda.put(2.0, "late")
    assert agenda.put(1.0, "early")
    assert not agenda.put(3.0, "later")
