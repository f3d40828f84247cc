"""The backend and the settings that docs/proxies.md shows do what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import web

from tests.integration.proxy.conftest import API_KEY
from tests.support.node_process import NodeProcess
from tests.support.wire_client import WireClient

if TYPE_CHECKING:
    from aiohttp.web import Application

DOCUMENT = Path(__file__).parents[3] / "docs" / "proxies.md"


def _example(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


async def test_the_documented_backend_lets_ann_in(tmp_path: Path) -> None:
    """Ann is who her cookie says and enters her rooms; a stranger is closed for good."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(_example("python"), names)  # noqa: S102 - our own document
    app: Application = names["app"]
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"127.0.0.1:{runner.addresses[0][1]}"
    settings = yaml.safe_load(_example("yaml").replace("localhost:3000", address))
    settings["http_api"] = {"key": API_KEY}
    async with NodeProcess(settings, tmp_path) as node:
        cookie = {"Cookie": "sid=1"}
        async with await WireClient.open(node.websocket_url, headers=cookie) as ann:
            assert "connect" in await ann.call({"id": 1, "connect": {}})
            garden = await ann.call({"id": 2, "subscribe": {"channel": "team:garden"}})
            assert garden == {"id": 2, "subscribe": {}}
            cellar = await ann.call({"id": 3, "subscribe": {"channel": "team:cellar"}})
            assert cellar["error"] == {"code": 403, "message": "not your room"}
        async with await WireClient.open(node.websocket_url) as stranger:
            reply = await stranger.call({"id": 1, "connect": {}})
            assert reply["close"] == {"code": 4501, "reason": "log in first"}
    await runner.cleanup()
