"""The contract of `Backplane`, held against every implementation with several nodes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from msgspec import UNSET, Raw

from realtime_node.cluster.backplane import (
    WITHOUT_HISTORY,
    Control,
    DisconnectUser,
    EntryKind,
    StreamOptions,
    SubscribeUser,
    UnsubscribeUser,
)
from realtime_node.errors import BackplaneUnavailableError, UnrecoverablePositionError
from realtime_node.protocol.messages import ClientInfo, Publication, StreamPosition
from tests.support.backplanes import HISTORY, Node, Recorder, text
from tests.support.conditions import NEVER_S, eventually

if TYPE_CHECKING:
    from tests.support.backplanes import Cluster


async def _nodes(cluster: Cluster, count: int) -> list[Node]:
    return [await cluster.node(name) for name in "abc"[:count]]


def _sequences_by_partition(receiver: Recorder) -> dict[int, list[int]]:
    sequences: dict[int, list[int]] = defaultdict(list)
    for entry in receiver.entries:
        sequences[entry.partition].append(entry.sequence)
    return sequences


# --- publishing and the inbox -----------------------------------------------------------------


async def test_a_publication_reaches_every_interested_node_and_no_other(cluster: Cluster) -> None:
    """What one node publishes is in the inbox of those who subscribed, whoever published."""
    a, b, c = await _nodes(cluster, 3)
    await a.backplane.subscribe("news", HISTORY)
    await b.backplane.subscribe("news", HISTORY)
    await c.backplane.subscribe("other", HISTORY)
    published = await c.publish("news", "hello")
    await c.publish("other", "end")
    for node in (a, b):
        assert await node.receiver.has("news", 1) == ["hello"]
        entry = node.receiver.of("news")[0]
        assert entry.kind is EntryKind.PUBLICATION
        assert entry.epoch == published.epoch
        assert entry.publication is not None
        assert entry.publication.offset == published.offset == 1
    assert await c.receiver.has("other", 1) == ["end"]
    assert c.receiver.texts("news") == []


async def test_all_of_a_publication_arrives(cluster: Cluster) -> None:
    """Data, tags and the publisher's info come out as they went in, from inbox and history."""
    a, b = await _nodes(cluster, 2)
    await b.backplane.subscribe("news", HISTORY)
    sent = Publication(
        data=Raw(b'{"a": [1, "\xc3\xbc"]}'),
        info=ClientInfo(user="u", client="c", conn_info=Raw(b'{"x":1}')),
        tags={"key": "value"},
    )
    await a.backplane.publish("news", sent, HISTORY)
    await b.receiver.has("news", 1)
    page = await a.backplane.history("news", HISTORY, limit=-1)
    for got in (b.receiver.entries[0].publication, page.publications[0]):
        assert got is not None
        assert bytes(got.data) == bytes(sent.data)
        assert got.tags == sent.tags
        assert got.info is not None
        assert (got.info.user, got.info.client) == ("u", "c")
        assert isinstance(got.info.conn_info, Raw)
        assert bytes(got.info.conn_info) == b'{"x":1}'
        assert got.info.chan_info is UNSET


async def test_all_nodes_see_one_order(cluster: Cluster) -> None:
    """Concurrent publishes from several nodes have one order, the same in every inbox."""
    nodes = await _nodes(cluster, 3)
    for options, channel in ((HISTORY, "kept"), (WITHOUT_HISTORY, "passing")):
        for node in nodes:
            await node.backplane.subscribe(channel, options)
        await asyncio.gather(
            *(
                node.publish(channel, f"{node.name}{index}", options)
                for index in range(50)
                for node in nodes
            )
        )
        orders = [await node.receiver.has(channel, 150) for node in nodes]
        assert orders[0] == orders[1] == orders[2]
        assert len(set(orders[0])) == 150
    offsets = [
        entry.publication and entry.publication.offset for entry in nodes[0].receiver.of("kept")
    ]
    assert offsets == list(range(1, 151))


async def test_publishes_of_one_task_keep_their_order(cluster: Cluster) -> None:
    """Publishes begun one after the other are executed so, though none waits for its answer."""
    a, b = await _nodes(cluster, 2)
    await b.backplane.subscribe("news", WITHOUT_HISTORY)
    await a.publish("news", "first", WITHOUT_HISTORY)
    await asyncio.gather(*(a.publish("news", str(n), WITHOUT_HISTORY) for n in range(300)))
    assert await b.receiver.has("news", 301) == ["first", *map(str, range(300))]


