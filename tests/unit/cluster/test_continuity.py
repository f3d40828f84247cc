"""What shows that a store has lost acknowledged writes, and what does not."""

from __future__ import annotations

import pytest

from realtime_node.cluster.on_redis.continuity import Continuity, missing
from realtime_node.cluster.on_redis.instruments import NoInstruments
from realtime_node.cluster.on_redis.keys import Keys
from realtime_node.cluster.on_redis.traces import Seen, Traces

_ENTRY = [b"p7 e news", b"payload"]


@pytest.mark.parametrize(
    ("seen", "last", "oldest", "entry", "lost"),
    [
        (Seen(0, None), 0, b"1-1", [], ""),
        (Seen(5, None), 5, b"1-1", [], ""),
        (Seen(5, None), 9, b"1-1", [], ""),
        (Seen(5, None), 4, b"1-1", [], "publish 5"),
        (Seen(0, (7, _ENTRY)), 0, b"1-3", _ENTRY, ""),
        (Seen(0, (7, _ENTRY)), 0, b"1-3", [], "entry 7"),
        (Seen(0, (7, _ENTRY)), 0, b"1-3", [b"p7 e news", b"another"], "entry 7"),
        (Seen(0, (7, _ENTRY)), 0, b"1-8", [], ""),
        (Seen(0, (7, _ENTRY)), 0, b"", [], ""),
    ],
    ids=[
        "nothing seen",
        "mark as acknowledged",
        "mark beyond: an unanswered one was executed",
        "mark before",
        "same entry",
        "entry gone",
        "another entry",
        "trimmed below",
        "no inbox",
    ],
)
def test_a_loss_is_what_was_seen_and_is_not_there(
    seen: Seen, last: int, oldest: bytes, entry: list[bytes], lost: str
) -> None:
    """A mark that ends too early, or an entry that is missing or another, and nothing else."""
    found = missing(seen, last, oldest, entry)
    assert lost in found
    assert bool(found) is bool(lost)


def test_an_acknowledgement_counts_for_the_identity_that_made_it() -> None:
    """A late answer to a burnt identity says nothing about the mark of the next."""
    traces = Traces(1)
    traces.begin("a")
    traces.acknowledged("a", 0, 3)
    traces.acknowledged("a", 0, 2)
    assert traces[0].seen().published == 3
    traces.begin("b")
    traces.acknowledged("a", 0, 4)
    assert traces[0].seen().published == 0


def test_a_loss_that_others_noticed_is_not_noticed_again() -> None:
    """Who hears of a new generation compares nothing of the old one any more, and tells it once."""
    traces, told = Traces(1), list[int]()
    traces.begin("a")
    traces[0].generation = b"before"
    traces.acknowledged("a", 0, 3)
    traces.took("a", 0, 7, _ENTRY)
    continuity = Continuity(
        Keys("p", 1),
        traces,
        NoInstruments(),
        node_id=lambda: "a",
        is_absent=lambda _: False,
        on_rotated=told.append,
        on_gone=lambda: None,
    )
    continuity.learn(0, b"after")
    continuity.learn(0, b"after")
    assert told == [0]
    assert traces[0].seen() == Seen(0, None)
