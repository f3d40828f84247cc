"""The contract of `VerdictStore`, held against every implementation with several nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_node.cluster.verdicts import Prolongation

if TYPE_CHECKING:
    from realtime_node.cluster.verdicts import VerdictStore
    from tests.support.backplanes import Cluster

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))


async def _keep(
    store: VerdictStore, key: bytes = KEY, *, user: str = "ann", ttl_ms: int = 60_000
) -> None:
    stamp = (await store.find(key)).stamp
    await store.keep(key, b"yes\0\xff", user=user, stamp=stamp, ttl_ms=ttl_ms)


async def _verdict(store: VerdictStore, key: bytes = KEY) -> bytes | None:
    return (await store.find(key)).verdict


async def test_a_verdict_is_found_on_every_node(cluster: Cluster) -> None:
    """What one node keeps, byte for byte, another finds under the same key and no other."""
    a, b = (await cluster.node("a")).verdicts, (await cluster.node("b")).verdicts
    assert await _verdict(a) is None
    await _keep(a)
    assert await _verdict(b) == b"yes\0\xff"
    assert await _verdict(b, OTHER_KEY) is None


async def test_a_verdict_outlives_the_node_that_kept_it(cluster: Cluster) -> None:
    """A killed node's clients are known to those they come to."""
    a, b = await cluster.node("a"), await cluster.node("b")
    await _keep(a.verdicts)
    await a.kill()
    assert await _verdict(b.verdicts) == b"yes\0\xff"


async def test_a_verdict_ends_with_its_life(cluster: Cluster) -> None:
    """Nothing is found once its time has passed."""
    store = (await cluster.node("a")).verdicts
    await _keep(store, ttl_ms=150)
    await cluster.pass_time(0.2)
    assert await _verdict(store) is None


async def test_a_prolonged_verdict_lives_on(cluster: Cluster) -> None:
    """Of several at once each gets its own time; what is not there stays so."""
    store = (await cluster.node("a")).verdicts
    for key in (KEY, OTHER_KEY):
        await _keep(store, key, ttl_ms=1_000)
    gone = bytes(32)
    lives = [Prolongation(KEY, 60_000), Prolongation(OTHER_KEY, 100), Prolongation(gone, 60_000)]
    await store.prolong(lives)
    await cluster.pass_time(1.1)
    assert await _verdict(store) is not None
    assert await _verdict(store, OTHER_KEY) is None
    assert await _verdict(store, gone) is None


async def test_revoking_a_user_drops_all_their_verdicts_everywhere(cluster: Cluster) -> None:
    """Every verdict about the user is gone at once, on the other node too; no other user's is."""
    a, b = (await cluster.node("a")).verdicts, (await cluster.node("b")).verdicts
    await _keep(a)
    await _keep(a, OTHER_KEY, user="bob")
    await b.revoke("ann")
    for store in (a, b):
        assert await _verdict(store) is None
        assert await _verdict(store, OTHER_KEY) is not None


async def test_a_question_on_its_way_when_its_user_is_revoked_keeps_nothing(
    cluster: Cluster,
) -> None:
    """What the backend was asked before the revocation and answered after it, is not kept."""
    store = (await cluster.node("a")).verdicts
    stamp = (await store.find(KEY)).stamp
    await store.revoke("ann")
    await store.keep(KEY, b"stale", user="ann", stamp=stamp, ttl_ms=60_000)
    assert await _verdict(store) is None
    await _keep(store)
    assert await _verdict(store) == b"yes\0\xff"


async def test_a_revoked_verdict_cannot_be_prolonged(cluster: Cluster) -> None:
    """A node that has not yet heard of a revocation brings nothing back."""
    store = (await cluster.node("a")).verdicts
    await _keep(store)
    await store.revoke("ann")
    await store.prolong([Prolongation(KEY, 60_000)])
    assert await _verdict(store) is None


async def test_one_verdict_can_be_forgotten(cluster: Cluster) -> None:
    """The others of its user stay; an absent one is no error."""
    store = (await cluster.node("a")).verdicts
    await _keep(store)
    await _keep(store, OTHER_KEY)
    for _ in range(2):
        await store.forget(KEY)
    assert await _verdict(store) is None
    assert await _verdict(store, OTHER_KEY) is not None


async def test_a_user_may_have_any_name(cluster: Cluster) -> None:
    """The anonymous user and names with any characters are users like others."""
    store = (await cluster.node("a")).verdicts
    for user in ("", "ännchen {0}:\n"):
        await _keep(store, user=user)
        assert await _verdict(store) is not None
        await store.revoke(user)
        assert await _verdict(store) is None
