"""A node that fails asks the others, and ends itself once, in time that passes by itself."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from realtime_node.cluster.backplane import NodeInfo
from realtime_node.config.settings import ShutdownSettings
from realtime_node.drain.restarter import ASK_AGAIN_AFTER_S, Restarter
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.failures import Failures, recording
from realtime_node.telemetry.metrics import Metrics
from tests.support.looptime import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SETTINGS = ShutdownSettings(failing_after=timedelta(seconds=60), timeout=timedelta(seconds=30))


class FakePeers:
    """The other nodes, and whose turn it is."""

    node_id = "me"

    def __init__(self) -> None:
        self.ready = [True, True]
        self.may_restart = True
        self.is_away = False
        self.asked_at: list[float] = []
        self.claims: list[float] = []

    async def nodes(self) -> list[NodeInfo]:
        """See `Backplane.nodes`."""
        self.asked_at.append(asyncio.get_running_loop().time())
        if self.is_away:
            raise BackplaneUnavailableError("away")
        me = NodeInfo(uid="me", name="me", version="1", ready=False)
        others = [
            NodeInfo(uid=str(number), name="", version="1", ready=ready)
            for number, ready in enumerate(self.ready)
        ]
        return [me, *others]

    async def claim_restart(self, period_s: float) -> bool:
        """See `Backplane.claim_restart`."""
        self.claims.append(period_s)
        return self.may_restart


class FakeDrainer:
    """Notes how it was asked to end."""

    def __init__(self) -> None:
        self.is_ending = False
        self.ends: list[tuple[float, float, str]] = []

    def end_itself(self, grace_s: float, reason: str) -> None:
        """See `Drainer.end_itself`."""
        self.is_ending = True
        self.ends.append((asyncio.get_running_loop().time(), grace_s, reason))


class Bench:
    """A restarter and all around it."""

    def __init__(self) -> None:
        self.now = asyncio.get_running_loop().time
        self.metrics = Metrics()
        self.failures = Failures(self.metrics.failures, monotonic=self.now)
        self.peers, self.drainer = FakePeers(), FakeDrainer()
        self.restarter = Restarter(
            self.failures.failing,
            self.peers,
            self.drainer,
            self.metrics.failures,
            settings=lambda: SETTINGS,
            random=lambda: 0.5,
        )
        with recording(self.failures):
            self.restarter.start()
        self.began_at = self.now()

    async def fail(self, seconds: float, error: Exception | None = None) -> None:
        """Let a loop fail every half second for so long."""
        until = self.now() + seconds
        while self.now() < until:
            self.failures.loop_failed("task", "inbox", error or ValueError("a bug"), retry_in_s=0.5)
            await asyncio.sleep(0.5)
            self.failures.loop_restarted("task")

    def decisions(self) -> dict[str, float]:
        """What was decided, as it is counted."""
        return {
            line.split("{")[1].split("}")[0]: float(line.rsplit(" ", 1)[1])
            for line in self.metrics.expose().decode().splitlines()
            if line.startswith("realtime_self_restart_decisions_total{")
        }


def bench(test: Callable[[Bench], Awaitable[None]]) -> Callable[[], None]:
    """Run a test in virtual time."""

    def run() -> None:
        async def body() -> None:
            made = Bench()
            try:
                await test(made)
            finally:
                await made.restarter.stop()

        run_in_virtual_time(body())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@bench
async def test_a_node_that_fails_for_long_enough_ends_itself_once(at: Bench) -> None:
    """It asks the others first, tells why, and does not ask again."""
    await at.fail(200)
    ((ended_at, grace_s, reason),) = at.drainer.ends
    assert ended_at - at.began_at == pytest.approx(60, abs=2)
    assert (grace_s, reason) == (30, "this node fails: inbox")
    assert at.restarter.reason.startswith("inbox has failed for 60 s: ValueError: a bug")
    assert at.peers.claims == [600]
    assert at.decisions() == {'action="end",reason="failing"': 1}


@bench
async def test_a_node_that_becomes_well_again_stays(at: Bench) -> None:
    """The time begins anew with the next failure."""
    for _ in range(4):
        await at.fail(50)
        await asyncio.sleep(10)
    assert at.drainer.ends == []
    assert at.peers.asked_at == []
    assert at.restarter.reason == ""


@bench
async def test_what_redis_does_ends_no_node(at: Bench) -> None:
    """However long it lasts; nor does it count as failed for what comes after."""
    await at.fail(600, BackplaneUnavailableError("away"))
    await at.fail(50)
    await at.fail(600, FileNotFoundError("ca.pem"))
    assert at.drainer.ends == []
    assert at.peers.asked_at == []


@bench
async def test_a_node_whose_store_is_away_stays_and_asks_again(at: Bench) -> None:
    """It is asked every ten seconds or so, and the node ends when it answers."""
    at.peers.is_away = True
    await at.fail(120)
    assert at.drainer.ends == []
    gaps = [
        later - earlier
        for earlier, later in zip(at.peers.asked_at, at.peers.asked_at[1:], strict=False)
    ]
    assert len(gaps) >= 4
    assert all(gap == pytest.approx(ASK_AGAIN_AFTER_S, abs=1) for gap in gaps)
    assert at.peers.claims == []
    at.peers.is_away = False
    await at.fail(20)
    assert len(at.drainer.ends) == 1


@bench
async def test_a_node_stays_while_the_others_are_not_ready(at: Bench) -> None:
    """And claims nothing."""
    at.peers.ready = [True, False]
    await at.fail(120)
    assert at.drainer.ends == []
    assert at.peers.claims == []
    assert set(at.decisions()) == {'action="stay",reason="peers_not_ready"'}


@bench
async def test_a_node_stays_while_it_is_anothers_turn(at: Bench) -> None:
    """Until the period of that is over."""
    at.peers.may_restart = False
    await at.fail(120)
    assert at.drainer.ends == []
    assert set(at.decisions()) == {'action="stay",reason="another_restarted"'}
    at.peers.may_restart = True
    await at.fail(20)
    assert len(at.drainer.ends) == 1


@bench
async def test_a_node_that_was_told_to_end_does_not_end_itself(at: Bench) -> None:
    """Its exit says nothing of a failure then."""
    at.drainer.is_ending = True
    await at.fail(120)
    assert at.restarter.reason == ""
    assert at.drainer.ends == []


@bench
async def test_a_bug_in_asking_ends_no_watch(at: Bench) -> None:
    """It is a failing loop like others, and asks again."""
    nodes = at.peers.nodes

    async def fails() -> list[NodeInfo]:
        raise KeyError("a bug")

    at.peers.nodes = fails  # type: ignore[method-assign]
    await at.fail(70)
    assert {loop.loop for loop in at.failures.failing()} == {"inbox", "self-restart"}
    at.peers.nodes = nodes  # type: ignore[method-assign]
    await at.fail(20)
    assert len(at.drainer.ends) == 1
