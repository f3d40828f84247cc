"""The contract of `SessionStore`, held against every implementation with several nodes."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Final

import pytest

from realtime_node.cluster.backplane import SupersedeSession
from realtime_node.cluster.session_store import Claimed, KeptGrant, Owner, SessionState, Verdict
from tests.support.conditions import eventually

if TYPE_CHECKING:
    from tests.support.backplanes import Cluster, Node

WINDOW_S: Final = 1.5
STATE: Final = SessionState(
    client="c1",
    conn_info=b'{"n":1}',
    expires_at=1_900_000_000.5,
    grants={"room": KeptGrant(server_side=True, expires_at=7.25, chan_info=b"1", data=b'"x"')},
)
GRANT: Final = KeptGrant(server_side=True, chan_info=b'{"role":"host"}')
FAR: Final = 4_000_000_000
MANY: Final = 1_100
"""More than a store notes one by one."""

_connections = (f"connection {number}" for number in itertools.count())

users = pytest.mark.parametrize("user", ["ann", ""], ids=["a user", "nobody"])


async def claim(
    node: Node, asked: str = "", user: str = "ann", *, window_s: float = WINDOW_S
) -> Claimed:
    """Have a connection claim a session, or a new one."""
    new_id = node.sessions.new_id(user, asked)
    new = Owner(new_id, user, next(_connections), int(window_s * 1000))
    return await node.sessions.claim(asked, new, STATE)


@users
async def test_who_asks_for_nothing_gets_a_new_record(cluster: Cluster, user: str) -> None:
    """Without a wish a record is made; its id is one that nobody guesses."""
    a = await cluster.node("a")
    first, second = await claim(a, user=user), await claim(a, user=user)
    assert first.verdict is second.verdict is Verdict.NEW
    assert first.state is None
    assert first.owner.session != second.owner.session
    assert len(first.owner.session) == 22
    assert await a.sessions.is_owner(first.owner)


@users
async def test_a_record_is_claimed_on_any_node(cluster: Cluster, user: str) -> None:
    """Another node gets the record with what it held, whoever has it; its token is larger."""
    a, b = await cluster.node("a"), await cluster.node("b")
    first = await claim(a, user=user)
    second = await claim(b, first.owner.session, user)
    assert second.verdict is Verdict.RESUMED
    assert second.state == STATE
    assert second.owner.session == first.owner.session
    assert second.owner.token > first.owner.token
    assert second.previous_node == a.backplane.node_id
    assert await b.sessions.is_owner(second.owner)
    assert not await a.sessions.is_owner(first.owner)


async def test_what_is_written_is_what_is_claimed(cluster: Cluster) -> None:
    """A record holds what its owner wrote last, and what it was released with."""
    a, b = await cluster.node("a"), await cluster.node("b")
    first = await claim(a)
    written, released = SessionState(client="c1"), SessionState(client="c1", conn_info=b"2")
    assert await a.sessions.write(first.owner, written)
    second = await claim(b, first.owner.session)
    assert second.state == written
    assert await b.sessions.release(second.owner, released, forget=False)
    third = await claim(a, first.owner.session)
    assert (third.state, third.previous_node) == (released, "")
    assert await a.sessions.release(third.owner, None, forget=False)
    assert (await claim(a, first.owner.session)).state == released


async def test_a_former_owner_is_refused(cluster: Cluster) -> None:
    """From the claim on nothing of the connection before it changes the record."""
    a, b = await cluster.node("a"), await cluster.node("b")
    first = await claim(a)
    second = await claim(b, first.owner.session)
    assert not await a.sessions.write(first.owner, SessionState(client="late"))
    assert not await a.sessions.release(first.owner, SessionState(client="late"), forget=False)
    assert not await a.sessions.release(first.owner, None, forget=True)
    assert await b.sessions.is_owner(second.owner)
    third = await claim(a, first.owner.session)
    assert third.state == STATE


async def test_many_claims_at_once_have_one_owner(cluster: Cluster) -> None:
    """Of connections that race for a record the one with the largest token has it."""
    a, b = await cluster.node("a"), await cluster.node("b")
    session = (await claim(a)).owner.session
    claims = await asyncio.gather(*(claim(node, session) for node in (a, b) * 10))
    owners = [claimed.owner for claimed in claims]
    assert len({owner.token for owner in owners}) == len(owners)
    owning = [owner for owner in owners if await a.sessions.is_owner(owner)]
    assert owning == [max(owners, key=lambda owner: owner.token)]


async def test_a_record_is_its_users(cluster: Cluster) -> None:
    """Who asks for somebody else's gets a new one, and the other keeps it."""
    a = await cluster.node("a")
    anns = await claim(a, user="ann")
    bobs = await claim(a, anns.owner.session, "bob")
    assert bobs.verdict in (Verdict.FOREIGN, Verdict.UNKNOWN)
    assert bobs.owner.session != anns.owner.session
    nobodys = await claim(a, anns.owner.session, "")
    assert nobodys.verdict in (Verdict.FOREIGN, Verdict.UNKNOWN)
    assert await a.sessions.is_owner(anns.owner)


