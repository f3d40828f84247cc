"""The samples and settings of README.md, docs/clients.md and docs/sessions.md work together.

Each sample runs as it is printed, with the SDK, against a node with the settings that the document
shows. What a sample takes for granted is given to it: where the cluster is, a backend that signs
tokens, a page.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import cent
import centrifuge
import yaml

from realtime_node.config.loading import load_settings
from tests.integration.sdk.clients import JS_DIRECTORY
from tests.support.conditions import eventually
from tests.support.node_process import NodeProcess
from tests.support.prerequisites import require
from tests.support.tokens import SECRET, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

ROOT = Path(__file__).parents[3]
API_KEY = "samples"
CHANNEL = "chat:room"

_SHORTEST_LIFE_S = 2
"""A token's times are whole seconds: it lives for one to two."""


def sample(document: str, language: str) -> str:
    """Return the first sample of a language in a document."""
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    assert found is not None, f"{document} has no sample in {language}"
    return found[1]


def node_with(document: str, directory: Path) -> NodeProcess:
    """Return a node of one, with the settings that a document shows and keys of ours."""
    settings = yaml.safe_load(sample(document, "yaml"))
    settings.pop("engine", None)
    settings.pop("http_server", None)
    settings["http_api"] = {"key": API_KEY}
    settings.setdefault("client", {})["token"] = {"hmac_secret_key": SECRET}
    return NodeProcess(settings, directory)


class Page:
    """A script in a Node.js process that has what a page in a browser has; prints JSON lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Use `open_page`."""
        self.lines: list[Any] = []
        self._process = process
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.lines.append(json.loads(line))

    async def close(self) -> None:
        """End the process."""
        self._process.kill()
        await self._process.wait()
        await self._reader


@asynccontextmanager
async def open_page(
    script: str, node: NodeProcess, tokens: Sequence[str], *, after: str = ""
) -> AsyncIterator[Page]:
    """Run a sample; its backend gives `tokens` in turn, then the last one again."""
    around = f"""
import WebSocket from "ws";
globalThis.WebSocket = WebSocket;
globalThis.sessionStorage = {{}};
globalThis.console.log = (value) => process.stdout.write(JSON.stringify(value) + "\\n");
const tokens = {json.dumps(tokens)};
globalThis.fetch = async (path, {{ method }}) => {{
  if (path !== "/realtime/token" || method !== "POST") throw new Error(path);
  console.log({{ token: tokens.length }});
  const text = tokens.length > 1 ? tokens.shift() : tokens[0];
  return {{ status: 200, ok: true, text: async () => text }};
}};
"""
    script = script.replace("wss://realtime.example.com/connection/websocket", node.websocket_url)
    imports = [line for line in script.splitlines() if line.startswith("import ")]
    rest = [line for line in script.splitlines() if not line.startswith("import ")]
    executable = require("node", "apt-get install nodejs npm")
    require((JS_DIRECTORY / "node_modules" / "centrifuge").is_dir(), "make setup")
    process = await asyncio.create_subprocess_exec(
        executable,
        "--input-type=module",
        "--eval",
        "\n".join([*imports, around, *rest, after]),
        stdout=asyncio.subprocess.PIPE,
        cwd=JS_DIRECTORY,
    )
    page = Page(process)
    try:
        yield page
    finally:
        await page.close()


async def publish(node: NodeProcess, data: str) -> None:
    """Publish into the channel of the samples."""
    client = cent.AsyncClient(f"{node.http_url}/api", api_key=API_KEY)
    await client.publish(cent.PublishRequest(channel=CHANNEL, data=data))
    await client.close()


def test_the_settings_of_the_readme_are_valid(tmp_path: Path) -> None:
    """They load as they are printed, but for the secrets that are left out."""
    path = tmp_path / "node.yaml"
    path.write_text(sample("README.md", "yaml").replace("…", "s" * 32))
    load_settings(path, {})


