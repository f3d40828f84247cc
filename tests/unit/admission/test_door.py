"""The door of a node."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from realtime_node.admission.admit import Bounds, Refusal, RetryRange, Verdict
from realtime_node.admission.door import MOST_REFUSED, Admission, Door, Rules
from realtime_node.admission.token_bucket import Rate
from realtime_node.cluster.allowance import Lease
from realtime_node.telemetry.metrics import AdmissionMetrics, Metrics, total
from tests.support.fakes import settle
from tests.unit.admission.worlds import FakeAllowance, FakeGuest, World

PLAIN = CIMultiDictProxy(CIMultiDict[str]())
METERED = Rules(rate=Rate(10, 2), bounds=Bounds(max_connections=100, max_waiting=3, wait_s=1))


class Entrance:
    """A door and those who come to it."""

    def __init__(
        self,
        rules: Rules = METERED,
        *,
        random: float = 0.0,
        allowance: FakeAllowance | None = None,
    ) -> None:
        self.world = World()
        self.lag_s = 0.0
        self.metrics: AdmissionMetrics = Metrics().admission
        self.door = Door(
            self.world.clock,
            lambda: random,
            rules=rules,
            metrics=self.metrics,
            loop_lag_s=lambda: self.lag_s,
            allowance=allowance,
            call_later=self.world.call_later,
        )

    def knock(
        self, peer: str = "192.0.2.1", connections: int = 0, **headers: str
    ) -> Admission | Refusal:
        """Come with a handshake."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.door.knock(peer, CIMultiDictProxy(CIMultiDict(named)), connections)

    def wait(self) -> FakeGuest:
        """Come with one that has to wait."""
        assert self.knock() is Verdict.WAIT
        guest = FakeGuest(self.world)
        self.door.wait(guest)
        return guest

    def refused(self, reason: str) -> int:
        """How many were, for this reason."""
        return total(self.metrics.refused[reason])


def status_of(answer: Admission | Refusal) -> int:
    """The HTTP status of a refusal, 101 for an upgrade, 0 for one that waits."""
    if isinstance(answer, Refusal):
        return answer.status
    return 101 if answer is Verdict.ACCEPT else 0


def test_an_open_door_lets_everybody_in() -> None:
    """Without rules nobody waits, and the last one let in is remembered."""
    world = World()
    door = Door(world.clock, lambda: 0.5)
    for _ in range(1000):
        assert door.knock("192.0.2.1", PLAIN, 10**6) is Verdict.ACCEPT
    world.clock.advance(4)
    assert (door.accepted_total, world.clock() - door.accepted_at) == (1000, 4)


@pytest.mark.parametrize(("random", "seconds"), [(0.0, 1), (0.999, 2)])
def test_a_cordoned_door_says_why_and_when_to_come_back(random: float, seconds: int) -> None:
    """The reason is the cordon's, the time not the same for everybody."""
    entrance = Entrance(random=random)
    entrance.door.cordon("this node is draining")
    assert entrance.door.is_cordoned
    assert entrance.knock() == (503, "this node is draining", seconds)
    assert entrance.refused("cordoned") == entrance.door.refused_total == 1
    entrance.door.uncordon()
    assert (status_of(entrance.knock()), entrance.door.is_cordoned) == (101, False)


def test_a_cordon_empties_the_waiting_room() -> None:
    """Who waits is told at once, as whoever comes later."""
    entrance = Entrance()
    assert [status_of(entrance.knock()) for _ in range(2)] == [101, 101]
    guests = [entrance.wait() for _ in range(3)]
    entrance.door.cordon("this node is draining")
    assert [guest.refusal for guest in guests] == [(503, "this node is draining", 1)] * 3
    assert (entrance.door.num_waiting, entrance.world.timers) == (0, [])
    entrance.door.uncordon()
    entrance.world.pass_time(1)
    assert entrance.door.accepted_total == 2


