"""The official SDKs before a door that is shut: they back off, come back, and are let in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.support.conditions import NEVER_S
from tests.support.node_process import NodeProcess
from tests.support.raw_websocket import RawWebSocket
from tests.support.tokens import SECRET, token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.integration.sdk.clients import SdkClient


async def _status(node: NodeProcess) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http, http.get(f"{node.http_url}/status") as answer:
        status: dict[str, Any] = await answer.json()
        return status


async def test_a_refused_sdk_comes_back_and_is_let_in(
    tmp_path: Path, new_client: Callable[[], Awaitable[SdkClient]]
) -> None:
    """A handshake that was answered with 503 is tried again until there is a place."""
    settings = {
        "client": {"token": {"hmac_secret_key": SECRET}},
        "admission": {"max_connections": 1},
        "log": {"level": "warn"},
    }
    async with NodeProcess(settings, tmp_path) as node:
        client = await new_client()
        with RawWebSocket(node.port):
            connecting = asyncio.create_task(client.connect(node.websocket_url, token(sub="ann")))
            async with asyncio.timeout(NEVER_S):
                while (await _status(node))["refused_total"] < 2:
                    await asyncio.sleep(0.02)
            assert not connecting.done()
        async with asyncio.timeout(NEVER_S):
            await connecting


async def test_an_sdk_that_has_to_wait_is_let_in(
    tmp_path: Path, new_client: Callable[[], Awaitable[SdkClient]]
) -> None:
    """A handshake that waits for its turn succeeds in the end, without a second one."""
    settings = {
        "client": {"token": {"hmac_secret_key": SECRET}},
        "admission": {"connects_per_second": 1, "burst": 1},
        "log": {"level": "warn"},
    }
    async with NodeProcess(settings, tmp_path) as node:
        client = await new_client()
        with RawWebSocket(node.port):
            await client.connect(node.websocket_url, token(sub="ann"))
            status = await _status(node)
            assert (status["accepted_total"], status["refused_total"]) == (2, 0)