async def test_an_unknown_record_is_not_claimed(cluster: Cluster) -> None:
    """An id that was never given out is unknown, and is not given out for it."""
    a = await cluster.node("a")
    claimed = await claim(a, "A" * 22)
    assert claimed.verdict is Verdict.UNKNOWN
    assert claimed.owner.session != "A" * 22


async def test_a_released_record_waits_for_its_window(cluster: Cluster) -> None:
    """It can be claimed within its window, and is gone after it."""
    a = await cluster.node("a")
    first = await claim(a)
    await a.sessions.release(first.owner, None, forget=False)
    await cluster.pass_time(WINDOW_S / 3)
    again = await claim(a, first.owner.session)
    assert again.verdict is Verdict.RESUMED
    await a.sessions.release(again.owner, None, forget=False)
    await cluster.pass_time(WINDOW_S + 0.3)
    assert (await claim(a, first.owner.session)).verdict in (Verdict.UNKNOWN, Verdict.EXPIRED)


async def test_a_record_in_use_does_not_expire(cluster: Cluster) -> None:
    """While its node lives a record counts, and nobody refreshes it."""
    a, b = await cluster.node("a"), await cluster.node("b")
    first = await claim(a)
    again = await claim(a, first.owner.session)
    await a.sessions.release(again.owner, None, forget=False)
    third = await claim(a, first.owner.session)
    await cluster.pass_time(2 * WINDOW_S)
    assert await a.sessions.is_owner(third.owner)
    assert (await claim(b, first.owner.session)).verdict is Verdict.RESUMED


async def test_a_forgotten_record_is_gone_at_once(cluster: Cluster) -> None:
    """Who ends a session leaves nothing of it."""
    a = await cluster.node("a")
    first = await claim(a)
    assert await a.sessions.release(first.owner, None, forget=True)
    assert (await claim(a, first.owner.session)).verdict is Verdict.UNKNOWN


async def test_a_killed_nodes_record_is_claimed_at_once(cluster: Cluster) -> None:
    """Nobody has to notice that the node is dead."""
    a, b = await cluster.node("a"), await cluster.node("b")
    first = await claim(a)
    await a.kill()
    second = await claim(b, first.owner.session)
    assert (second.verdict, second.state) == (Verdict.RESUMED, STATE)


async def test_a_killed_nodes_record_waits_for_its_window(cluster: Cluster) -> None:
    """It outlives the lease of its node, cleaned away or not, and is gone after its window."""
    window_s = cluster.lease_s + 2.5
    a, b = await cluster.node("a"), await cluster.node("b")
    first = await claim(a, window_s=window_s)
    left = await claim(a, window_s=window_s)
    await a.kill()
    await cluster.pass_time(cluster.lease_s + 1.2)
    second = await claim(b, first.owner.session, window_s=window_s)
    assert second.verdict is Verdict.RESUMED
    await cluster.pass_time(2.0)
    assert (await claim(b, left.owner.session)).verdict in (Verdict.UNKNOWN, Verdict.EXPIRED)
    assert await b.sessions.is_owner(second.owner)


async def test_a_closed_nodes_record_waits_too(cluster: Cluster) -> None:
    """A node that leaves in order leaves its records behind."""
    a, b = await cluster.node("a"), await cluster.node("b")
    first = await claim(a)
    await a.backplane.close()
    assert (await claim(b, first.owner.session)).verdict is Verdict.RESUMED


async def test_a_node_is_told_of_what_it_lost(cluster: Cluster) -> None:
    """The message reaches the node that it is for, and no other."""
    a, b = await cluster.node("a"), await cluster.node("b")
    await b.sessions.tell_superseded(a.backplane.node_id, "s", 7)
    await b.sessions.tell_superseded("nobody", "s", 8)
    await eventually(a.receiver.controls)
    await b.sessions.tell_superseded(b.backplane.node_id, "s", 9)
    await eventually(b.receiver.controls)
    assert [entry.control for entry in a.receiver.controls()] == [
        SupersedeSession(session="s", token=7)
    ]
    assert [entry.control for entry in b.receiver.controls()] == [
        SupersedeSession(session="s", token=9)
    ]


# --- server-side subscriptions --------------------------------------------------------------------


async def test_a_users_subscriptions_come_with_every_claim(cluster: Cluster) -> None:
    """Every connection of the user gets them, on every node, with or without a session."""
    a, b = await cluster.node("a"), await cluster.node("b")
    assert await a.sessions.subscribe("ann", "room", GRANT, limit=2)
    assert dict(await b.sessions.user_subscriptions("ann")) == {"room": GRANT}
    first = await claim(b)
    assert dict(first.subscriptions) == {"room": GRANT}
    second = await claim(a, first.owner.session)
    assert dict(second.subscriptions) == {"room": GRANT}
    assert dict(await a.sessions.user_subscriptions("bob")) == {}
    await a.kill()
    await cluster.pass_time(cluster.lease_s + 1.2)
    assert dict(await b.sessions.user_subscriptions("ann")) == {"room": GRANT}


