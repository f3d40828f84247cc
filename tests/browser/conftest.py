"""The machine's own Chromium, driven by Playwright."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.support.conditions import NEVER_S
from tests.support.dev_cluster import DevCluster
from tests.support.prerequisites import require

WAIT_MS = int(NEVER_S * 1000)
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


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A browser that closes with the test."""
    path = require("chromium", "apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest.fixture
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


@pytest.fixture
async def two_nodes(tmp_path: Path) -> AsyncIterator[DevCluster]:
    """`realtime-node dev --nodes 2 --port-each`."""
    async with DevCluster(tmp_path, "--nodes", "2", "--port-each") as cluster:
        yield cluster
