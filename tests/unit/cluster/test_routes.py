"""A publisher's calls, made ready in parts, are what they would be made whole."""

from __future__ import annotations

import pytest

from realtime_node.cluster.on_redis.keys import Keys
from realtime_node.cluster.on_redis.routes import Interested, Route, Routes
from realtime_node.cluster.on_redis.script import PUBLISH

KEYS = Keys("rt", 4)
NO_HISTORY = (0, 0, 0, 0, 100, 1000)
HISTORY = (10, 60_000, 120_000, 0, 100, 1000)


def _whole(
    channel: str,
    nodes: tuple[str, ...] = (),
    *,
    learned: tuple[bytes, int] = (b"0", 0),
    key: bytes = b"",
    settings: tuple[int, ...] = NO_HISTORY,
) -> bytes:
    """Publish 7 of node "me", encoded in one piece as the script's header has it.

    `learned` is the version and the place of the own inbox.
    """
    partition = KEYS.partition_of(channel)
    names, me = KEYS.channel(channel), KEYS.node(partition, "me")
    return PUBLISH.pack(
        (
            *(names.generation, me.node, me.mark, names.interest, names.meta, names.history),
            *(names.dedup + key, *(KEYS.node(partition, node).inbox for node in nodes)),
        ),
        (7, learned[0], channel, b"payload", *settings, learned[1]),
    )


@pytest.mark.parametrize("channel", ["news", "größe:№ 1", "x" * 255])
def test_a_channel_that_nobody_was_heard_of(channel: str) -> None:
    """A new route names no inboxes."""
    route = Route(KEYS, channel, "me")
    assert route.pack_publish(7, b"payload", b"", NO_HISTORY) == _whole(channel)


@pytest.mark.parametrize(
    ("nodes", "own"), [((), 0), (("a",), 0), (("a", "me"), 9), (("me", "b", "c"), 8)]
)
def test_who_is_interested_is_learned(nodes: tuple[str, ...], own: int) -> None:
    """What a script answered is what the next call names, its own inbox by its place."""
    route = Route(KEYS, "news", "me")
    route.pack_publish(7, b"payload", b"", HISTORY)
    for known in (("z",), nodes):
        route.learn(KEYS, "me", Interested(b"17", list(known)))
    packed = route.pack_publish(7, b"payload", b"", HISTORY)
    assert packed == _whole("news", nodes, learned=(b"17", own), settings=HISTORY)


def test_every_publish_has_the_settings_and_the_key_that_it_came_with() -> None:
    """Nothing of one publish is left in the next."""
    route = Route(KEYS, "news", "me")
    idempotent = (*HISTORY[:3], 300_000, *HISTORY[4:])
    for key, settings in [
        (b"", HISTORY),
        (b"once", idempotent),
        (b"twice", idempotent),
        (b"", HISTORY),
        (b"", NO_HISTORY),
    ]:
        packed = route.pack_publish(7, b"payload", key, settings)
        assert packed == _whole("news", key=key, settings=settings)


def test_the_route_used_least_is_forgotten() -> None:
    """At the limit a new channel takes the place of the one that was asked for longest ago."""
    routes = Routes(KEYS, 2)
    first = routes.route("first", "me")
    second = routes.route("second", "me")
    assert routes.route("first", "me") is first
    routes.route("third", "me")
    assert routes.route("first", "me") is first
    assert routes.route("second", "me") is not second


def test_a_new_identity_begins_with_new_routes() -> None:
    """A fenced node's routes name keys of the identity that it lost."""
    routes = Routes(KEYS, 2)
    old = routes.route("news", "me")
    assert routes.route("news", "me again") is not old
