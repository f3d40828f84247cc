"""A node on fakes for every test."""

from __future__ import annotations

from typing import Any, Protocol

import pytest

from tests.support.fakes import FakeNode

OPEN: dict[str, Any] = {
    "allow_subscribe_for_client": True,
    "allow_subscribe_for_anonymous": True,
    "allow_publish_for_client": True,
    "allow_publish_for_anonymous": True,
}
"""Options of channels that everybody may use."""
SEEN: dict[str, Any] = {
    "presence": True,
    "join_leave": True,
    "force_push_join_leave": True,
    "allow_presence_for_client": True,
    "allow_presence_for_anonymous": True,
}
"""Options of channels whose subscribers see each other."""
KEPT: dict[str, Any] = {
    "history_size": 10,
    "history_ttl": "60s",
    "force_recovery": True,
    "allow_history_for_client": True,
    "allow_history_for_anonymous": True,
}
"""Options of channels with history."""
CHANNELS: dict[str, Any] = {
    "without_namespace": OPEN,
    "namespaces": [
        {"name": "seen", **OPEN, **SEEN},
        {"name": "kept", **OPEN, **KEPT},
        {"name": "both", **OPEN, **SEEN, **KEPT},
        {"name": "grace", **OPEN, **SEEN, "presence_grace": "10s"},
        {"name": "heard", **OPEN, "join_leave": True, "force_push_join_leave": True},
        {"name": "closed"},
        {
            "name": "prices",
            **OPEN,
            **KEPT,
            "slow_client": {"policy": "latest", "key": "symbol"},
            "batch": {"interval": "20ms"},
        },
        {
            "name": "typing",
            **OPEN,
            "history_size": 10,
            "history_ttl": "60s",
            "allow_history_for_client": True,
            "slow_client": {"policy": "drop"},
        },
    ],
}


class MakeNode(Protocol):
    """Makes a node with `client` settings beside the usual ones."""

    def __call__(self, **client: Any) -> FakeNode:
        """Take settings by their names in the configuration."""


@pytest.fixture
async def make_node() -> MakeNode:
    """A node of the test's own settings; a fixture, so that it is made in a running loop."""

    def make(**client: Any) -> FakeNode:
        settings = {"allow_anonymous_connect_without_token": True, **client}
        return FakeNode(client=settings, channel=CHANNELS)

    return make


@pytest.fixture
async def node(make_node: MakeNode) -> FakeNode:
    """A node that lets anonymous clients in and has a namespace per kind of channel."""
    return make_node()