async def test_the_first_sample_outlives_its_token(tmp_path: Path) -> None:
    """A page of docs/clients.md with the README's settings hears what is published after `exp`."""
    async with node_with("README.md", tmp_path) as node:
        ends = time.time() + _SHORTEST_LIFE_S
        tokens = [token(sub="ann", lifetime_s=_SHORTEST_LIFE_S), token(sub="ann", lifetime_s=600)]
        async with open_page(sample("docs/clients.md", "js"), node, tokens) as page:
            await eventually(lambda: {"token": 2} in page.lines)
            while "before" not in page.lines:
                await publish(node, "before")
                await asyncio.sleep(0.02)
            await eventually(lambda: time.time() > ends and {"token": 1} in page.lines)
            await publish(node, "after")
            await eventually(lambda: "after" in page.lines)


async def test_the_session_sample_subscribes(tmp_path: Path) -> None:
    """A page of docs/sessions.md with its settings has a session and may use the channel."""
    url = "const url = 'wss://realtime.example.com/connection/websocket';\n"
    get_token = (
        "const getToken = async () =>"
        " (await fetch('/realtime/token', { method: 'POST' })).text();\n"
    )
    script = (
        "import { Centrifuge } from 'centrifuge';\n"
        + url
        + get_token
        + sample("docs/sessions.md", "js")
    )
    after = f"""
const chat = client.newSubscription("{CHANNEL}");
chat.on("subscribed", () => console.log({{ session: sessionStorage.session }}));
chat.on("error", ({{ error }}) => console.log({{ error }}));
chat.subscribe();
client.connect();
"""
    async with (
        node_with("docs/sessions.md", tmp_path) as node,
        open_page(script, node, [token(sub="ann")], after=after) as page,
    ):
        await eventually(lambda: page.lines[1:])
        assert page.lines[0] == {"token": 1}
        assert page.lines[1]["session"]


async def test_the_session_sample_in_python_subscribes(tmp_path: Path) -> None:
    """So does a client of the Python sample."""

    async def get_token() -> str:
        return token(sub="ann")

    async with node_with("docs/sessions.md", tmp_path) as node:
        names: dict[str, Any] = {
            "Client": lambda url, **options: centrifuge.Client(url, proxy=None, **options),
            "ClientEventHandler": centrifuge.ClientEventHandler,
            "url": node.websocket_url,
            "get_token": get_token,
        }
        exec(sample("docs/sessions.md", "python"), names)  # noqa: S102 - our own document
        client: centrifuge.Client = names["client"]
        await client.connect()
        subscription = client.new_subscription(CHANNEL)
        await subscription.subscribe()
        await subscription.ready()
        assert names["data"]["session"] not in {"", "new"}
        connection = client._conn
        await client.disconnect()
        if connection is not None:
            await connection.wait_closed()


async def test_a_protobuf_client_is_told_so_by_its_handshake(tmp_path: Path) -> None:
    """The SDK reports HTTP 400; it is not connected first and closed with a bad request."""
    errors: list[str] = []
    closes: list[int] = []

    class Events(centrifuge.ClientEventHandler):  # type: ignore[misc] # the SDK is untyped
        async def on_error(self, ctx: centrifuge.ErrorContext) -> None:
            errors.append(str(ctx.error))

        async def on_disconnected(self, ctx: centrifuge.DisconnectedContext) -> None:
            closes.append(ctx.code)

    async with node_with("README.md", tmp_path) as node:
        client = centrifuge.Client(
            node.websocket_url,
            token=token(sub="ann"),
            events=Events(),
            use_protobuf=True,
            proxy=None,
        )
        await client.connect()
        await eventually(lambda: errors)
        assert "HTTP 400" in errors[0]
        assert closes == []
        assert "the client asked for Protobuf" in node.log()
        async with aiohttp.ClientSession() as http, http.get(f"{node.http_url}/metrics") as told:
            assert 'realtime_upgrades_refused_total{reason="protobuf"}' in await told.text()
        await client.disconnect()
