"""The official SDK's browser bundle on a page of somebody else's server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web
from playwright.async_api import expect

from tests.support.conditions import eventually
from tests.support.prerequisites import require

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.browser.conftest import OpenTab
    from tests.support.dev_cluster import DevCluster

pytestmark = pytest.mark.timeout(120)

BUNDLE: Final = Path(__file__).parent.parent / "js/node_modules/centrifuge/dist/centrifuge.js"
PAGE: Final = """<!doctype html>
<title>An application</title>
<script src="/centrifuge.js"></script>
<p id="state"></p><ul id="heard"></ul>
<script>
  const { url, token } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const client = new Centrifuge(url, { token, minReconnectDelay: 50, maxReconnectDelay: 200 });
  const news = client.newSubscription("news");
  const tell = () => document.getElementById("state").textContent = `${client.state} ${news.state}`;
  client.on("state", tell);
  news.on("state", tell);
  news.on("publication", ({ data }) => {
    const item = document.createElement("li");
    item.textContent = data.text;
    document.getElementById("heard").append(item);
  });
  news.subscribe();
  client.connect();
</script>
"""


@asynccontextmanager
async def application() -> AsyncIterator[int]:
    """A web server with a page that uses the SDK; yields its port."""
    require(BUNDLE.is_file(), "make setup, with npm on PATH")

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def bundle(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(BUNDLE)

    app = web.Application()
    app.add_routes([web.get("/", page), web.get("/centrifuge.js", bundle)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def address_of(host: str, port: int, cluster: DevCluster, node: int = 0) -> str:
    """The application's page, told which node to use."""
    url, token = cluster.banner.row("WebSocket")[node], cluster.banner.row("Token")[0]
    return f"http://{host}:{port}/#url={url}&token={token}"


async def test_a_page_of_a_local_application_uses_the_cluster(
    two_nodes: DevCluster, open_tab: OpenTab
) -> None:
    """The bundle, unchanged, connects, subscribes and publishes; another node's client hears it."""
    async with application() as port:
        first = await open_tab(address_of("127.0.0.1", port, two_nodes))
        second = await open_tab(address_of("127.0.0.1", port, two_nodes, node=1))
        for page in (first, second):
            await expect(page.locator("#state")).to_have_text("connected subscribed")
        await first.evaluate("news.publish({ text: 'from a page' })")
        await two_nodes.api("publish", channel="news", data={"text": "from a backend"})
        for page in (first, second):
            await expect(page.locator("#heard li")).to_have_text(["from a page", "from a backend"])


async def test_a_page_of_a_foreign_origin_is_refused(
    two_nodes: DevCluster, open_tab: OpenTab
) -> None:
    """A good token is not enough: no page of elsewhere may connect, and the log says which."""
    async with application() as port:
        page = await open_tab(address_of("foreign.example", port, two_nodes))
        refused = f"origin 'http://foreign.example:{port}' is not among client.allowed_origins"
        await eventually(lambda: two_nodes.log().count(refused) >= 2, what="two tries")
        await expect(page.locator("#state")).to_have_text("connecting subscribing")
