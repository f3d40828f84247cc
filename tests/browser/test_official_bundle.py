"""The official SDK's browser bundle on a page of somebody else's server."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web
from playwright.async_api import expect

from tests.integration.sdk.clients import PythonSdk, hears
from tests.support.conditions import eventually
from tests.support.dev_cluster import DevCluster
from tests.support.prerequisites import require
from tests.support.scrape import scrape
from tests.support.wire_client import WireClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.browser.conftest import OpenTab

# The browser of all tests lives on this loop.
pytestmark = pytest.mark.asyncio(loop_scope="session")


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


def _texts(client: WireClient) -> Iterator[str]:
    for message in client.inbox:
        if "pub" in message.get("push", {}):  # a page's coming and going is told too
            yield message["push"]["pub"]["data"]["text"]


@pytest.mark.thorough
async def test_a_page_reads_what_is_compressed_for_it(tmp_path: Path, open_tab: OpenTab) -> None:
    """Chromium, an SDK that compresses and a client that does not share a channel's frames."""
    file = tmp_path / "settings.json"
    file.write_text('{"websocket": {"compression": true}}')
    texts = ["short", "a longer text, with ů and 🐎, again and again. " * 30, "short again"]
    async with (
        application() as port,
        DevCluster(tmp_path, "--nodes", "1", "--config", str(file)) as cluster,
        AsyncExitStack() as stack,
    ):
        url, token = cluster.banner.row("WebSocket")[0], cluster.banner.row("Token")[0]
        node_url = cluster.banner.nodes[0].api_url
        page = await open_tab(address_of("127.0.0.1", port, cluster))
        await expect(page.locator("#state")).to_have_text("connected subscribed")
        assert (await scrape(node_url))["realtime_compressed_clients"] == 1
        sdk = PythonSdk()
        stack.push_async_callback(sdk.close)
        await sdk.connect(url, token)
        await sdk.subscribe("news")
        plain = await stack.enter_async_context(await WireClient.open(url))
        await plain.call({"id": 1, "connect": {"token": token}})
        await plain.call({"id": 2, "subscribe": {"channel": "news"}})
        before = (await scrape(node_url))["realtime_frames_compressed_total"]
        heard = page.locator("#heard li")
        await cluster.api("publish", channel="news", data={"text": texts[0]})
        await expect(heard).to_have_count(1)
        await page.evaluate("text => news.publish({ text })", texts[1])
        await expect(heard).to_have_count(2)
        await cluster.api("publish", channel="news", data={"text": texts[2]})
        await expect(heard).to_have_count(3)
        assert await heard.all_text_contents() == texts
        await hears(sdk, "news", [{"text": text} for text in texts])
        await eventually(lambda: [*_texts(plain)] == texts, what="the same for a plain client")
        assert (await scrape(node_url))["realtime_frames_compressed_total"] == before + 1


async def test_a_page_of_a_foreign_origin_is_refused(
    two_nodes: DevCluster, open_tab: OpenTab
) -> None:
    """A good token is not enough: no page of elsewhere may connect, and the log says which."""
    async with application() as port:
        page = await open_tab(address_of("foreign.example", port, two_nodes))
        refused = f"origin 'http://foreign.example:{port}' is not among client.allowed_origins"
        await eventually(lambda: two_nodes.log().count(refused) >= 2, what="two tries")
        await expect(page.locator("#state")).to_have_text("connecting subscribing")
