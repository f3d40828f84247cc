"""An average that forgets."""

from __future__ import annotations

import pytest

from realtime_node.admission.accept_rate import AcceptRate


def test_a_steady_stream_is_told_as_it_is() -> None:
    """After a while of 20 per second the rate is 20, and some seconds later next to nothing."""
    rate = AcceptRate(1000)
    for number in range(20 * 60):
        rate.count(1000 + number / 20)
    assert rate.per_s(1060) == pytest.approx(20, rel=0.02)
    assert rate.per_s(1065) == pytest.approx(20 / 2.718, rel=0.02)
    assert rate.per_s(1090) < 0.1


def test_none_is_none() -> None:
    """Nothing has happened, however long ago."""
    assert AcceptRate(1000).per_s(2000) == 0
