"""The machine's own Chromium, driven by Playwright."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.support.conditions import NEVER_S
from tests.support.dev_cluster import DevCluster
from tests.support.prerequisites import require

WAIT_MS = int(NEVER_S * 1000)
expect.set_options(timeout=WAIT_MS)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A host that is not this one, for pages of a foreign origin.
    "--host-resolver-rules=MAP foreign.example 127.0.0.1",
)

OpenTab = Callable[[str], Awaitable[Page]]
"""Opens a URL in a tab of its own."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The browser of all tests; each has a profile of its own in it."""
    path = require("chromium", "apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def open_tab(browser: Browser) -> AsyncIterator[OpenTab]:
    """Open pages; an error of a script, or a breach of a page's policy, fails the test."""
    errors: list[str] = []
    context = await browser.new_context()
    context.set_default_timeout(WAIT_MS)

    def note(text: str) -> None:
        if "Content Security Policy" in text:
            errors.append(text)

    async def open_tab(url: str) -> Page:
        page = await context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: note(message.text))
        await page.goto(url)
        return page

    yield open_tab
    await context.close()
    assert errors == []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevCluster]:
    """`realtime-node dev --nodes 2 --port-each`, of all tests that do it no harm."""
    async with DevCluster(
        tmp_path_factory.mktemp("shared"), "--nodes", "2", "--port-each"
    ) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="session")
async def two_nodes(shared: DevCluster) -> DevCluster:
    """The shared cluster, with nothing said in its room."""
    await shared.api("history_remove", channel="chat:lobby")
    return shared


@pytest_asyncio.fixture(loop_scope="session")
async def mortal_nodes(tmp_path: Path) -> AsyncIterator[DevCluster]:
    """Such a cluster of the test's own, to be harmed."""
    async with DevCluster(tmp_path, "--nodes", "2", "--port-each") as cluster:
        yield cluster
