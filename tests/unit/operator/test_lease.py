"""Who may act: what a lease as it was read means."""

from __future__ import annotations

import pytest

from realtime_operator.lease import Observed, Verdict, judge


@pytest.mark.parametrize(
    ("observed", "verdict"),
    [
        (None, Verdict.CREATE),
        (Observed("1", "me", 15, since=0), Verdict.RENEW),
        (Observed("1", "", 15, since=99), Verdict.TAKE),
        (Observed("1", "another", 15, since=85), Verdict.WAIT),
        (Observed("1", "another", 15, since=84), Verdict.TAKE),
    ],
)
def test_a_lease_is_judged(observed: Observed | None, verdict: Verdict) -> None:
    """It is ours, or free, or its holder has been silent for its duration by our own clock."""
    assert judge(observed, "me", now=100.0)[0] is verdict