async def test_sequences_have_no_hole(cluster: Cluster) -> None:
    """Sequences grow by one per partition, and `Published.sequence` names the own entry's."""
    a, b = await _nodes(cluster, 2)
    channels = [f"channel {number}" for number in range(20)]
    for channel in channels:
        await a.backplane.subscribe(channel, HISTORY)
    results = await asyncio.gather(
        *(node.publish(channel, node.name) for channel in channels for node in (a, b))
    )
    await eventually(lambda: len(a.receiver.entries) == 40)
    for sequences in _sequences_by_partition(a.receiver).values():
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    own = {
        (entry.partition, entry.sequence)
        for entry in a.receiver.entries
        if entry.publication and text(entry.publication) == "a"
    }
    assert {result.sequence for result in results if result.sequence} == own
    assert sum(result.sequence is None for result in results) == 20


async def test_offsets_count_per_channel(cluster: Cluster) -> None:
    """Every channel with history counts from one, within its own epoch."""
    (a,) = await _nodes(cluster, 1)
    for channel in ("x", "y"):
        published = [await a.publish(channel, str(number)) for number in range(3)]
        assert [result.offset for result in published] == [1, 2, 3]
        assert len({result.epoch for result in published}) == 1
        assert published[0].epoch
    plain = await a.publish("z", "no history", WITHOUT_HISTORY)
    assert (plain.offset, plain.epoch) == (0, "")


async def test_an_idempotency_key_publishes_once(cluster: Cluster) -> None:
    """The same key returns the first result on any node and brings nothing into an inbox."""
    a, b = await _nodes(cluster, 2)
    await b.backplane.subscribe("news", HISTORY)
    first = await a.publish("news", "once", key="k")
    again = [await node.publish("news", "once", key="k") for node in (a, b)]
    other = await a.publish("news", "other key", key="k2")
    elsewhere = await a.publish("other", "other channel", key="k")
    assert {(result.offset, result.epoch) for result in again} == {(first.offset, first.epoch)}
    assert (first.offset, other.offset, elsewhere.offset) == (1, 2, 1)
    assert await b.receiver.has("news", 2) == ["once", "other key"]


async def test_an_idempotency_key_belongs_to_its_channel(cluster: Cluster) -> None:
    """Where a channel's name ends and a key begins is no matter of how they look together."""
    (a,) = await _nodes(cluster, 1)
    for channel, key in (("a:1", "b:7"), ("a:1:b", "7"), ("a", "1:b:7"), ("1:a", ":b:7")):
        await a.publish(channel, channel, key=key)
        page = await a.backplane.history(channel, HISTORY, limit=-1)
        assert [text(publication) for publication in page.publications] == [channel]


async def test_publications_of_one_moment_keep_their_order(cluster: Cluster) -> None:
    """A batch is not awaited one by one, also where its interest is still to be learned."""
    a, b = await _nodes(cluster, 2)
    await b.backplane.subscribe("news", HISTORY)
    results = await asyncio.gather(*(a.publish("news", str(number)) for number in range(600)))
    assert [result.offset for result in results] == list(range(1, 601))
    assert await b.receiver.has("news", 600) == [str(number) for number in range(600)]


async def test_a_big_publication_arrives(cluster: Cluster) -> None:
    """A payload of megabytes takes the same way as a small one."""
    a, b = await _nodes(cluster, 2)
    await b.backplane.subscribe("news", HISTORY)
    big = "x" * 3_000_000
    await a.publish("news", big)
    await a.publish("news", "small")
    assert await b.receiver.has("news", 2) == [big, "small"]


async def test_many_channels_arrive_complete(cluster: Cluster) -> None:
    """A hundred channels at once lose nothing and keep their orders."""
    a, b = await _nodes(cluster, 2)
    channels = [f"c{number}" for number in range(100)]
    await asyncio.gather(*(b.backplane.subscribe(channel, HISTORY) for channel in channels))
    await asyncio.gather(
        *(a.publish(channel, str(number)) for number in range(5) for channel in channels)
    )
    for channel in channels:
        assert await b.receiver.has(channel, 5) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("channel", ["ns:a b", "$private", "x#u1,u2", "ü{1}\n", "a" * 255])
