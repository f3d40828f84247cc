"""A socket that was taken over from aiohttp has an owner, whatever its upgrade raises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from realtime_node.admission.door import Door
from realtime_node.composition import rules
from realtime_node.config import Settings
from realtime_node.protocol.deflate import UNCOMPRESSED
from realtime_node.proxy.headers import NOTHING_KEPT
from realtime_node.server import upgrade
from realtime_node.server.handshake import Accepted
from realtime_node.server.upgrade import WebSocketEndpoint
from tests.support.conditions import NEVER_S
from tests.support.failure_counts import counted_failures
from tests.support.fakes import FakeNode, FakeTransport

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.mark.parametrize(
    ("error", "counted"), [(ValueError("a bug"), {"upgrade": 1}), (ConnectionResetError(), {})]
)
@pytest.mark.parametrize("at", ["bound_buffers", "WebSocketConnection"])
async def test_an_upgrade_that_fails_ends_its_connection(
    monkeypatch: pytest.MonkeyPatch, at: str, error: Exception, counted: Mapping[str, int]
) -> None:
    """It is cut off; a bug is counted, and the node's end waits for nobody."""
    node = FakeNode(client={"insecure": True})
    settings = Settings()
    endpoint = WebSocketEndpoint(
        node.services, door=Door(node.clock, lambda: 0.0), terms=rules.upgrade_terms(settings)
    )

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(upgrade, "bound_buffers", lambda *_: None)
    monkeypatch.setattr(upgrade, at, fails)
    transport = FakeTransport()
    with counted_failures() as counts:
        endpoint._open(transport, Accepted(b"101", "", UNCOMPRESSED), b"", kept=NOTHING_KEPT)
    assert transport.end == "aborted"
    assert counts.errors == counted
    assert endpoint.num_connections == node.registry.num_open == 0
    await asyncio.wait_for(endpoint.wait_closed(), NEVER_S)
