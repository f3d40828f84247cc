"""What one holder has of an allowance."""

from __future__ import annotations

from realtime_node.cluster.allowance import Lease
from realtime_node.cluster.held_permits import HeldPermits


def test_a_permit_is_used_once_and_in_time() -> None:
    """What is not used within its life is lost."""
    permits = HeldPermits()
    assert not permits.count(0.0)
    permits.take(Lease(2, life_s=1.0), asked_at=9.0)
    permits.use()
    assert permits.count(9.9) == 1
    assert not permits.count(10.0)
    permits.use()
    assert not permits.count(9.0)


def test_a_new_lease_takes_the_place_of_the_last() -> None:
    """Permits do not add up over leases."""
    permits = HeldPermits()
    permits.take(Lease(5), asked_at=0.0)
    permits.take(Lease(2), asked_at=0.5)
    assert permits.count(0.9) == 2
