"""Somebody who watches all channels and sees clients flap: leaves and joins as nodes tell them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from tests.support.node_process import NodeProcess
from tests.support.tokens import token
from tests.support.wire_client import WireClient


class Observer:
    """Subscribed to joins and leaves of every channel. Made by `observing`."""

    def __init__(self, client: WireClient) -> None:
        """Look at what this one is told."""
        self._client = client

    def forget(self) -> None:
        """Count from now on."""
        self._client.inbox.clear()

    @property
    def flaps(self) -> int:
        """How many joins and leaves were announced since; nobody came for the first time.

        Raises:
            AssertionError: the observer was not told, since it lost its own connection.
        """
        assert not self._client.closed, "the observer lost its connection"
        return sum(_is_about_presence(message) for message in self._client.inbox)


def _is_about_presence(message: dict[str, Any]) -> bool:
    return bool({"join", "leave"} & message.get("push", {}).keys())


@contextlib.asynccontextmanager
async def observing(node: NodeProcess, channels: Sequence[str]) -> AsyncIterator[Observer]:
    """Subscribe somebody on a node."""
    async with await WireClient.open(node.websocket_url) as client:
        replies = [await client.call({"id": 1, "connect": {"token": token(sub="observer")}})]
        for number, channel in enumerate(channels, start=2):
            request = {"channel": channel, "join_leave": True}
            replies.append(await client.call({"id": number, "subscribe": request}))
        refused = [reply for reply in replies if "error" in reply or "close" in reply]
        assert not refused, f"the observer was refused: {refused[0]}"
        yield Observer(client)
