"""Where a hub says that its channels stand: what a repair fills from there is not sent twice."""

from __future__ import annotations

from realtime_node.delivery.hub import Hub
from realtime_node.protocol.json_codec import JsonCodec
from realtime_node.protocol.messages import StreamPosition
from realtime_node.telemetry.metrics import Metrics
from tests.support.fakes import (
    FakeSlowClients,
    entry,
    framer_of,
    join_entry,
    plain_flow,
    settle,
)
from tests.unit.delivery.listeners import Listener


def _hub() -> Hub:
    return Hub(
        JsonCodec(),
        Metrics().delivery,
        FakeSlowClients(),
        framer=framer_of(),
        flow_of=plain_flow,
        on_deserted=lambda _: None,
        on_control=lambda _: None,
    )


def _at(offset: int, epoch: str = "e") -> StreamPosition:
    return StreamPosition(offset=offset, epoch=epoch)


async def test_a_channel_stands_where_its_first_subscriber_was_told() -> None:
    """Without a publication the position is that of the answer."""
    hub = _hub()
    Listener(hub, follows_stream=True).join(_at(4))
    assert hub.positions(["a"]) == {"a": _at(4)}


async def test_what_waits_for_its_frame_was_received() -> None:
    """The position is behind the last publication taken, delivered or not, whatever follows it."""
    hub = _hub()
    Listener(hub, follows_stream=True).join(_at(4))
    await hub.receive(
        [
            entry("a", 5, sequence=5, offset=5, epoch="e"),
            entry("a", 6, sequence=6, offset=6, epoch="e"),
            join_entry("a", "c"),
        ]
    )
    assert hub.positions(["a"]) == {"a": _at(6)}
    await settle()
    assert hub.positions(["a"]) == {"a": _at(6)}


async def test_another_epoch_is_part_of_the_position() -> None:
    """A stream that began anew counts from its own beginning."""
    hub = _hub()
    Listener(hub, follows_stream=True).join(_at(4))
    await hub.receive([entry("a", 1, sequence=5, offset=1, epoch="other")])
    assert hub.positions(["a"]) == {"a": _at(1, "other")}


async def test_a_channel_without_history_has_no_position() -> None:
    """Nothing can be compared where publications have no offset, or nobody subscribed."""
    hub = _hub()
    Listener(hub).join(StreamPosition())
    await hub.receive([entry("a", 1, sequence=1, offset=0, epoch="")])
    await settle()
    assert hub.positions(["a", "nobody's"]) == {}


async def test_the_hindmost_answered_joiner_counts_where_there_is_no_member() -> None:
    """Beside a subscriber without a position, the positions of those who have one are kept."""
    hub = _hub()
    Listener(hub).join(StreamPosition())
    Listener(hub, follows_stream=True).join(_at(9))
    Listener(hub, follows_stream=True).join(_at(7))
    assert hub.positions(["a"]) == {"a": _at(7)}