@pytest.mark.parametrize("is_closed", [False, True])
def test_many_who_wait_are_refused_in_parts(*, is_closed: bool) -> None:
    """A cordon refuses some hundred in each step of the loop; the end of the node all at once."""
    many = 2 * MOST_REFUSED + 10
    entrance = Entrance(METERED._replace(bounds=Bounds(max_waiting=many, wait_s=1e6)))
    assert [status_of(entrance.knock()) for _ in range(2)] == [101, 101]
    guests = [entrance.wait() for _ in range(many)]
    guests[-1].is_gone = True
    entrance.door.cordon("this node is draining")
    entrance.door.cordon("this node is draining still")
    assert sum(guest.is_done for guest in guests) == MOST_REFUSED
    assert status_of(entrance.knock()) == 503
    if is_closed:
        entrance.door.close("this node ends")
    else:
        for refused in (2 * MOST_REFUSED, many - 1):
            (timer,) = entrance.world.timers
            timer.cancel()
            timer.call()
            assert sum(guest.is_done for guest in guests) == refused
    assert [guest.is_done for guest in guests] == [True] * (many - 1) + [False]
    assert entrance.door.num_waiting == 0


def test_beyond_the_rate_handshakes_wait_and_beyond_the_room_they_are_refused() -> None:
    """Burst, then waiting, then 503; who waits is counted as let in when its turn has come."""
    entrance = Entrance()
    assert [status_of(entrance.knock()) for _ in range(2)] == [101, 101]
    guests = [entrance.wait() for _ in range(3)]
    assert status_of(entrance.knock()) == 503
    assert entrance.refused("room_full") == 1
    entrance.world.pass_time(0.35)
    assert all(guest.entered_at for guest in guests)
    assert entrance.door.accepted_total == total(entrance.metrics.accepted) == 5
    assert entrance.door.accepted_at == guests[2].entered_at
    assert entrance.door.accept_rate_per_s > 0


def test_nobody_waits_in_vain() -> None:
    """A handshake whose turn would come too late is refused at once, with an estimate."""
    rules = METERED._replace(bounds=Bounds(wait_s=1), rate=Rate(1, 1), retry=RetryRange(1, 60))
    entrance = Entrance(rules)
    assert status_of(entrance.knock()) == 101
    entrance.wait()
    answer = entrance.knock()
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.retry_after_s) == (503, 2)
    assert entrance.refused("rate") == 1


def test_who_leaves_gives_its_place_up() -> None:
    """A client that goes away while it waits leaves room, and its token, for another."""
    entrance = Entrance()
    while entrance.knock() is Verdict.ACCEPT:
        pass
    guests = [entrance.wait() for _ in range(3)]
    entrance.door.leave(guests[0])
    assert entrance.door.num_waiting == 2
    entrance.world.pass_time(0.11)
    assert guests[1].entered_at is not None


def test_waiting_handshakes_count_as_connections() -> None:
    """So many are let in as there is place for, even if all their turns come."""
    entrance = Entrance()
    assert [status_of(entrance.knock(connections=97)) for _ in range(2)] == [101, 101]
    entrance.wait()
    assert status_of(entrance.knock(connections=98)) == 0
    assert status_of(entrance.knock(connections=99)) == 503
    assert entrance.refused("max_connections") == 1


def test_an_overloaded_node_lets_nobody_in_until_it_has_recovered() -> None:
    """Shedding ends at half the lag it begins at."""
    entrance = Entrance(Rules(shed_loop_lag_s=0.5))
    answers = []
    for entrance.lag_s in (0.4, 0.6, 0.4, 0.2, 0.4):
        answers.append(status_of(entrance.knock()))
    assert answers == [101, 503, 503, 101, 101]
    assert entrance.refused("loop_lag") == 2


def test_an_address_that_comes_too_often_is_told_to_slow_down() -> None:
    """429, and no token of the node's is spent on it; others come in."""
    entrance = Entrance(Rules(per_ip=Rate(1, 2), rate=Rate(10, 4)))
    answers = [status_of(entrance.knock("192.0.2.1")) for _ in range(5)]
    assert answers == [101, 101, 429, 429, 429]
    assert status_of(entrance.knock("192.0.2.2")) == 101
    assert entrance.refused("per_ip") == 3
    entrance.world.pass_time(1)
    assert status_of(entrance.knock("192.0.2.1")) == 101