async def test_subscriptions_of_a_user_are_bounded(cluster: Cluster) -> None:
    """Beyond the limit none is kept; one can be replaced, and an expired one counts no more."""
    a = await cluster.node("a")
    assert await a.sessions.subscribe("ann", "room", GRANT, limit=1)
    assert not await a.sessions.subscribe("ann", "hall", GRANT, limit=1)
    replaced = KeptGrant(server_side=True, expires_at=1)
    assert await a.sessions.subscribe("ann", "room", replaced, limit=1)
    assert await a.sessions.subscribe("ann", "hall", GRANT, limit=1)
    assert dict(await a.sessions.user_subscriptions("ann")) == {"hall": GRANT}


async def test_a_sessions_subscription_is_its_own(cluster: Cluster) -> None:
    """One that is made for a session comes with its claims alone, and only its user makes it."""
    a, b = await cluster.node("a"), await cluster.node("b")
    first, other = await claim(a), await claim(a)
    session = first.owner.session
    assert await b.sessions.subscribe("ann", "room", GRANT, session=session, limit=1)
    assert not await b.sessions.subscribe("ann", "hall", GRANT, session=session, limit=1)
    assert not await b.sessions.subscribe("bob", "room", GRANT, session=session, limit=9)
    assert not await b.sessions.subscribe("ann", "room", GRANT, session="A" * 22, limit=9)
    assert dict((await claim(b, session)).subscriptions) == {"room": GRANT}
    assert dict((await claim(b, other.owner.session)).subscriptions) == {}
    assert dict(await b.sessions.user_subscriptions("ann")) == {}


@pytest.mark.parametrize("channel", ["room", ""], ids=["one channel", "all channels"])
@pytest.mark.parametrize("of_session", [False, True], ids=["of the user", "of the session"])
async def test_what_was_taken_is_told_with_the_next_claim(
    cluster: Cluster, channel: str, *, of_session: bool
) -> None:
    """An unsubscribe ends what was kept, and tells a session that has no connection."""
    a, b = await cluster.node("a"), await cluster.node("b")
    first = await claim(a)
    session = first.owner.session
    named = session if of_session else ""
    await a.sessions.subscribe("ann", "room", GRANT, session=named, limit=9)
    await a.sessions.release(first.owner, None, forget=False)
    await b.sessions.unsubscribe("ann", channel, session=named, remembered_ms=60_000)
    second = await claim(b, session)
    assert second.verdict is Verdict.RESUMED
    assert dict(second.subscriptions) == {}
    assert (second.revoked, second.all_revoked) == (
        frozenset({"room"} if channel else ()),
        not channel,
    )
    await cluster.pass_time(0.01)
    assert (await claim(b, (await claim(a)).owner.session)).verdict is Verdict.RESUMED


@pytest.mark.parametrize("of_session", [False, True], ids=["of the user", "of the session"])
async def test_a_revoked_session_is_not_resumed(cluster: Cluster, *, of_session: bool) -> None:
    """Sessions that had no connection then are over; those that begin later are not."""
    a = await cluster.node("a")
    first, bobs = await claim(a), await claim(a, user="bob")
    for owner in (first.owner, bobs.owner):
        await a.sessions.release(owner, None, forget=False)
    session = first.owner.session if of_session else ""
    await a.sessions.revoke("ann", session=session, remembered_ms=60_000)
    assert (await claim(a, first.owner.session)).verdict is Verdict.REVOKED
    assert (await claim(a, bobs.owner.session, "bob")).verdict is Verdict.RESUMED
    await cluster.pass_time(0.01)
    later = await claim(a)
    await a.sessions.release(later.owner, None, forget=False)
    assert (await claim(a, later.owner.session)).verdict is Verdict.RESUMED


async def test_a_revocation_has_room_behind_all_that_was_taken(cluster: Cluster) -> None:
    """However much was taken from a user before, sessions that are ended are not resumed."""
    a = await cluster.node("a")
    first = await claim(a, window_s=60)
    await a.sessions.release(first.owner, None, forget=False)
    for number in range(MANY):
        await a.sessions.unsubscribe("ann", f"room {number}", remembered_ms=60_000)
    await a.sessions.revoke("ann", remembered_ms=60_000)
    assert (await claim(a, first.owner.session)).verdict is Verdict.REVOKED


async def test_calls_about_what_is_not_there_do_nothing(cluster: Cluster) -> None:
    """Nobody's subscriptions can be ended, and an unknown session's."""
    a = await cluster.node("a")
    await a.sessions.unsubscribe("ann", "room", remembered_ms=0)
    await a.sessions.unsubscribe("ann", "", session="A" * 22, remembered_ms=1000)
    await a.sessions.revoke("ann", session="A" * 22, remembered_ms=1000)
    claimed = await claim(a, "A" * 22)
    assert claimed.verdict is Verdict.UNKNOWN
    assert not await a.sessions.release(
        claimed.owner._replace(session="A" * 22), None, forget=False
    )