async def test_any_channel_name_works(cluster: Cluster, channel: str) -> None:
    """Channel names hold what users put into them, separators of keys and headers included."""
    a, b = await _nodes(cluster, 2)
    await b.backplane.subscribe(channel, HISTORY)
    await a.publish(channel, "hello", key="k e y")
    assert await b.receiver.has(channel, 1) == ["hello"]


async def test_a_slow_receiver_slows_its_own_inbox_only(cluster: Cluster) -> None:
    """Entries wait in the store while a receiver has no room, and come in order when it has."""
    a, b = await _nodes(cluster, 2)
    for node in (a, b):
        await node.backplane.subscribe("news", HISTORY)
    a.receiver.room.clear()
    for number in range(30):
        await b.publish("news", str(number))
    await b.receiver.has("news", 30)
    assert a.receiver.entries == []
    a.receiver.room.set()
    assert await a.receiver.has("news", 30) == [str(number) for number in range(30)]
    assert a.receiver.losses == []


# --- interest ---------------------------------------------------------------------------------


async def test_a_subscribe_and_the_inbox_are_the_channel(cluster: Cluster) -> None:
    """Under concurrent publishes, what a subscribe returns and what follows have no hole."""
    a, b, c = await _nodes(cluster, 3)

    offsets: list[int] = []

    async def publish(node: Node) -> None:
        for number in range(100):
            offsets.append((await node.publish("news", f"{node.name}{number}")).offset)
            await asyncio.sleep(0)

    publishers = [asyncio.create_task(publish(node)) for node in (a, b)]
    answers = []
    for start in (20, 60, 100, 140):
        while len(offsets) < start:
            await asyncio.sleep(0)
        answers.append(
            await c.backplane.subscribe("news", HISTORY, since=StreamPosition(offset=0), limit=1000)
        )
    assert 20 <= answers[0].top.offset < 200
    await asyncio.gather(*publishers)
    everything = await c.backplane.history("news", HISTORY, limit=-1)
    expected = [text(publication) for publication in everything.publications]
    assert len(expected) == 200
    await eventually(
        lambda: any(
            entry.publication and entry.publication.offset == 200 for entry in c.receiver.of("news")
        )
    )
    for answer in answers:
        top = answer.top.offset
        assert [publication.offset for publication in answer.publications] == list(
            range(1, top + 1)
        )
        following = [
            text(entry.publication)
            for entry in c.receiver.of("news")
            if entry.publication and entry.publication.offset > top
        ]
        assert [text(publication) for publication in answer.publications] + following == expected


async def test_a_subscribe_returns_what_was_missed_up_to_its_limit(cluster: Cluster) -> None:
    """What follows the asked offset is returned, oldest first; more than `limit` leaves a hole."""
    a, b = await _nodes(cluster, 2)
    for number in range(1, 6):
        await a.publish("news", str(number))

    async def missed(offset: int, limit: int) -> tuple[list[str], int]:
        answer = await b.backplane.subscribe(
            "news", HISTORY, since=StreamPosition(offset=offset), limit=limit
        )
        return [text(publication) for publication in answer.publications], answer.top.offset

    assert await missed(2, 10) == (["3", "4", "5"], 5)
    assert await missed(2, 2) == (["3", "4"], 5)
    assert await missed(5, 10) == ([], 5)
    assert await missed(9, 10) == ([], 5)
    unasked = await b.backplane.subscribe("news", HISTORY)
    assert unasked.publications == []


async def test_an_epoch_exists_from_the_first_subscribe(cluster: Cluster) -> None:
    """A subscriber of an unused channel gets the epoch that the first publication will have."""
    a, b = await _nodes(cluster, 2)
    answer = await b.backplane.subscribe("news", HISTORY)
    assert answer.top.offset == 0
    assert answer.top.epoch
    assert (await a.publish("news", "first")).epoch == answer.top.epoch


async def test_a_channel_without_history_has_no_position(cluster: Cluster) -> None:
    """Its top position is all zero values and nothing can be missed."""
    (a,) = await _nodes(cluster, 1)
    await a.publish("news", "gone", WITHOUT_HISTORY)
    answer = await a.backplane.subscribe(
        "news", WITHOUT_HISTORY, since=StreamPosition(offset=0), limit=10
    )
    assert answer.top == StreamPosition()
    assert answer.publications == []


