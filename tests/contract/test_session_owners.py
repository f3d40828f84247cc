"""Never two owners of a session: whatever connects, dies, is late or expires, on every store.

A model follows what the store answered. Connections on several nodes claim sessions, write and
release them in any order, late ones too; nodes are killed and time passes. At every moment at most
one connection of a session may be its owner, and what others write has no effect.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from realtime_node.cluster.session_store import Claimed, Owner, SessionState, Verdict
from tests.support.backplanes import MemoryCluster
from tests.support.selection import examples
from tests.support.stores import Stores, on

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.support.backplanes import Cluster, Node

WINDOW_S: Final = 0.5
_USERS: Final = ("ann", "bob", "")
_numbers = itertools.count()


class SessionOwners(RuleBasedStateMachine):
    """Connections of two users and of nobody, on two nodes at a time."""

    make_cluster: Any
    owners = Bundle("owners")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.cluster: Cluster = self.make_cluster()
        self.nodes: list[Node] = []
        self.claims: dict[str, list[Owner]] = {}
        """By session, in the order of their answers."""
        self.written: dict[str, str] = {}
        """What the record holds, as far as it was acknowledged."""
        self.over: set[str] = set()
        """Sessions that were forgotten."""

    def wait_for(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run what the store does."""
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        """Close everything."""
        self.wait_for(self.cluster.close())
        self.loop.close()

    @initialize()
    def begin(self) -> None:
        """Two nodes to start with."""
        for name in ("a", "b"):
            self.nodes.append(self.wait_for(self.cluster.node(name)))

    def _claim(self, where: int, asked: str, user: str) -> Claimed:
        node = self.nodes[where]
        new = Owner(
            node.sessions.new_id(user, asked),
            user,
            f"connection {next(_numbers)}",
            int(WINDOW_S * 1000),
        )
        claimed: Claimed = self.wait_for(
            node.sessions.claim(asked, new, SessionState(client=new.session))
        )
        owner = claimed.owner
        if claimed.verdict is Verdict.RESUMED:
            assert owner.session == asked
            assert claimed.state is not None
            assert claimed.state.client == self.written[asked]
            assert owner.token > max(each.token for each in self.claims[asked])
            assert asked not in self.over
            assert user == self.claims[asked][0].user
        else:
            assert owner.session not in self.claims
            self.written[owner.session] = owner.session
        self.claims.setdefault(owner.session, []).append(owner)
        return claimed

    @rule(target=owners, where=st.integers(0, 1), user=st.sampled_from(_USERS))
    def connect(self, where: int, user: str) -> Owner:
        """A client asks for a new session."""
        claimed = self._claim(where, "", user)
        assert claimed.verdict is Verdict.NEW
        return claimed.owner

    @rule(target=owners, former=owners, where=st.integers(0, 1))
    def come_back(self, former: Owner, where: int) -> Owner:
        """A client asks for a session that it had, whoever has it now."""
        return self._claim(where, former.session, former.user).owner

    @rule(target=owners, former=owners, user=st.sampled_from(_USERS), where=st.integers(0, 1))
    def steal(self, former: Owner, user: str, where: int) -> Any:
        """Somebody else asks for it."""
        if user == former.user:
            return multiple()
        claimed = self._claim(where, former.session, user)
        assert claimed.verdict is not Verdict.RESUMED
        return claimed.owner

    @rule(owner=owners, where=st.integers(0, 1))
    def write(self, owner: Owner, where: int) -> None:
        """A connection writes, however late; only the newest may."""
        state = SessionState(client=f"written {next(_numbers)}")
        done = self.wait_for(self.nodes[where].sessions.write(owner, state))
        if owner != self.claims[owner.session][-1]:
            # Where the record is gone, a write of whoever had it makes it again; nobody else's.
            assert not done or not self._is_there(owner)
        if done:
            self.written[owner.session] = state.client
            self.over.discard(owner.session)

    def _is_there(self, owner: Owner) -> bool:
        newest = self.claims[owner.session][-1]
        return bool(
            self.wait_for(self.nodes[0].sessions.is_owner(newest))
            and not self.wait_for(self.nodes[0].sessions.is_owner(owner))
        )

    @rule(owner=owners, where=st.integers(0, 1), forget=st.booleans())
    def release(self, owner: Owner, where: int, *, forget: bool) -> None:
        """A connection ends, however late; only the newest one's end counts."""
        done = self.wait_for(self.nodes[where].sessions.release(owner, None, forget=forget))
        if done and forget:
            self.over.add(owner.session)

    @rule(where=st.integers(0, 1))
    def kill(self, where: int) -> None:
        """A node dies, and another takes its place."""
        self.wait_for(self.nodes[where].kill())
        self.nodes[where] = self.wait_for(self.cluster.node(f"n{next(_numbers)}"))

    @rule()
    def expire(self) -> None:
        """More time passes than a session waits."""
        self.wait_for(self.cluster.pass_time(WINDOW_S + 0.1))

    @invariant()
    def has_one_owner(self) -> None:
        """Of all connections that ever had a session at most one owns it."""
        for owners in self.claims.values():
            if len(owners) < 2:
                continue
            owning = [
                owner for owner in owners if self.wait_for(self.nodes[0].sessions.is_owner(owner))
            ]
            assert len(owning) in (0, 1, len(owners))
            # All of them "own" what is not there: nobody else does.
            if len(owning) == 1:
                assert owning[0].token == max(owner.token for owner in owning)


def _run(make_cluster: Any, usual: int, steps: int) -> None:
    machine = type("Machine", (SessionOwners,), {"make_cluster": staticmethod(make_cluster)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples(usual),
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.hypothesis
def test_there_is_never_a_second_owner_in_memory() -> None:
    """Whatever happens in whatever order, on the store of one process."""
    _run(MemoryCluster, usual=60, steps=30)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [on("redis"), on("redis in 3 partitions")])
def test_there_is_never_a_second_owner_on_redis(stores: Stores, kind: str) -> None:
    """Likewise on a real Redis, where time is nobody's to turn."""
    _run(stores.get(kind).nodes, usual=5, steps=20)
