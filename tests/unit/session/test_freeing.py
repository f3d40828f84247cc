"""What a connection held is freed when it ends, without a collection of cycles.

A node has its collections far apart; in a storm, garbage that waits for one is memory that lacks.
"""

from __future__ import annotations

import gc
import logging
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from realtime_node.errors import BackplaneUnavailableError
from tests.support.fakes import settle

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from tests.support.fakes import FakeClient, FakeNode


class Marker:
    """Something that a session alone knows of."""


@contextmanager
def freed(client: FakeClient) -> Iterator[None]:
    """Demand that the session is freed at the end of the block, by counting references alone."""
    session: Any = client.session
    session.strikes = Marker()
    marker = weakref.ref(session.strikes)
    del session
    gc.collect()
    gc.disable()
    try:
        yield
        # The test's own way to it; the rest is the node's.
        client.session = None  # type: ignore[assignment]
        assert marker() is None
    finally:
        gc.enable()


async def test_a_client_that_goes_in_the_middle_of_a_command(node: FakeNode) -> None:
    """The command is cancelled where it waits, and nothing of it stays."""
    client = await node.connected()
    await client.ask(subscribe={"channel": "both:a"})
    with freed(client), node.backplane.hold("publish"):
        client.say(publish={"channel": "both:a", "data": 1})
        await settle()
        client.session.ended()
        await settle()


async def test_a_client_that_goes_before_its_command_begins(node: FakeNode) -> None:
    """What was to execute it never runs, and so cannot tidy up."""
    client = await node.connected()
    with freed(client):
        client.say(ping={})
        client.session.ended()
        await settle()


async def test_a_client_that_goes_while_it_is_let_in(node: FakeNode) -> None:
    """So are all its subscriptions that were being made."""
    client = node.client()
    channels = ("seen:a", "seen:b", "kept:c")
    with freed(client), node.presence.hold("add"):
        client.say(connect={"token": node.trust("ann", channels=channels)})
        await settle()
        client.session.ended()
        await settle()
        await node.departures.drain()


async def test_a_client_that_is_not_let_in(
    node: FakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure knows where it was raised; that must not keep alive what is known there."""
    caplog.set_level(logging.CRITICAL)  # pytest keeps records, and with them the failures
    client = node.client()
    # A class: each call raises a failure of its own, as a store does.
    node.backplane.failing["subscribe"] = BackplaneUnavailableError  # type: ignore[assignment]
    with freed(client):
        reply = await client.ask(connect={"token": node.trust("ann", channels=("a", "b"))})
        assert reply["error"]["temporary"]
        client.session.ended()
        await settle()


async def test_a_client_that_does_not_speak_the_protocol(node: FakeNode) -> None:
    """It is closed from within its own command."""
    client = await node.connected()
    with freed(client):
        client.say(subscribe={})
        await settle()
        assert client.link.code == 3501