async def test_a_released_channel_falls_silent(cluster: Cluster) -> None:
    """Some time after `release` nothing of the channel reaches the node any more."""
    a, b = await _nodes(cluster, 2)
    await b.backplane.subscribe("news", HISTORY)
    await b.backplane.subscribe("end", HISTORY)
    await a.publish("news", "heard")
    assert await b.receiver.has("news", 1) == ["heard"]
    b.backplane.release("news")

    async def is_silent() -> bool:
        before = len(b.receiver.texts("news"))
        ends = len(b.receiver.texts("end"))
        await a.publish("news", "?")
        await a.publish("end", "!")
        await b.receiver.has("end", ends + 1)
        return len(b.receiver.texts("news")) == before

    async with asyncio.timeout(NEVER_S):
        while not await is_silent():
            await asyncio.sleep(0.01)
    assert await is_silent()


async def test_a_subscribe_after_a_release_is_not_undone_by_it(cluster: Cluster) -> None:
    """However release and subscribe alternate, the last word holds."""
    a, b = await _nodes(cluster, 2)
    for round_number in range(20):
        await b.backplane.subscribe("news", HISTORY)
        b.backplane.release("news")
        await b.backplane.subscribe("news", HISTORY)
        await a.publish("news", str(round_number))
        b.backplane.release("news")
    await b.backplane.subscribe("news", HISTORY)
    # Long enough for every release above to have come due.
    await cluster.pass_time(0.2)
    await a.publish("news", "last")
    texts = await b.receiver.has("news", 21)
    assert texts == [*map(str, range(20)), "last"]


# --- history ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "since", "reverse", "expected"),
    [
        (0, None, False, ""),
        (-1, None, False, "12345"),
        (2, None, False, "12"),
        (9, None, False, "12345"),
        (-1, 2, False, "345"),
        (2, 2, False, "34"),
        (-1, 0, False, "12345"),
        (-1, 5, False, ""),
        (0, None, True, ""),
        (-1, None, True, "54321"),
        (2, None, True, "54"),
        (-1, 4, True, "321"),
        (2, 4, True, "32"),
        (-1, 1, True, ""),
        (-1, 0, True, ""),
    ],
)
async def test_history_returns_pages(
    cluster: Cluster, limit: int, since: int | None, *, reverse: bool, expected: str
) -> None:
    """A page is limited, starts beside `since`, which it excludes, and may run backwards."""
    a, b = await _nodes(cluster, 2)
    epoch = (await a.publish("news", "1")).epoch
    for number in "2345":
        await a.publish("news", number)
    page = await b.backplane.history(
        "news",
        HISTORY,
        limit=limit,
        since=None if since is None else StreamPosition(offset=since, epoch=epoch),
        reverse=reverse,
    )
    assert "".join(text(publication) for publication in page.publications) == expected
    assert page.top == StreamPosition(offset=5, epoch=epoch)


async def test_history_refuses_a_position_of_another_epoch(cluster: Cluster) -> None:
    """An offset of another epoch says nothing about this stream."""
    (a,) = await _nodes(cluster, 1)
    await a.publish("news", "1")
    with pytest.raises(UnrecoverablePositionError, match="other"):
        await a.backplane.history(
            "news", HISTORY, limit=-1, since=StreamPosition(offset=0, epoch="other")
        )
    page = await a.backplane.history("news", HISTORY, limit=-1, since=StreamPosition(offset=0))
    assert len(page.publications) == 1


async def test_history_keeps_the_newest(cluster: Cluster) -> None:
    """Beyond `history_size` the oldest publications go, exactly."""
    (a,) = await _nodes(cluster, 1)
    options = StreamOptions(history_size=3, history_ttl_ms=60_000)
    for number in range(1, 11):
        await a.publish("news", str(number), options)
    page = await a.backplane.history("news", options, limit=-1)
    assert [publication.offset for publication in page.publications] == [8, 9, 10]


async def test_a_channel_without_history_has_an_empty_page(cluster: Cluster) -> None:
    """Nothing is kept, and there is no position."""
    (a,) = await _nodes(cluster, 1)
    await a.publish("news", "gone", WITHOUT_HISTORY)
    page = await a.backplane.history("news", WITHOUT_HISTORY, limit=-1)
    assert (page.publications, page.top) == ([], StreamPosition())


