"""A bucket for each address."""

from __future__ import annotations

import pytest

from realtime_node.admission.per_ip import AddressBuckets
from realtime_node.admission.token_bucket import Rate


def test_each_address_has_its_own_bucket() -> None:
    """One that has used its tokens waits, another does not."""
    buckets = AddressBuckets(Rate(2, 3))
    for _ in range(3):
        assert buckets.wait_s(b"a", 1000) == 0
        buckets.spend(b"a", 1000)
    assert buckets.wait_s(b"a", 1000) == pytest.approx(0.5)
    assert buckets.wait_s(b"b", 1000) == 0
    assert buckets.wait_s(b"a", 1000.5) == 0


def test_a_token_that_is_not_there_is_not_taken() -> None:
    """Spending beyond the bucket changes nothing."""
    buckets = AddressBuckets(Rate(1, 1))
    buckets.spend(b"a", 1000)
    buckets.spend(b"a", 1000)
    assert buckets.wait_s(b"a", 1000) == pytest.approx(1)


def test_the_least_recently_seen_address_is_forgotten() -> None:
    """Memory is bounded; who came lately is remembered."""
    buckets = AddressBuckets(Rate(1, 2), most=3)
    for key in (b"a", b"b", b"c", b"a", b"d"):
        buckets.spend(key, 1000)
    assert len(buckets) == 3
    assert buckets.wait_s(b"a", 1000) == pytest.approx(1)
    for _ in range(2):
        assert buckets.wait_s(b"b", 1000) == 0
        buckets.spend(b"b", 1000)
    assert buckets.wait_s(b"b", 1000) == pytest.approx(1)