def test_a_refused_handshake_costs_its_address_nothing() -> None:
    """Who was sent away by the node may come back as if it had not come."""
    entrance = Entrance(Rules(per_ip=Rate(1, 1), bounds=Bounds(max_connections=1)))
    assert status_of(entrance.knock(connections=1)) == 503
    assert status_of(entrance.knock(connections=0)) == 101


def test_clients_behind_a_trusted_proxy_are_told_apart() -> None:
    """The proxy's word counts, and nobody else's."""
    rules = Rules(per_ip=Rate(1, 1), trusted_proxies=(ip_network("10.0.0.0/8"),))
    entrance = Entrance(rules)

    def from_proxy(client: str) -> int:
        return status_of(entrance.knock("10.0.0.1", X_Forwarded_For=client))

    assert [from_proxy("198.51.100.1"), from_proxy("198.51.100.2")] == [101, 101]
    assert from_proxy("203.0.113.9, 198.51.100.1") == 429
    assert status_of(entrance.knock("192.0.2.1", X_Forwarded_For="198.51.100.3")) == 101
    assert status_of(entrance.knock("192.0.2.1", X_Forwarded_For="198.51.100.4")) == 429


def test_a_client_without_an_address_has_no_bucket() -> None:
    """What comes over a Unix socket is not limited by address."""
    entrance = Entrance(Rules(per_ip=Rate(1, 1)))
    assert [status_of(entrance.knock("")) for _ in range(3)] == [101] * 3


async def test_the_cluster_lets_in_what_it_can_too() -> None:
    """A handshake waits for a permit of the cluster, though this node has tokens."""
    allowance = FakeAllowance()
    allowance.leases = [Lease(2)]
    entrance = Entrance(Rules(), allowance=allowance)
    guest = entrance.wait()
    await settle()
    assert guest.entered_at is not None
    assert status_of(entrance.knock()) == 101
    late = entrance.wait()
    await settle()
    entrance.world.pass_time(5)
    await settle()
    assert late.refusal is not None
    assert late.refusal.status == 503
    assert late.refusal.retry_after_s >= 5


async def test_a_closed_door_lets_nobody_in() -> None:
    """The end of the node: who waits is told, and nothing is leased any more."""
    allowance = FakeAllowance()
    allowance.answers.clear()
    entrance = Entrance(Rules(), allowance=allowance)
    guest = entrance.wait()
    await settle()
    entrance.door.close("this node is ending")
    await settle()
    assert guest.refusal == (503, "this node is ending", 1)
    assert entrance.world.timers == []


# --- other rules --------------------------------------------------------------------------------


def test_those_who_wait_are_let_in_by_new_rules() -> None:
    """A rate that is lifted lets them in at once, in their order."""
    entrance = Entrance(METERED)
    while entrance.knock() is Verdict.ACCEPT:
        pass
    guests = [entrance.wait() for _ in range(3)]
    entrance.door.change(Rules(rate=Rate(1000, 1000)))
    entrance.world.pass_time(0.01)
    assert all(guest.entered_at is not None for guest in guests)


def test_new_bounds_count_for_who_comes() -> None:
    """A node that is full by them refuses; nobody who is in is asked."""
    entrance = Entrance(Rules())
    assert entrance.knock(connections=5) is Verdict.ACCEPT
    entrance.door.change(Rules(bounds=Bounds(max_connections=5)))
    assert isinstance(entrance.knock(connections=5), Refusal)
    entrance.door.change(Rules())
    assert entrance.knock(connections=5) is Verdict.ACCEPT


def test_addresses_get_a_limit_another_and_none() -> None:
    """Every address begins with a full bucket."""
    entrance = Entrance(Rules())
    for burst in (1, 2):
        entrance.door.change(Rules(per_ip=Rate(1, burst)))
        for _ in range(burst):
            assert entrance.knock() is Verdict.ACCEPT
        assert isinstance(entrance.knock(), Refusal)
    entrance.door.change(Rules())
    assert entrance.knock() is Verdict.ACCEPT