async def test_removed_history_does_not_reset_offsets(cluster: Cluster) -> None:
    """After `remove_history` no publication is left, and the next one goes on counting."""
    a, b = await _nodes(cluster, 2)
    for number in range(2):
        await a.publish("news", str(number))
    before = await a.publish("news", "2")
    await b.backplane.remove_history("news")
    page = await a.backplane.history("news", HISTORY, limit=-1)
    assert (page.publications, page.top.offset) == ([], 3)
    after = await a.publish("news", "next")
    assert (after.offset, after.epoch) == (4, before.epoch)


async def test_history_ends_with_its_time_and_the_position_stays(cluster: Cluster) -> None:
    """After `history_ttl_ms` the publications are gone, the offset and epoch are not."""
    (a,) = await _nodes(cluster, 1)
    options = StreamOptions(history_size=10, history_ttl_ms=50)
    before = await a.publish("news", "1", options)
    await cluster.pass_time(0.1)
    page = await a.backplane.history("news", options, limit=-1)
    assert page.publications == []
    assert page.top == StreamPosition(offset=1, epoch=before.epoch)


async def test_an_expired_position_begins_another_epoch(cluster: Cluster) -> None:
    """When the meta has expired, offsets begin at one again and the epoch is another."""
    (a,) = await _nodes(cluster, 1)
    options = StreamOptions(history_size=10, history_ttl_ms=50, meta_ttl_ms=50)
    first = await a.publish("news", "1", options)
    await a.publish("news", "2", options)
    await cluster.pass_time(0.1)
    second = await a.publish("news", "3", options)
    assert second.offset == 1
    assert second.epoch != first.epoch
    page = await a.backplane.history("news", options, limit=-1)
    assert [text(publication) for publication in page.publications] == ["3"]


async def test_a_position_lives_as_long_as_its_history(cluster: Cluster) -> None:
    """A `meta_ttl_ms` below `history_ttl_ms` does not cut the history's numbering."""
    (a,) = await _nodes(cluster, 1)
    options = StreamOptions(history_size=10, history_ttl_ms=60_000, meta_ttl_ms=20)
    first = await a.publish("news", "1", options)
    await cluster.pass_time(0.1)
    second = await a.publish("news", "2", options)
    assert (second.offset, second.epoch) == (2, first.epoch)


# --- everything else that an inbox brings -----------------------------------------------------


async def test_joins_and_leaves_reach_the_interested_nodes(cluster: Cluster) -> None:
    """An announcement is an entry in order with the publications around it."""
    a, b, c = await _nodes(cluster, 3)
    await b.backplane.subscribe("news", HISTORY)
    info = ClientInfo(user="u", client="c1", chan_info=Raw(b'{"name":"x"}'))
    await a.backplane.announce("news", EntryKind.JOIN, info)
    await a.publish("news", "between")
    await a.backplane.announce("news", EntryKind.LEAVE, info)
    await eventually(lambda: len(b.receiver.of("news")) == 3)
    entries = b.receiver.of("news")
    assert [entry.kind for entry in entries] == [
        EntryKind.JOIN,
        EntryKind.PUBLICATION,
        EntryKind.LEAVE,
    ]
    for entry in (entries[0], entries[2]):
        assert entry.info is not None
        assert (entry.info.user, entry.info.client) == ("u", "c1")
        assert isinstance(entry.info.chan_info, Raw)
        assert bytes(entry.info.chan_info) == b'{"name":"x"}'
    assert c.receiver.of("news") == []


@pytest.mark.parametrize(
    "message",
    [
        UnsubscribeUser(user="u", channel="news", client="c"),
        SubscribeUser(
            user="u",
            channel="news",
            chan_info=b'{"x":1}',
            data=b"[]",
            recover_since=StreamPosition(offset=7, epoch="e"),
        ),
        DisconnectUser(user="u", whitelist=("c1", "c2"), code=3503, reason="force disconnect"),
    ],
    ids=lambda message: type(message).__name__,
)
async def test_a_control_message_reaches_every_node(cluster: Cluster, message: Control) -> None:
    """Every live node gets the message whole, whatever it is interested in, the sender too."""
    nodes = await _nodes(cluster, 3)
    await nodes[0].backplane.control(message)
    for node in nodes:
        await eventually(node.receiver.controls)
        assert [entry.control for entry in node.receiver.controls()] == [message]


