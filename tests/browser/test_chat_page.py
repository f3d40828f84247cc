"""The chat page of `realtime-node dev` in Chromium: tabs on two nodes that talk."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Page, expect

from tests.support.conditions import eventually
from tests.support.dev_cluster import DevCluster

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.conftest import OpenTab

# The browser of all tests lives on this loop.
pytestmark = pytest.mark.asyncio(loop_scope="session")


async def open_chat(open_tab: OpenTab, url: str) -> Page:
    """The page, connected."""
    page = await open_tab(url)
    await expect(page.locator("#state")).to_have_text("Connected")
    return page


async def say(page: Page, text: str) -> None:
    """Type a message and send it as a person does."""
    await page.get_by_label("Message", exact=True).fill(text)
    await page.keyboard.press("Enter")


async def expect_messages(page: Page, *texts: str) -> None:
    """Wait until the page shows just these messages, in this order."""
    await expect(page.locator("#messages p")).to_have_text(list(texts))


async def test_two_tabs_chat_through_two_nodes(two_nodes: DevCluster, open_tab: OpenTab) -> None:
    """What one says the other reads, with its author; each shows its own node and who is there."""
    urls = two_nodes.banner.row("Chat page")
    first, second = [await open_chat(open_tab, url) for url in urls]
    for page, node in zip((first, second), two_nodes.banner.nodes, strict=True):
        await expect(page.locator("#node")).to_have_attribute("title", node.node_id)
        await expect(page.locator("#present")).to_have_text("2")
    await say(first, "Hello from the first node")
    await expect_messages(second, "Hello from the first node")
    await say(second, "and <b>hello</b> back")
    for page in (first, second):
        await expect_messages(page, "Hello from the first node", "and <b>hello</b> back")
    authors = [await page.get_by_label("Name").input_value() for page in (first, second)]
    assert authors[0] != authors[1]
    await expect(first.locator("#messages b")).to_have_text(authors)
    await expect(first.locator("#messages .mine b")).to_have_text(authors[:1])


async def test_the_history_shows_after_a_reload(two_nodes: DevCluster, open_tab: OpenTab) -> None:
    """A tab that is loaded anew shows what was said, and its user is who it was."""
    page = await open_chat(open_tab, two_nodes.banner.row("Chat page")[0])
    await page.get_by_label("Name").fill("Zoë")
    await page.keyboard.press("Tab")
    await expect(page.locator("#state")).to_have_text("Connected")
    await say(page, "first")
    await say(page, "second")
    await expect_messages(page, "first", "second")
    await page.reload()
    await expect_messages(page, "first", "second")
    await expect(page.locator("#messages .mine b")).to_have_text(["Zoë", "Zoë"])
    await expect(page.get_by_label("Name")).to_have_value("Zoë")


@pytest.mark.thorough
async def test_a_long_history_shows_its_end(two_nodes: DevCluster, open_tab: OpenTab) -> None:
    """Where the beginning is gone already, a new tab shows what is left."""
    for number in range(103):
        await two_nodes.api("publish", channel="chat:lobby", data={"text": str(number)})
    page = await open_chat(open_tab, two_nodes.banner.row("Chat page")[1])
    await expect_messages(page, *map(str, range(3, 103)))


@pytest.mark.thorough
async def test_a_tab_of_a_killed_node_comes_back_with_all_it_missed(
    mortal_nodes: DevCluster, open_tab: OpenTab
) -> None:
    """Whatever was published meanwhile is there, in order and once."""
    urls = mortal_nodes.banner.row("Chat page")
    killed, other = [await open_chat(open_tab, url) for url in urls]
    await say(killed, "before")
    await expect_messages(other, "before")
    os.kill(mortal_nodes.banner.nodes[0].pid, signal.SIGKILL)
    await expect(killed.locator("#state")).not_to_have_text("Connected")
    missed = [f"meanwhile {number}" for number in range(20)]
    for text in missed[:10]:
        await mortal_nodes.api("publish", node=1, channel="chat:lobby", data={"text": text})
    for text in missed[10:]:
        await say(other, text)
        await expect(other.locator("#messages p").last).to_have_text(text)
    await expect(killed.locator("#state")).to_have_text("Connected")
    await say(killed, "after")
    for page in (killed, other):
        await expect_messages(page, "before", *missed, "after")
        await expect(page.locator("#messages .note")).to_have_count(0)  # recovered, not reread
    node_id = await killed.locator("#node").get_attribute("title")
    assert node_id not in {node.node_id for node in mortal_nodes.banner.nodes}, (
        "a new life, a new id"
    )


@pytest.mark.thorough
async def test_a_tab_of_a_killed_node_goes_on_with_another(
    tmp_path: Path, open_tab: OpenTab
) -> None:
    """Behind a shared port nobody waits for the restart: a node that lives takes the tab over."""
    async with DevCluster(tmp_path) as cluster:
        page = await open_chat(open_tab, cluster.banner.row("Chat page")[0])
        await say(page, "before")
        await expect_messages(page, "before")
        nodes = {node.node_id: node for node in cluster.banner.nodes}
        ours = nodes.pop(await page.locator("#node").get_attribute("title") or "")
        [other] = nodes.values()
        os.kill(ours.pid, signal.SIGKILL)
        await expect(page.locator("#node")).not_to_have_attribute("title", ours.node_id)
        index = cluster.banner.nodes.index(other)
        await cluster.api("publish", node=index, channel="chat:lobby", data={"text": "meanwhile"})
        await expect_messages(page, "before", "meanwhile")


@pytest.mark.thorough
async def test_the_page_answers_pings(tmp_path: Path, open_tab: OpenTab) -> None:
    """A client that does not is closed after the first one; the page stays beyond the second."""
    file = tmp_path / "settings.json"
    file.write_text('{"client": {"ping_interval": "2s", "pong_timeout": "1s"}}')
    async with DevCluster(tmp_path, "--nodes", "1", "--config", str(file)) as cluster:
        page = await open_tab("about:blank")
        pings: list[str | bytes] = []
        page.on(
            "websocket",
            lambda socket: socket.on(
                "framereceived", lambda frame: pings.append(frame) if frame == "{}" else None
            ),
        )
        await page.goto(cluster.banner.row("Chat page")[0])
        await expect(page.locator("#state")).to_have_text("Connected")
        client = await page.locator("#client").get_attribute("title") or ""
        await eventually(lambda: len(pings) >= 3, what="three pings")
        await expect(page.locator("#client")).to_have_attribute("title", client)


async def test_a_server_that_falls_silent_is_left(two_nodes: DevCluster, open_tab: OpenTab) -> None:
    """A link on which no ping comes is given up, and made anew once the server answers again."""
    page = await open_tab("about:blank")
    await page.clock.install()
    await page.goto(two_nodes.banner.row("Chat page")[0])
    await expect(page.locator("#state")).to_have_text("Connected")
    pid = two_nodes.banner.nodes[0].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        await page.clock.fast_forward(36_000)
        await expect(page.locator("#state")).not_to_have_text("Connected")
    finally:
        os.kill(pid, signal.SIGCONT)
    await expect(page.locator("#state")).to_have_text("Connected")


async def test_what_is_no_chat_message_shows_too(two_nodes: DevCluster, open_tab: OpenTab) -> None:
    """Publications of the HTTP API have no author, and any JSON is shown as it is."""
    page = await open_chat(open_tab, two_nodes.banner.row("Chat page")[0])
    for data in ({"text": "Hello from curl"}, {"temperature": 21.5}, None, 7):
        await two_nodes.api("publish", channel="chat:lobby", data=data)
    await expect_messages(page, "Hello from curl", '{"temperature":21.5}', "null", "7")
    await expect(page.locator("#messages b")).to_have_text(["HTTP API"] * 4)


@pytest.mark.thorough
async def test_a_message_that_is_refused_is_not_lost(
    mortal_nodes: DevCluster, open_tab: OpenTab
) -> None:
    """Its author is told, keeps the text, and may try again once the page is back."""
    page = await open_chat(open_tab, mortal_nodes.banner.row("Chat page")[0])
    os.kill(mortal_nodes.banner.nodes[0].pid, signal.SIGKILL)
    await expect(page.locator("#state")).not_to_have_text("Connected")
    await page.get_by_label("Message", exact=True).fill("keep me")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Send")).to_be_disabled()
    await expect(page.get_by_label("Message", exact=True)).to_have_value("keep me")
    await expect(page.locator("#state")).to_have_text("Connected")
    await page.keyboard.press("Enter")
    await expect_messages(page, "keep me")


async def test_a_client_that_is_sent_away_for_good_stays_away(
    two_nodes: DevCluster, open_tab: OpenTab
) -> None:
    """A close code from 3500 on ends the page's tries, and it says why."""
    page = await open_chat(open_tab, two_nodes.banner.row("Chat page")[0])
    user = await page.get_by_label("Name").input_value()
    await two_nodes.api("disconnect", user=user)
    await expect(page.locator("#state")).to_have_text("Refused")
    await expect(page.get_by_role("alert")).to_contain_text("force disconnect")


async def test_the_page_looks_right(
    two_nodes: DevCluster, open_tab: OpenTab, tmp_path: Path
) -> None:
    """Nothing sticks out of a narrow window, and the last message is in sight."""
    page = await open_chat(open_tab, two_nodes.banner.row("Chat page")[0])
    await page.set_viewport_size({"width": 360, "height": 560})
    long_word = "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz" * 3
    for number in range(12):
        await say(page, f"{number} {long_word}")
        await expect(page.locator("#messages li")).to_have_count(number + 1)
    await page.screenshot(path=tmp_path / "narrow.png")
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360
    await expect(page.locator("#messages li").last).to_be_in_viewport(ratio=0.9)
    await expect(page.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)
