"""A node dies under load, and no subscriber misses anything that was acknowledged.

The ledger holds what the publisher was told of every acknowledged publication. At the end each
subscriber's own reading is compared with it, whatever happened meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Protocol

import centrifuge
import pytest

from tests.support.conditions import eventually
from tests.support.forwarder import Forwarder
from tests.support.ledger import Reading
from tests.support.node_process import NodeProcess
from tests.support.publishing_load import PublishingLoad
from tests.support.recovering_client import RecoveringClient
from tests.support.redis_server import RedisServer
from tests.support.tokens import SECRET, token

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_API_KEY: Final = "killed"
_CHANNELS: Final = [f"load:{n}" for n in range(20)]
_LIGHT_CLIENTS: Final = 160
_SDK_CLIENTS: Final = 40
_PUBLICATIONS_PER_S: Final = 500
_BEFORE_THE_KILL_S: Final = 4.0
_AFTER_THE_KILL_S: Final = 4.0

_SETTINGS: Final[dict[str, Any]] = {
    "http_api": {"key": _API_KEY},
    "client": {"token": {"hmac_secret_key": SECRET}},
    "log": {"level": "warn"},
    "channel": {
        "namespaces": [
            {
                "name": "load",
                "history_size": 2000,
                "history_ttl": "300s",
                "force_recovery": True,
                "allow_subscribe_for_client": True,
            }
        ]
    },
}


class Subscriber(Protocol):
    """What is asked of every client at the end."""

    reading: Reading
    connections: int
    subscribed_at: float


class SdkSubscriber(centrifuge.ClientEventHandler, centrifuge.SubscriptionEventHandler):  # type: ignore[misc] # the SDK is untyped
    """A client of centrifuge-python that is subscribed to one channel."""

    def __init__(self, url: str, channel: str) -> None:
        """Prepare a client that knows one address."""
        self.reading = Reading(channel)
        self.connections = 0
        self.subscribed_at = 0.0
        self._client = centrifuge.Client(
            url, token=token(sub="sdk"), events=self, max_reconnect_delay=1.0, proxy=None
        )

    async def start(self) -> None:
        """Connect and subscribe."""
        subscription = self._client.new_subscription(self.reading.channel, events=self)
        await self._client.connect()
        await subscription.subscribe()
        await subscription.ready()

    async def close(self) -> None:
        """Disconnect, and wait for the transport that the SDK leaves to the background."""
        connection = self._client._conn
        await self._client.disconnect()
        if connection is not None:
            await connection.wait_closed()

    async def on_connected(self, ctx: centrifuge.ConnectedContext) -> None:
        """Count."""
        del ctx
        self.connections += 1

    async def on_subscribed(self, ctx: centrifuge.SubscribedContext) -> None:
        """Go on from the position, or begin anew there."""
        position = ctx.stream_position
        self.reading.subscribed(position.epoch, position.offset, recovered=ctx.recovered)
        self.subscribed_at = time.monotonic()

    async def on_publication(self, ctx: centrifuge.PublicationContext) -> None:
        """Keep what arrived."""
        self.reading.took(ctx.pub.offset, ctx.pub.data)


@pytest.mark.thorough
async def test_a_killed_node_costs_no_subscriber_an_acknowledged_publication(
    tmp_path: Path,
) -> None:
    """Three nodes, 200 clients, 500 publications a second: after a SIGKILL all have everything."""
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        engine = {"type": "redis", "redis": {"address": redis.url}}
        nodes = [
            await stack.enter_async_context(
                NodeProcess({**_SETTINGS, "engine": engine}, tmp_path, name=f"node-{n}")
            )
            for n in range(3)
        ]
        light, sdk = await _subscribe(stack, nodes)
        clients: list[Subscriber] = [*light, *sdk]
        publisher = PublishingLoad(nodes, _CHANNELS, api_key=_API_KEY, per_s=_PUBLICATIONS_PER_S)

        await publisher.run(_BEFORE_THE_KILL_S)
        running = asyncio.create_task(publisher.run(_AFTER_THE_KILL_S))
        await asyncio.sleep(0.5)  # in the middle of it, with calls under way
        victim = nodes[0]
        on_victim = [client for client in light if client.url == victim.websocket_url]
        victim.kill()
        killed_at = time.monotonic()
        await running
        ledger, readings = publisher.ledger, [client.reading for client in clients]
        await eventually(
            lambda: all(map(ledger.is_up_to_date, readings)),
            what="all are back",
        )
        assert not [client.failure for client in light if client.failure]
        came_back = [client for client in clients if client.connections > 1]
        back_after = [client.subscribed_at - killed_at for client in came_back]
        verdicts = [ledger.judge(reading) for reading in readings]
        lost, doubled, disordered = (sum(column) for column in zip(*verdicts, strict=True))
        sys.stdout.write(
            f"{ledger.count} publications acknowledged, {publisher.unknown} with no answer;"
            f" {sum(reading.count for reading in readings)} deliveries\n"
            f"{len(came_back)} of {len(clients)} clients reconnected, the last"
            f" {max(back_after):.2f} s after the kill\n"
            f"lost {lost}, doubled {doubled}, out of order {disordered}\n"
        )
        assert len(came_back) >= len(on_victim) > _LIGHT_CLIENTS // 4
        assert all(client.connections == 1 for client in light if client not in on_victim)
        assert not any(reading.times_told for reading in readings)
        assert publisher.refused == 0
        assert (lost, doubled, disordered) == (0, 0, 0)


async def _subscribe(
    stack: AsyncExitStack, nodes: Sequence[NodeProcess]
) -> tuple[list[RecoveringClient], list[SdkSubscriber]]:
    """Subscribe all clients, each kind spread evenly over channels and nodes."""
    urls = [node.websocket_url for node in nodes]
    light = []
    for n in range(_LIGHT_CLIENTS):
        turn = n % len(urls)
        own = [*urls[turn:], *urls[:turn]]
        client = RecoveringClient(own, token(sub=f"light-{n}"), _CHANNELS[n % len(_CHANNELS)])
        stack.push_async_callback(client.close)
        light.append(client)
    forwarder = await stack.enter_async_context(Forwarder([node.port for node in nodes]))
    sdk_url = f"ws://127.0.0.1:{forwarder.port}/connection/websocket"
    sdk = [SdkSubscriber(sdk_url, _CHANNELS[n % len(_CHANNELS)]) for n in range(_SDK_CLIENTS)]
    for subscriber in sdk:
        stack.push_async_callback(subscriber.close)
        await subscriber.start()
    await eventually(lambda: all(client.url for client in light), what="all have subscribed")
    return light, sdk