async def test_a_control_message_reaches_nodes_that_joined_later(cluster: Cluster) -> None:
    """The sender learns of newcomers before it sends."""
    (a,) = await _nodes(cluster, 1)
    message = UnsubscribeUser(user="u", channel="news")
    await a.backplane.control(message)
    late = await cluster.node("late")
    await a.backplane.control(message)
    await eventually(lambda: len(a.receiver.controls()) == 2)
    await eventually(lambda: len(late.receiver.controls()) == 1)


# --- nodes ------------------------------------------------------------------------------------


async def test_nodes_are_listed_on_every_node(cluster: Cluster) -> None:
    """Every node lists all, in the order of their uid, with what they tell about themselves."""
    nodes = [await cluster.node(name) for name in ("b", "c", "a")]
    for node in nodes:
        assert await node.backplane.nodes() == [
            node.describe() for node in sorted(nodes, key=lambda node: node.name)
        ]


async def test_a_closed_node_is_gone_at_once(cluster: Cluster) -> None:
    """A node that leaves in order is off the list, and publishes to it end without an error."""
    a, b = await _nodes(cluster, 2)
    await b.backplane.subscribe("news", HISTORY)
    await b.backplane.close()
    assert [info.uid for info in await a.backplane.nodes()] == ["a"]
    assert (await a.publish("news", "to nobody")).offset == 1


async def test_a_killed_node_is_gone_with_its_lease(cluster: Cluster) -> None:
    """A node that died is listed until its lease has ended."""
    a, b = await _nodes(cluster, 2)
    await b.backplane.subscribe("news", HISTORY)
    await b.kill()
    assert [info.uid for info in await a.backplane.nodes()] == ["a", "b"]
    await cluster.pass_time(cluster.lease_s + 0.2)
    assert [info.uid for info in await a.backplane.nodes()] == ["a"]
    assert (await a.publish("news", "to nobody")).offset == 1


async def test_node_ids_differ(cluster: Cluster) -> None:
    """Every node has an identity of its own, before and after it joined."""
    nodes = await _nodes(cluster, 3)
    assert len({node.backplane.node_id for node in nodes}) == 3


# --- availability -----------------------------------------------------------------------------


async def test_a_started_node_is_available(cluster: Cluster) -> None:
    """A node is available from `start` to `close`."""
    (a,) = await _nodes(cluster, 1)
    assert a.backplane.is_available()
    await a.backplane.close()
    assert not a.backplane.is_available()


async def test_one_node_may_end_itself_in_a_period(cluster: Cluster) -> None:
    """Of several that ask at once one may; it is told so again, and the others later may."""
    nodes = await _nodes(cluster, 3)
    period_s = 0.5
    claims = await asyncio.gather(*(node.backplane.claim_restart(period_s) for node in nodes))
    assert sum(claims) == 1
    first = nodes[claims.index(True)]
    assert await first.backplane.claim_restart(period_s)
    second = next(node for node in nodes if node is not first)
    await cluster.pass_time(period_s + 0.1)
    assert await second.backplane.claim_restart(period_s)
    assert not await first.backplane.claim_restart(period_s)


async def test_a_claim_to_end_outlives_its_node(cluster: Cluster) -> None:
    """A node that has ended by its claim still keeps the others from it for the period."""
    a, b = await _nodes(cluster, 2)
    assert await a.backplane.claim_restart(600)
    await a.backplane.close()
    assert not await b.backplane.claim_restart(600)


async def test_a_closed_node_refuses_at_once(cluster: Cluster) -> None:
    """After `close` every operation raises, none hangs, and closing again is no error."""
    (a,) = await _nodes(cluster, 1)
    await a.backplane.close()
    info = ClientInfo(user="u", client="c")
    async with asyncio.timeout(NEVER_S):
        for operation in (
            a.publish("news", "late"),
            a.backplane.subscribe("news", HISTORY),
            a.backplane.history("news", HISTORY, limit=0),
            a.backplane.remove_history("news"),
            a.backplane.announce("news", EntryKind.JOIN, info),
            a.backplane.control(UnsubscribeUser(user="u", channel="news")),
            a.backplane.nodes(),
            a.backplane.claim_restart(60),
            a.presence.add("news", info),
            a.presence.get("news"),
        ):
            with pytest.raises(BackplaneUnavailableError):
                await operation
        a.backplane.release("news")
        await a.backplane.close()
