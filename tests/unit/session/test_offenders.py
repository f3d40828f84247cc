"""Who was too slow again and again is known when it comes back; nobody else is."""

from __future__ import annotations

import pytest

from realtime_node.protocol.messages import StreamPosition
from realtime_node.session import offenders as offenders_module
from realtime_node.session.offenders import (
    TIMES,
    WITHIN_S,
    Offenders,
    Stretch,
    Strikes,
    is_repeat_offender,
)

STRETCH = {"news": Stretch("e", 10, 20)}


def at(offset: int, epoch: str = "e") -> StreamPosition:
    """A position."""
    return StreamPosition(offset=offset, epoch=epoch)


def test_the_third_close_within_a_minute_makes_a_repeat_offender() -> None:
    """Each connection takes the past of the one before it."""
    offenders = Offenders()
    strikes: Strikes = ()
    now = 100.0
    for _ in range(TIMES):
        now += 1
        assert not is_repeat_offender(strikes, now)
        offenders.leave("ann", STRETCH, strikes, now)
        strikes = offenders.take("ann", "news", at(15), now)
    assert is_repeat_offender(strikes, now)
    assert not is_repeat_offender(strikes, 101.0 + WITHIN_S)


@pytest.mark.parametrize(
    ("user", "channel", "asked"),
    [
        ("bob", "news", at(15)),
        ("ann", "chat", at(15)),
        ("ann", "news", at(9)),
        ("ann", "news", at(21)),
        ("ann", "news", at(15, "other")),
    ],
)
def test_another_client_is_not_taken_for_it(user: str, channel: str, asked: StreamPosition) -> None:
    """User, channel, epoch and position have to fit."""
    offenders = Offenders()
    offenders.leave("ann", STRETCH, (), 100)
    assert offenders.take(user, channel, asked, 100) == ()
    assert offenders.take("ann", "news", at(10), 100) == (100,)


def test_a_ticket_is_taken_once() -> None:
    """Of many clients of one user as many are slow as were closed for it."""
    offenders = Offenders()
    offenders.leave("", STRETCH, (), 100)
    assert offenders.take("", "news", at(15), 100) == (100,)
    assert offenders.take("", "news", at(15), 100) == ()
    assert len(offenders) == 0


def test_tickets_are_bounded_in_time_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute, and beyond so many, the oldest are forgotten."""
    monkeypatch.setattr(offenders_module, "MAX_TICKETS", 2)
    offenders = Offenders()
    for number in range(3):
        offenders.leave(str(number), STRETCH, (), 100 + number)
    assert len(offenders) == 2
    assert offenders.take("0", "news", at(15), 102) == ()
    assert offenders.take("2", "news", at(15), 101 + WITHIN_S) == (102,)
    assert len(offenders) == 0
    assert offenders._by_user == {}


def test_who_has_no_position_leaves_no_ticket() -> None:
    """It cannot recover, so there is no loop to break."""
    offenders = Offenders()
    offenders.leave("ann", {}, (), 100)
    assert len(offenders) == 0


def test_a_recovery_looks_at_few_tickets_of_a_crowd() -> None:
    """Ten thousand anonymous clients are closed; none of their recoveries looks at all tickets."""
    offenders = Offenders()
    for number in range(offenders_module.MAX_TICKETS):
        channel = "news" if number % 2 else "chat"
        offenders.leave("", {channel: CountedStretch("e", 10, 20)}, (), 100)
    CountedStretch.comparisons = 0
    assert offenders.take("", "news", at(21), 100) == ()
    assert CountedStretch.comparisons <= offenders_module.MAX_LOOKED_AT
    assert offenders.take("", "none", at(15), 100) == ()
    assert CountedStretch.comparisons <= offenders_module.MAX_LOOKED_AT
    assert offenders.take("", "news", at(15), 100) == (100,)


class CountedStretch(Stretch):
    """Counts how often one is looked at."""

    comparisons = 0

    @property
    def epoch(self) -> str:
        """The epoch."""
        CountedStretch.comparisons += 1
        return self[0]
